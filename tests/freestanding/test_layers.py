#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/check-layers catches each kind of mistake: each case breaks one rule in a copy of the headers."""
import pathlib
import shutil
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compilers  # noqa: E402


class Layers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name, "copy")
        for part in ("include", "cmake"):
            shutil.copytree(ROOT / part, self.root / part)
        (self.root / "tools").mkdir()
        shutil.copy(ROOT / "tools/check-layers", self.root / "tools")

    def append(self, header, line, library="virtio"):
        path = self.root / "include" / library / header
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def check(self):
        return compilers.run([sys.executable, self.root / "tools/check-layers"])

    def caught(self, header, line, *words, wrong=1, library="virtio"):
        self.append(header, line, library)
        done = self.check()
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(len(done.stdout.splitlines()), wrong, done.stdout)
        for word in (f"include/{library}/{header}:", *words):
            self.assertIn(word, done.stdout)

    def test_the_headers_as_they_are_pass(self):
        done = self.check()
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_upward(self):
        self.caught("base/types.hpp", "#include <virtio/platform/dma.hpp>", "upwards")

    def test_upward_to_a_driver(self):
        self.caught("device/session.hpp", "#include <virtio/blk/protocol.hpp>", "upwards")

    def test_upward_to_what_programs_include(self):
        self.caught("bus/pci/bars.hpp", "#include <virtio/pci.hpp>", "upwards")

    def test_sideways_between_queue_and_pci(self):
        self.caught("queue/split.hpp", "#include <virtio/bus/pci/host.hpp>", "sideways")

    def test_sideways_from_one_bus_to_the_other(self):
        self.caught("bus/mmio/slots.hpp", "#include <virtio/bus/pci/function.hpp>", "sideways")
        self.caught("bus/pci/host.hpp", "#include <virtio/bus/mmio/slots.hpp>", "sideways", wrong=2)

    def test_upward_from_a_bus_to_a_transport(self):
        self.caught("bus/mmio/slots.hpp", "#include <virtio/transport/map.hpp>", "upwards")
        self.caught("bus/pci/discover.hpp", "#include <virtio/transport/pci_any.hpp>", "upwards", wrong=2)

    def test_sideways_from_a_driver_to_a_bus(self):
        self.caught("rng/device.hpp", "#include <virtio/bus/mmio/slots.hpp>", "sideways")

    def test_a_header_of_the_buses_belongs_to_one_of_them(self):
        self.caught("bus/both.hpp", "#pragma once", "unknown")

    def test_sideways_from_transport_to_queue(self):
        self.caught("transport/map.hpp", "#include <virtio/queue/concepts.hpp>", "sideways")

    def test_sideways_from_session_to_pci(self):
        self.caught("device/session.hpp", "#include <virtio/bus/pci/host.hpp>", "sideways")

    def test_sideways_between_drivers(self):
        self.caught("rng/device.hpp", "#include <virtio/blk/device.hpp>", "sideways")

    def test_an_exception_is_for_one_header(self):
        self.caught("blk/device.hpp", "#include <virtio/bus/pci/discover.hpp>", "sideways")

    def test_foreign_standard_header(self):
        self.caught("base/meta.hpp", "#include <type_traits>", "foreign")

    def test_foreign_header_in_the_test_kit(self):
        self.caught("testing/extra.hpp", "#include <unistd.h>", "foreign")

    def test_standard_library_in_the_test_kit(self):
        self.append("testing/extra.hpp", "#include <vector>\n#include <virtio/bus/pci/host.hpp>")
        self.assertEqual(self.check().returncode, 0)

    def test_the_test_kit_sees_no_transport(self):
        self.caught("testing/extra.hpp", "#include <virtio/transport/map.hpp>", "sideways")

    def test_the_test_kit_sees_little_of_pci(self):
        self.caught("testing/extra.hpp", "#include <virtio/bus/pci/capabilities.hpp>", "sideways")

    def test_parts_of_the_socket_model_are_in_order(self):
        self.caught("testing/vsock/peer.hpp", "#include <virtio/testing/vsock/peers.hpp>", "upwards: peers.hpp is above peer.hpp")

    def test_parts_of_the_socket_model_do_not_see_the_whole(self):
        self.caught("testing/vsock/wire.hpp", "#include <virtio/testing/vsock_model.hpp>", "upwards")

    def test_a_part_without_a_place(self):
        self.caught("testing/vsock/extra.hpp", "#pragma once", "give it a place in testing/vsock/")

    def test_nothing_includes_the_test_kit(self):
        self.append("testing/extra.hpp", "#pragma once")
        self.caught("virtio.hpp", "#include <virtio/testing/extra.hpp>", "only the test kit")

    def test_quotes_and_macros(self):
        self.caught("base/meta.hpp", '#include "types.hpp"', "only #include <...>")

    def test_foundations_include_nothing(self):
        self.caught("config.hpp", "#include <virtio/version.hpp>", "includes nothing")

    def test_missing_header(self):
        self.caught("base/meta.hpp", "#include <virtio/base/nowhere.hpp>", "no such header")

    def test_the_other_library_is_foreign(self):
        self.caught("engine/stream.hpp", "#include <virtio/base/bytes.hpp>", "foreign", library="usbip")
        self.caught("vsock/stream.hpp", "#include <usbip/base/types.hpp>", "foreign", wrong=2)

    def test_upward_in_the_other_library(self):
        self.caught("codec/urb.hpp", "#include <usbip/engine/stream.hpp>", "upwards", library="usbip")
        self.caught("engine/stream.hpp", "#include <usbip/usbip.hpp>", "upwards", wrong=2, library="usbip")

    def test_unknown_folder(self):
        self.caught("crypto/device.hpp", "#pragma once", "unknown")

    def test_spaces_and_comments(self):
        self.append("base/meta.hpp", "// #include <vector>\n/*\n#include <vector>\n*/")
        self.assertEqual(self.check().returncode, 0)
        self.caught("base/meta.hpp", "  #  include  <vector>  // why not", "foreign")

    def test_the_build_fails(self):
        cmake = "cmake"  # present, since the tests are built with it
        (self.root / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.22)\nproject(layers LANGUAGES NONE)\n"
            "include(cmake/checks.cmake)\nvirtio_check_layers()\nvirtio_check_layers()\n", encoding="utf-8")
        build = self.root / "build"
        compilers.must_run([cmake, "-S", self.root, "-B", build])
        compilers.must_run([cmake, "--build", build])
        self.append("base/types.hpp", "#include <virtio/platform/dma.hpp>")
        done = compilers.run([cmake, "--build", build])
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn("upwards", done.stdout)


if __name__ == "__main__":
    unittest.main()
