#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/09_usbip through vhost-device-vsock: the list of the host's tools, the disk's bytes through the stick, a
client that ends in mid-transfer, and two clients at once. Without a kernel with vhci_hcd: tests/nested has that.

usage: test_usbip.py 7.2|10 TREE [unittest's arguments]
  TREE  where the guests were built
What it takes is in the environment: QEMU_7 or QEMU_10, VHOST_DEVICE_VSOCK, as tools/setup --print prints them; usbip.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import contextlib
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "nested"), str(HERE.parent / "qemu"), str(ROOT / "tools")]
import backend  # noqa: E402
import guestrun  # noqa: E402
import matrix  # noqa: E402
import usb_client  # noqa: E402
import usbip  # noqa: E402

TOOL = ROOT / "tools/usbip-vsock"
loader = importlib.machinery.SourceFileLoader("usbip_vsock", str(TOOL))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
sys.modules[loader.name] = tool
loader.exec_module(tool)

CID = 4
USBIP = shutil.which("usbip", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
SIZE = 8 << 20
LISTED = """1-1: 1209:0001, super speed
  interface 0: class 08/06/50
1-2: 1209:0002, high speed
  interface 0: class 02/02/01
  interface 1: class 0a/00/00
"""
CONSOLE = ["-device", "virtio-serial-pci", "-chardev", "null,id=line", "-device", "virtconsole,chardev=line"]


class Stick(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="virtio-usbip-")
        self.addCleanup(folder.cleanup)
        self.disk = pathlib.Path(folder.name, "disk.img")
        self.content = os.urandom(SIZE)
        self.disk.write_bytes(self.content)

    def run_guest(self, visit, append="host=stays", console=False):
        """Boots the guest, calls visit(path of its vsock) when it serves, then ends it: returns its output."""
        with backend.serve(CID) as vsock:
            failures = []

            def work():
                vsock.wait_for_queues(CID)
                try:
                    visit(vsock.path(CID))
                except Exception as failure:
                    failures.append(failure)
                with contextlib.suppress(OSError):
                    vsock.connect(CID, 3241).close()
            drive = ["-drive", f"if=none,id=disk,format=raw,file={self.disk}", "-device", "virtio-blk-pci,drive=disk"]
            status, console = guestrun.boot(TREE / "examples/09_usbip", QEMU, "q35", append=append,
                                            extra=[*vsock.arguments(CID), *drive, *(CONSOLE if console else [])], script=[("^serving", work)])
        if failures:
            print(console)
            raise failures[0]
        self.assertEqual(status, 0, console)
        return console

    @staticmethod
    def host(path, busid="1-1", kind=usb_client.Drive):
        sock = tool.connect(tool.Target("unix", str(path)), guestrun.HANG)
        try:
            tool.import_device(sock, busid)
        except BaseException:
            sock.close()
            raise
        sock.settimeout(guestrun.HANG)
        return kind(sock)

    def test_listed(self):
        """By the distribution's tool through the bridge, and by ours."""
        said = []

        def visit(path):
            with usbip.bridge(path) as port:
                for _ in range(2):
                    said.append(subprocess.run([USBIP, "--tcp-port", port, "list", "-r", "127.0.0.1"], stdout=subprocess.PIPE,
                                               stderr=subprocess.STDOUT, text=True, timeout=guestrun.HANG).stdout)
            said.append(subprocess.run([sys.executable, "-B", TOOL, "list", f"unix:{path}"], stdout=subprocess.PIPE, text=True,
                                       timeout=guestrun.HANG).stdout)
        self.run_guest(visit, console=True)
        for listed in said[:2]:
            self.assertRegex(listed, r"(?m)^ *1-1: .*\(1209:0001\)$")
            self.assertRegex(listed, r"(?m)^ *1-2: .*\(1209:0002\)$")
            self.assertIn("(08/06/50)", listed)
        self.assertEqual(said[2], LISTED)

    def test_without_console(self):
        said = []

        def visit(path):
            with tool.connect(tool.Target("unix", str(path)), guestrun.HANG) as sock:
                said.extend(tool.list_devices(sock))
        self.run_guest(visit)
        self.assertEqual([one.busid for one in said], ["1-1"])

    def test_bytes(self):
        """Reads the whole disk by large transfers, writes parts of it, and checks the image on the host."""
        wanted = bytearray(self.content)

        def visit(path):
            host = self.host(path)
            with host.sock:
                host.configure()
                count, size = host.blocks()
                self.assertEqual((count, size), (SIZE // 512, 512))
                got = b"".join(host.read_blocks(at, 2048) for at in range(0, count, 2048))
                self.assertEqual(got, self.content)
                for at, blocks in ((0, 1), (7, 300), (5000, 2048), (count - 1, 1)):
                    data = os.urandom(blocks * 512)
                    host.write_blocks(at, data)
                    wanted[at * 512:at * 512 + len(data)] = data
                host.flush()
                self.assertEqual(host.read_blocks(0, 512), bytes(wanted[:512 * 512]))
                # Beyond the end: rejected with its reason.
                status, residue, _ = host.command(struct.pack(">BBIBHB", 0x28, 0, count, 0, 1, 0), 512)
                self.assertEqual((status, residue, host.sense()), (1, 512, (5, 0x21, 0)))
        console = self.run_guest(visit)
        self.assertEqual(self.disk.read_bytes(), bytes(wanted))
        reads, writes, flushes = map(int, re.search(r"(\d+) reads, (\d+) writes, (\d+) flushes", console).groups())
        self.assertGreaterEqual(reads, SIZE // (1 << 20))
        self.assertGreaterEqual(writes, 4)
        self.assertGreaterEqual(flushes, 1)

    def test_gone_in_the_middle(self):
        """A client ends in mid-read, and one in mid-write: the next client can use the stick."""
        def visit(path):
            host = self.host(path)
            with host.sock:
                host.configure()
                host.transfer(usb_client.OUT, 1, 31, struct.pack("<4sIIBBB", b"USBC", 1, 1 << 20, 0x80, 0, 10) +
                              struct.pack(">BBIBHB", 0x28, 0, 0, 0, 2048, 0).ljust(16, b"\0"))
                host.submit(usb_client.IN, 1, 1 << 20)
                host.read(1000)
            host = self.again(path)
            with host.sock:
                host.configure()
                host.transfer(usb_client.OUT, 1, 31, struct.pack("<4sIIBBB", b"USBC", 1, 1 << 20, 0, 0, 10) +
                              struct.pack(">BBIBHB", 0x2a, 0, 0, 0, 2048, 0).ljust(16, b"\0"))
                host.submit(usb_client.OUT, 1, 1 << 20, self.content[:100_000])
            host = self.again(path)
            with host.sock:
                host.configure()
                self.assertEqual(host.read_blocks(0, 2048), self.content[:1 << 20])
        console = self.run_guest(visit, "host=stays timeout=2")
        self.assertEqual(self.disk.read_bytes(), self.content)  # the part that was written is unchanged
        self.assertEqual(len(re.findall("^a host has gone: ", console, re.M)), 3, console)

    def again(self, path):
        """Imports after the guest has detected the end of the previous client."""
        for _ in range(1000):
            with contextlib.suppress(tool.Problem):
                return self.host(path)
            time.sleep(0.1)  # it is not asked all the time while it looks at its clock
        self.fail("the stick is still taken")

    def test_taken(self):
        def visit(path):
            first = self.host(path)
            with first.sock:
                first.configure()
                with self.assertRaisesRegex(tool.Problem, "rejected with status 2: busy"):
                    self.host(path)
                with self.assertRaisesRegex(tool.Problem, "rejected with status"):
                    self.host(path, "1-9")
                self.assertEqual(first.read_blocks(3, 4), self.content[3 * 512:7 * 512])
        self.run_guest(visit)

    def test_silent_clients(self):
        """Silent clients occupy all places, until the guest's limit ends them."""
        def visit(path):
            silent = [tool.connect(tool.Target("unix", str(path)), guestrun.HANG) for _ in range(8)]
            host = self.again(path)
            with host.sock:
                host.configure()
                self.assertEqual(host.read_blocks(3, 4), self.content[3 * 512:7 * 512])
            for one in silent:
                one.close()
        console = self.run_guest(visit, "host=stays timeout=2")
        self.assertEqual(len(re.findall("^a client has gone: this side ended the connection: the peer held it open", console, re.M)), 8, console)

    def test_ends_with_its_host(self):
        def visit(path):
            host = self.host(path)
            host.configure()
            host.sock.shutdown(socket.SHUT_RDWR)
            host.sock.close()
        console = self.run_guest(visit, append="")
        self.assertRegex(console, r"(?m)^a host has gone: the peer closed the connection between two messages \(")


if __name__ == "__main__":
    _, TREE, QEMU = matrix.asked_for(backend.missing(), "" if USBIP else "no usbip on this machine (Debian's package of that name)")
    unittest.main(verbosity=2)
