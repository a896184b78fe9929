#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/lsvirtio with the arguments of an existing guest: they name files relative to the caller's folder, use the
terminal, request KVM, and boot another kernel."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples/lsvirtio"))
import boot  # noqa: E402

QEMU = os.environ.get("QEMU_10")


def translated(*arguments, has_kvm=False):
    return boot.Translation(arguments, has_kvm)


class Arguments(unittest.TestCase):
    def test_what_boots_another_kernel_or_takes_the_terminal_is_left_out_with_a_line_for_each(self):
        for left_out in (["-kernel", "bzImage"], ["-initrd", "disk.gz"], ["-serial", "mon:stdio"], ["-nographic"],
                         ["--nographic"], ["-display", "gtk"], ["-monitor", "stdio"], ["-daemonize"],
                         ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]):
            with self.subTest(left_out=left_out):
                got = translated("-m", "64", *left_out, "-device", "virtio-rng-pci")
                self.assertEqual(got.kept, ["-m", "64", "-device", "virtio-rng-pci"])
                self.assertEqual(len(got.notes), 1)
                self.assertIn(left_out[0], got.notes[0])

    def test_a_command_line_is_added_to(self):
        got = translated("-append", "virtio_mmio.device=4K@0xd0000000:5 quiet", "-smp", "2")
        self.assertEqual(got.words, ["virtio_mmio.device=4K@0xd0000000:5", "quiet"])
        self.assertEqual(got.kept, ["-smp", "2"])

    def test_kvm_is_used_where_there_is_access_to_it_and_emulated_elsewhere(self):
        for wanted in (["-enable-kvm"], ["-accel", "kvm"], ["-machine", "q35,accel=kvm:tcg"], ["-M", "accel=kvm,type=q35"]):
            with self.subTest(wanted=wanted):
                got = translated(*wanted, "-cpu", "host,-x2apic", has_kvm=True)
                self.assertEqual(got.accelerator, "kvm")
                self.assertEqual(got.kept[-2:], ["-cpu", "host,-x2apic"])
                got = translated("-cpu", "host,-x2apic", *wanted)
                self.assertEqual(got.accelerator, "tcg")
                self.assertEqual(got.kept[:2], ["-cpu", "max,-x2apic"])
                self.assertNotIn("accel", " ".join(got.kept))
                self.assertEqual(len(got.notes), 2)

    def test_a_character_device_on_the_terminal_becomes_null_under_its_name(self):
        self.assertEqual(translated("-chardev", "stdio,mux=on,id=console", "-device", "virtconsole,chardev=console").kept,
                         ["-chardev", "null,id=console", "-device", "virtconsole,chardev=console"])

    def test_everything_else_stays_as_it_is(self):
        all_of = ["-drive", "file=disk.img,if=virtio", "-netdev", "user,id=net", "-S", "-monitor", "none", "-snapshot",
                  "-cpu", "qemu64", "-device", "virtio-net-pci,netdev=net"]
        got = translated(*all_of)
        self.assertEqual((got.kept, got.notes), (all_of, []))


class Booted(unittest.TestCase):
    def test_files_are_named_from_where_the_caller_is_and_the_usual_arguments_boot(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "mine.img").write_bytes(b"lsvirtio" * 64 * 8)
            done = subprocess.run(
                [ROOT / "tools/lsvirtio", "--json", "--yes", "--", "-kernel", "none", "-append", "root=/dev/vda", "-cpu", "host",
                 "-serial", "mon:stdio", "-nographic", "-drive", "file=mine.img,format=raw,if=virtio"],
                cwd=folder, env=os.environ | ({"QEMU": QEMU} if QEMU else {}), stdin=subprocess.DEVNULL, capture_output=True,
                text=True, timeout=500)
        self.assertEqual(done.returncode, 0, done.stderr)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertIn("root=/dev/vda", found[0]["command_line"])
        checks = [one["check"] for one in found if "check" in one]
        self.assertEqual([check["first_bytes"] for check in checks], [b"lsvirtio".hex() * 2])


if __name__ == "__main__":
    unittest.main(verbosity=2)
