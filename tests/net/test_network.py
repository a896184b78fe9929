#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/08_network: the guest gets an address by DHCP, resolves a name, fetches a page by TCP and serves others,
over a virtio network card on QEMU's user network, or over vsock through gvproxy. Links that go down and up, silent
servers, a killed gvproxy and a reset guest cost time, but no byte.

usage: test_network.py card|vsock 7.2|10 TREE [--long] [unittest's arguments]
  TREE    where the guests were built; those for 64-bit Arm boot on QEMU's virt
  --long  200 MiB each way, and other long tests
What it takes is in the environment: QEMU_7 or QEMU_10, with _AARCH64 appended for Arm; for vsock VHOST_DEVICE_VSOCK and
GVPROXY, as tools/setup --print prints them. Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import concurrent.futures
import contextlib
import io
import itertools
import os
import pathlib
import random
import re
import socket
import sys
import threading
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/vsock", "tests/qemu", "tools", "examples/08_network")]
import backend  # noqa: E402
import guestrun  # noqa: E402
import gvproxy  # noqa: E402
import host  # noqa: E402
import matrix  # noqa: E402

CROWD = 64
RESET = [("set-action", {"reboot": "reset"}), ("system_reset", {})]


def pattern(size):
    """The bytes that the guest serves as /data."""
    x, once = 1, bytearray()
    for _ in range(65521):
        x = (x * 1664525 + 1013904223) & 0xffffffff
        once.append(x >> 24)
    return (bytes(once) * (size // len(once) + 1))[:size]


IMAGE = "examples/08_network"
VIA = {"modern": "disable-legacy=on", "transitional": "disable-legacy=off", "legacy": "disable-modern=on,disable-legacy=off",
       "mmio 1": "", "mmio 2": ""}
RINGS = {"split": "packed=off", "packed": "packed=on"}  # the guest takes either
BUFFERS = {"merged": "mrg_rxbuf=on", "whole": "mrg_rxbuf=off"}
# For transfers longer than a small page.
USUAL = {"x86_64 7.2": ("legacy", "split", "whole"), "x86_64 10": ("modern", "packed", "merged"),
         "aarch64 7.2": ("transitional", "packed", "whole"), "aarch64 10": ("modern", "split", "merged"),
         "riscv64 7.2": ("modern", "packed", "merged"), "riscv64 10": ("legacy", "split", "whole")}


def variants(processor):
    for variant in itertools.product(VIA, RINGS, BUFFERS):
        if variant[1] == "split" or variant[0] not in ("legacy", "mmio 1"):  # legacy devices have no packed rings
            if processor == "x86_64" or not variant[0].startswith("mmio"):
                yield variant


def machine_of(port, via, ring, buffers):
    """QEMU's machine, the image, and further arguments, for a card on this transport."""
    options = ",".join(filter(None, (VIA[via], RINGS[ring], BUFFERS[buffers])))
    if not via.startswith("mmio"):
        return ("pc" if PROCESSOR == "x86_64" else "virt"), IMAGE, host.card(port, options=f"{options},romfile=")
    more = ["-global", "virtio-mmio.force-legacy=false"] if via == "mmio 2" else []
    return "microvm,isa-serial=on", f"{IMAGE}_mmio", [*more, *host.card(port, "virtio-net-device", options)]


class Network(unittest.TestCase):
    """The common part of both links. A subclass defines `machine()`."""
    way = ""

    def boot(self, pages=(), script=(), held=(), stall=20, data=1 << 20, extra=()):
        """Boots the guest, which ends with status 0 and has fetched /page, or the page of `held`: returns its
        console."""
        page = random.Random(1).randbytes(3 << 20)
        pages = dict(pages) or {"/page": page}
        path, content = next(iter(pages.items()))
        errors = io.StringIO()
        machine, image, arguments = self.machine()
        with host.serve(pages) as (server, names):
            server.held = dict(held)
            append = (f"net={self.way} url=http://{host.HOST}:{server.port}{path} length={len(content)} sha256={host.sha256(content)} "
                      f"stall={stall} data={data}")
            if self.way == "virtio":
                append += f" dns={host.USER_NETWORK_HOST}:{names.port}"
            status, console = guestrun.boot(TREE / image, qemu=QEMU, machine=machine, append=append, extra=[*arguments, *extra],
                                            errors=errors, script=script)
            self.asked = names.asked
        self.assertEqual(status, 0, console + errors.getvalue())
        self.assertIn(", as expected\n", console)
        return console

    def get(self, path):
        return host.get(self.port, path)

    def connected(self):
        """A connection to the guest. The user network's sockets have a short backlog: the kernel would retry after 1 s,
        3 s, 7 s."""
        for _ in range(guestrun.HANG * 5):
            with contextlib.suppress(TimeoutError):
                sock = socket.create_connection(("127.0.0.1", self.port), timeout=0.2)
                sock.settimeout(guestrun.HANG)
                return sock
        raise TimeoutError("the guest's port")

    def end(self):
        self.get("/end")

    def test_both_ways(self):
        size = (200 if LONG else 10) << 20
        page, served = random.Random(2).randbytes(size), pattern(size)

        def visit():
            self.serving()
            self.assertTrue(self.get("/").startswith(b"Hello from a guest"))
            self.assertEqual(host.sha256(self.get("/data")), host.sha256(served))
            everywhere = threading.Barrier(CROWD)

            def one(number):
                with self.connected() as sock:
                    everywhere.wait(guestrun.HANG)
                    sock.sendall(b"GET /small HTTP/1.0\r\n\r\n")
                    with sock.makefile("rb") as answer:
                        return answer.read().partition(b"\r\n\r\n")[2] == served[:100_000]

            with concurrent.futures.ThreadPoolExecutor(CROWD) as crowd:
                self.assertEqual(list(crowd.map(one, range(CROWD))), [True] * CROWD)
            self.end()

        console = self.boot({"/page": page}, [("HTTP: serving at", visit)], data=size)
        self.assertRegex(console, r"DHCP: address (10\.0\.2\.15|192\.168\.127\.2), gateway \S+, name server \S+\n")
        self.assertRegex(console, rf"DNS: {re.escape(host.HOST)} is (10\.0\.2\.2|192\.168\.127\.254)\n")
        self.assertRegex(console, rf"  {size >> 20} MiB of {size >> 20}\n")
        self.assertIn(f"HTTP: fetched {size} bytes", console)
        if self.way == "virtio":
            self.assertIn(host.HOST, self.asked)

    def test_no_such_page(self):
        errors = io.StringIO()
        machine, image, arguments = self.machine()
        with host.serve({}) as (server, names):
            append = f"net={self.way} url=http://{host.HOST}:{server.port}/none"
            if self.way == "virtio":
                append += f" dns={host.USER_NETWORK_HOST}:{names.port}"
            status, console = guestrun.boot(TREE / image, qemu=QEMU, machine=machine, append=append, extra=arguments, errors=errors)
        self.assertEqual(status, 12, console + errors.getvalue())
        self.assertIn("HTTP: the server answers 404", console)


class Card(Network):
    way = "virtio"

    def setUp(self):
        self.port = host.free_port()

    def machine(self):
        return machine_of(self.port, *VARIANT)

    def serving(self):
        pass

    def test_every_way_to_reach_a_card(self):
        small = {"/page": random.Random(4).randbytes(100_003)}
        for variant in variants(PROCESSOR):
            with self.subTest(variant):
                machine = machine_of(self.port, *variant)
                self.machine = lambda machine=machine: machine
                self.boot(small, [("HTTP: serving at", lambda: self.assertEqual(self.get("/small"), pattern(100_000)), self.end)])

    def link_down_and_up_in_mid_transfer(self, ring):
        if not FAULTS:
            self.skipTest("with --long")
        via, _, buffers = VARIANT
        self.machine = lambda: machine_of(self.port, "modern" if via == "legacy" else via, ring, buffers)
        event = threading.Event()
        return self.boot({"/page": random.Random(3).randbytes(2 << 20)}, held={"/page": (1_500_000, event)}, script=[
            ("  1 MiB of 2", ("set_link", {"name": "card", "up": False})),
            ("link: down", event.set, ("set_link", {"name": "card", "up": True})),
            ("link: up",), ("HTTP: serving at", self.end)])

    def test_link_down_and_up_in_mid_transfer(self):
        # the connection survives
        self.assertEqual(self.link_down_and_up_in_mid_transfer("split").count("HTTP: fetching"), 1)

    def test_link_down_and_up_on_a_packed_ring(self):
        """QEMU 7.2 and 10 count frames that they drop from a packed ring as used twice, and the device fails
        ("Virtqueue size exceeded") if frames were present when its link went down. The guest starts it again, and the
        page arrives complete."""
        self.link_down_and_up_in_mid_transfer("packed")

    def test_reset_in_mid_transfer(self):
        if not FAULTS:
            self.skipTest("with --long")
        event = threading.Event()
        console = self.boot({"/page": random.Random(3).randbytes(2 << 20)}, held={"/page": (1_500_000, event)}, script=[
            ("  1 MiB of 2", *RESET, event.set), ("HTTP: serving at", self.end)])
        self.assertEqual(console.count("DHCP: asking"), 2)

    def test_dhcp_does_not_answer(self):
        if not FAULTS:
            self.skipTest("with --long")
        # A filter holds data in flight, in both directions, until it is removed.
        silence = ["-object", "filter-buffer,id=silence,netdev=network,queue=all,interval=4000000000"]
        self.boot(stall=1, extra=silence, script=[
            ("DHCP: no answer yet", ("object-del", {"id": "silence"})), ("DHCP: address",), ("HTTP: serving at", self.end)])


class Vsock(Network):
    way = "vsock"
    started = True

    def setUp(self):
        self.port = host.free_port()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.back_end = stack.enter_context(backend.serve(host.CID))
        self.network = stack.enter_context(gvproxy.serve(self.back_end.path(host.CID), started=False))

    def machine(self):
        if self.started:
            self.network.start()
        return "pc", IMAGE, self.back_end.arguments(host.CID)

    def serving(self):
        self.network.expose(f"127.0.0.1:{self.port}", "192.168.127.2:80")

    def test_gvproxy_comes_late(self):
        if not FAULTS:
            self.skipTest("with --long")
        self.started = False
        self.boot(stall=1, script=[("link: still down", self.network.start), ("link: up",), ("HTTP: serving at", self.serving, self.end)])

    def test_reset(self):
        if not FAULTS:
            self.skipTest("with --long")
        # While no data is sent: the back end (0.3.0) ends the guest's thread if data for the guest arrives while it has
        # no queues.
        console = self.boot(script=[("HTTP: serving at", *RESET), ("HTTP: serving at", self.serving, self.end)])
        self.assertEqual(console.count("DHCP: asking"), 2)

    def test_dhcp_does_not_answer(self):
        if not FAULTS:
            self.skipTest("with --long")
        self.started = False
        with gvproxy.silenced(self.back_end.path(host.CID)) as (silencer, self.network):
            self.boot(stall=1, script=[
                ("DHCP: no answer yet", silencer.speak), ("DHCP: address",), ("HTTP: serving at", self.serving, self.end)])
            self.assertGreater(silencer.swallowed, 0)

    def test_gvproxy_killed_in_mid_transfer(self):
        if not FAULTS:
            self.skipTest("with --long")
        event = threading.Event()
        console = self.boot({"/page": random.Random(3).randbytes(2 << 20)}, held={"/page": (1_500_000, event)}, stall=2, script=[
            ("  1 MiB of 2", self.network.kill), ("link: down", self.network.start), ("link: up", event.set),
            ("HTTP: serving at", self.serving, self.end)])
        self.assertEqual(console.count("DNS: "), 2)


del Network  # no test of its own


if __name__ == "__main__":
    KIND, VERSION, TREE = sys.argv.pop(1), sys.argv.pop(1), pathlib.Path(sys.argv.pop(1)).resolve()
    LONG = "--long" in sys.argv
    if LONG:
        sys.argv.remove("--long")
    PROCESSOR = {guestrun.AARCH64.qemu: "aarch64", guestrun.RISCV64.qemu: "riscv64"}.get(guestrun.processor(TREE / IMAGE).qemu, "x86_64")
    VARIANT = USUAL[f"{PROCESSOR} {VERSION}"]
    variable = matrix.VARIABLES[VERSION] + matrix.SUFFIXES[PROCESSOR]
    # another QEMU shows the same
    FAULTS = LONG or (PROCESSOR == "x86_64" and VERSION == {"card": "10", "vsock": "7.2"}[KIND])
    QEMU = os.environ.get(variable)
    for why in ("" if QEMU else f"{variable} is empty: no such QEMU on this machine",
                *([backend.missing(), gvproxy.missing()] if KIND == "vsock" else [])):
        if why:
            sys.exit(matrix.skip(why))
    sys.argv.insert(1, {"card": "Card", "vsock": "Vsock"}[KIND]) if len(sys.argv) == 1 or not re.match("Card|Vsock", sys.argv[1]) else None
    unittest.main(verbosity=2)
