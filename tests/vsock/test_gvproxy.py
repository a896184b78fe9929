#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""gvproxy as the tests use it: this script sends through its Unix socket what a guest without a network card sends.

What it takes is in the environment: GVPROXY, as tools/setup --print prints it. Status 77: a part is absent (1 with
VIRTIO_TEST_REQUIRE_ALL=1).
"""
import pathlib
import socket
import struct
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "qemu"), str(HERE.parent.parent / "tools")]
import guestrun  # noqa: E402
import gvproxy  # noqa: E402
import matrix  # noqa: E402

REQUEST = b"POST /connect HTTP/1.1\r\nHost: gv\r\nContent-Length: 0\r\n\r\n"
MAC = bytes.fromhex(gvproxy.MAC.replace(":", ""))
SETTLE = 0.2  # its docs' race: data sent before it has taken over the connection may be lost
ANSWER = 25  # times that, until a connection without an answer is given up


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def discover():
    """A frame with DHCPDISCOVER."""
    dhcp = struct.pack(">4BIHH16x6s202x", 1, 1, 6, 0, 1, 0, 0x8000, MAC) + bytes((99, 130, 83, 99, 53, 1, 1, 255))
    udp = struct.pack(">4H", 68, 67, 8 + len(dhcp), 0) + dhcp
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    return b"\xff" * 6 + MAC + b"\x08\x00" + header + udp


class Gvproxy(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="virtio-")
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "4"

    def offered(self, network, prefix):
        """The address that is offered to a guest. A connection without an offer is given up, and another one settles longer."""
        settle = SETTLE
        while True:
            try:
                return self.offered_at_once(network, prefix, settle)
            except (TimeoutError, ConnectionError, struct.error):  # the last: the connection ended
                settle *= 2
                if ANSWER * settle > guestrun.HANG:
                    raise

    def offered_at_once(self, network, prefix, settle):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(ANSWER * settle)
            sock.connect(str(network.socket))
            sock.sendall(REQUEST)
            time.sleep(settle)
            frame = discover()
            sock.sendall(struct.pack(prefix, len(frame)) + frame)
            with sock.makefile("rb") as stream:
                while True:
                    frame = stream.read(*struct.unpack(prefix, stream.read(struct.calcsize(prefix))))
                    if frame[12:14] == b"\x08\x00" and frame[34:38] == struct.pack(">HH", 67, 68):
                        return socket.inet_ntoa(frame[58:62])

    def test_offer(self):
        with gvproxy.serve(self.path) as network:
            self.assertEqual(self.offered(network, "<H"), "192.168.127.2")

    def test_qemu_framing(self):
        with gvproxy.serve(self.path, "-listen-qemu", f"unix://{self.path}_qemu") as network:
            self.assertEqual(self.offered(network, ">I"), "192.168.127.2")

    def test_killed_and_started_again(self):
        with gvproxy.serve(self.path) as network:
            network.kill()
            network.start()
            self.assertEqual(self.offered(network, "<H"), "192.168.127.2")


if __name__ == "__main__":
    if why := gvproxy.missing():
        sys.exit(matrix.skip(why))
    unittest.main(verbosity=2)
