#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The peer of the vsock tests provides its services, tested through its Unix sockets, with this script as back end and
guest."""
import contextlib
import pathlib
import random
import socket
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import peer  # noqa: E402

LIMIT = peer.guestrun.HANG


def fnv1a(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def to_the_end(sock):
    return b"".join(iter(lambda: sock.recv(65536), b""))


class Peer(unittest.TestCase):
    def setUp(self):
        self.ends = contextlib.ExitStack()
        self.addCleanup(self.ends.close)
        folder = pathlib.Path(self.ends.enter_context(tempfile.TemporaryDirectory(prefix="virtio-")))
        self.path, self.other = folder / "a", folder / "b"
        self.process = self.ends.enter_context(peer.serve(self.path, self.other))

    def connect(self, port, path=None):
        sock = self.ends.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(LIMIT)
        sock.connect(f"{path or self.path}_{port}")
        return sock

    def guest(self, answer, behave):
        """A back end whose guest is one thread: it takes one CONNECT and answers it."""
        listening = self.ends.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(self.path))
        listening.listen()
        self.asked = b""

        def run():
            sock, _ = listening.accept()
            with sock:
                sock.settimeout(LIMIT)
                while not self.asked.endswith(b"\n"):
                    self.asked += sock.recv(1)
                sock.sendall(answer)
                behave(sock)

        thread = threading.Thread(target=run)
        thread.start()
        self.ends.callback(thread.join)

    def ask(self, port, line):
        sock = self.connect(port)
        sock.sendall(line)
        return to_the_end(sock)

    def test_echo(self):
        data = random.randbytes(300_000)
        sock = self.connect(7000)
        sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        self.assertEqual(to_the_end(sock), data)
        sender.join()

    def test_sink(self):
        data = random.randbytes(100_001)
        for port in (7001, 7005):
            sock = self.connect(port)
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            self.assertEqual(to_the_end(sock), b"100001 %016x\n" % fnv1a(data), port)
        for port in (7011, 7015):
            self.assertEqual(self.ask(port, b"100001\n" + data), b"100001 %016x\n" % fnv1a(data), port)
            self.assertEqual(self.ask(port, b"0\n"), b"0 cbf29ce484222325\n", port)
        self.assertEqual(self.ask(7021, b"100001\n" + data), b"100001\n")

    def test_source(self):
        for count in (0, 1, 255, 65537, 200_000):
            self.assertEqual(self.ask(7002, b"%d\n" % count), bytes((i * 131 + (i >> 8)) & 0xff for i in range(count)))
        for nonsense in (b"\n", b"-1\n", b"1x\n", b"1" * 40 + b"\n"):
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(self.ask(7002, nonsense), b"")

    def test_caller_that_ends(self):
        def behave(sock):
            sock.sendall(b"you said: " + to_the_end(sock))

        self.guest(b"OK 1234\n", behave)
        self.assertEqual(self.ask(7003, b"1234\n"), b"you said: hello from the host\n")
        self.assertEqual(self.asked, b"CONNECT 1234\n")

    def test_caller_that_does_not_end(self):
        self.guest(b"OK 0\n", lambda sock: sock.sendall(b"you said: " + sock.recv(64)))
        self.assertEqual(self.ask(7013, b"4294967295\n"), b"you said: hello from the host\n")
        self.assertEqual(self.asked, b"CONNECT 4294967295\n")

    def test_caller_that_is_refused(self):
        self.assertEqual(self.ask(7003, b"80\n"), b"refused\n")  # no back end at all
        self.guest(b"", lambda sock: None)
        self.assertEqual(self.ask(7003, b"80\n"), b"refused\n")

    def test_abrupt(self):
        sock = self.connect(7004)
        sock.sendall(bytes(4096))
        sock.sendall(bytes(10))
        with self.assertRaises(ConnectionResetError):  # not an orderly end
            sock.recv(1)

    def test_half(self):
        sock = self.connect(7006)
        self.assertEqual(to_the_end(sock), b"first half\n")
        sock.sendall(bytes(1_000_000))  # is still read

    def test_each_connection_on_its_own(self):
        socks = [self.connect(7000, path) for path in (self.path, self.other) for _ in range(64)]
        for number, sock in reversed(list(enumerate(socks))):
            sock.sendall(b"%d" % number)
        for number, sock in enumerate(socks):
            self.assertEqual(sock.recv(16), b"%d" % number)

    def test_nobody_where_nobody_is_to_be(self):
        for port in (7999, 7010):
            with self.assertRaises(FileNotFoundError):
                self.connect(port)

    def test_quits(self):
        sock = self.connect(7000)
        self.process.stdin.close()
        self.assertEqual(self.process.wait(LIMIT), 0)
        self.assertEqual(sock.recv(1), b"")
        self.assertEqual([path.name for path in self.path.parent.iterdir()], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
