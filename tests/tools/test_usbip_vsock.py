#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/usbip-vsock without a kernel with vhci_hcd: the answers of a server, cut and damaged; the attributes that it
writes to a folder instead of the kernel's; its bridge, between two sockets of this process."""
import contextlib
import errno
import importlib.machinery
import importlib.util
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import unittest
import unittest.mock

sys.dont_write_bytecode = True
TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools/usbip-vsock"
loader = importlib.machinery.SourceFileLoader("usbip_vsock", str(TOOL))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
sys.modules[loader.name] = tool
loader.exec_module(tool)

BOUND = 60  # seconds, the limit of a wait that must end
STATUS = """hub port sta spd dev      sockfd local_busid
hs  0000 006 003 00010002 000003 1-1
hs  0001 004 000 00000000 000000 0-0
ss  0002 004 000 00000000 000000 0-0
"""


def head(code, status=0, version=0x0111):
    return struct.pack(">HHI", version, code, status)


def record(busid=b"1-1", speed=3, interfaces=1):
    """By offsets, as the facts have them."""
    made = bytearray(312)
    made[0:9] = b"/sys/guest"[:9]
    made[256:256 + len(busid)] = busid
    made[288:300] = struct.pack(">III", 1, 2, speed)
    made[300:306] = struct.pack(">HHH", 0x1209, 0x0001, 0x0100)
    made[306:312] = bytes((0, 0, 0, 1, 1, interfaces))
    return bytes(made)


class Server:
    """Takes a request and sends the given answer; then closes, unless it is configured to stay."""

    def __init__(self, says, stays=False):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.says, self.stays, self.heard = says, stays, b""
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        sock, _ = self.listening.accept()
        with sock:
            # Reads everything: unread data would turn the end into a reset.
            while len(self.heard) < (40 if self.heard[2:4] == b"\x80\x03" else 8):
                self.heard += sock.recv(40)
            sock.sendall(self.says)
            if self.stays:
                self.over.wait(BOUND)

    def __enter__(self):
        return tool.Target("tcp", "127.0.0.1", self.listening.getsockname()[1])

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.listening.close()


class Targets(unittest.TestCase):
    def test_forms(self):
        for text, kind, where, port in (("5", "vsock", "5", 3240), ("5:1234", "vsock", "5", 1234), ("unix:/tmp/v.sock", "unix", "/tmp/v.sock", 3240),
                                        ("unix:v:7", "unix", "v", 7), ("tcp:localhost", "tcp", "localhost", 3240), ("tcp:[::1]:9", "tcp", "::1", 9)):
            with self.subTest(text):
                self.assertEqual(tool.target(text), tool.Target(kind, where, port))

    def test_nonsense(self):
        for text in ("", "x", "5:", "5:x", "-1", "4294967296", "5:4294967296", "tcp:", "tcp:h:65536", "unix:"):
            with self.subTest(text), self.assertRaises(ValueError):
                tool.target(text)


class Protocol(unittest.TestCase):
    def problem(self, says, call, stays=False, timeout=BOUND):
        with Server(says, stays) as target, tool.connect(target, timeout) as sock, self.assertRaises(tool.Problem) as caught:
            call(sock)
        return str(caught.exception)

    def test_list(self):
        says = head(5) + struct.pack(">I", 2) + record() + bytes((8, 6, 0x50, 0)) + record(b"1-2", 5, 2) + bytes((2, 2, 1, 0, 10, 0, 0, 0))
        server = Server(says)
        with server as target, tool.connect(target, BOUND) as sock:
            devices = tool.list_devices(sock)
        self.assertEqual(server.heard, bytes.fromhex("0111800500000000"))
        self.assertEqual([(one.busid, one.vendor, one.product, one.speed, one.devid, one.classes) for one in devices],
                         [("1-1", 0x1209, 1, 3, 0x10002, ((8, 6, 0x50),)), ("1-2", 0x1209, 1, 5, 0x10002, ((2, 2, 1), (10, 0, 0)))])

    def test_import(self):
        server = Server(head(3) + record())
        with server as target, tool.connect(target, BOUND) as sock:
            device = tool.import_device(sock, "1-1")
        self.assertEqual(server.heard, bytes.fromhex("0111800300000000") + b"1-1".ljust(32, b"\0"))
        self.assertEqual((device.devid, device.speed), (0x10002, 3))

    def test_cut_anywhere(self):
        whole = head(3) + record()
        for size in (0, 1, 7, 8, 9, 319):
            with self.subTest(size):
                said = self.problem(whole[:size], lambda sock: tool.import_device(sock, "1-1"))
                at, of = (size, 8) if size < 8 else (size - 8, 312)
                self.assertIn(f"closed {'in the middle' if at else 'without a word'}: {at} of {of} bytes had arrived", said)

    def test_silence(self):
        said = self.problem(head(3) + bytes(5), lambda sock: tool.import_device(sock, "1-1"), True, 0.05)
        self.assertIn("5 of 312 bytes arrived, then none", said)

    def test_refused_by_name(self):
        for status, word in ((1, "not available"), (2, "busy"), (3, "device error"), (4, "no such device"), (5, "error"), (77, "unknown")):
            with self.subTest(status):
                said = self.problem(head(3, status), lambda sock: tool.import_device(sock, "1-1"))
                self.assertIn(f"rejected with status {status}: {word}", said)

    def test_not_what_was_due(self):
        for says, word in ((head(3, version=0x0100), "another version of USB/IP"), (head(5), "code 0x0005, not 0x0003"),
                           (b"HTTP/1.0 200 OK\r\n", "this is not USB/IP"), (head(3) + record(b"1-2"), "for 1-2"),
                           (struct.pack(">12I", 3, *[0] * 11), "header of a transfer")):
            with self.subTest(word):
                self.assertIn(word, self.problem(says, lambda sock: tool.import_device(sock, "1-1")))

    def test_flood(self):
        self.assertIn("4294967295 devices", self.problem(head(5) + b"\xff" * 4, tool.list_devices))

    def test_bad_names(self):
        for name in ("", "x" * 32):
            with self.subTest(name), self.assertRaises(tool.Problem):
                tool.import_device(None, name)

    def test_nobody_listens(self):
        with socket.socket() as silent:  # keeps the port, and does not listen
            silent.bind(("127.0.0.1", 0))
            with self.assertRaisesRegex(tool.Problem, "refused"):
                tool.connect(tool.Target("tcp", "127.0.0.1", silent.getsockname()[1]), BOUND)


class Vsock(unittest.TestCase):
    def test_buffer(self):
        """The bound first, then the size, as Python requires: before the connection, which carries them."""
        calls = []

        class Socket:
            def __getattr__(self, name):
                return lambda *arguments: calls.append((name, *arguments))
        with unittest.mock.patch.object(tool.socket, "socket", lambda *arguments: calls.append(arguments) or Socket()):
            tool.connect(tool.target("5:7"), BOUND, 1 << 23)
        self.assertEqual(calls, [(40, socket.SOCK_STREAM), ("settimeout", BOUND), ("setsockopt", 40, 2, 1 << 23),
                                 ("setsockopt", 40, 0, 1 << 23), ("connect", (5, 7))])


class Monitor(unittest.TestCase):
    """The Unix socket of a monitor: its line is sent first."""

    def answer(self, line, stays=False):
        folder = tempfile.TemporaryDirectory(prefix="virtio-")
        self.addCleanup(folder.cleanup)
        path = f"{folder.name}/s"
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(path)
        listening.listen()
        heard, over = [], threading.Event()
        self.addCleanup(over.set)

        def run():
            sock, _ = listening.accept()
            with sock:
                heard.append(sock.recv(100))
                sock.sendall(line)
                if stays:
                    over.wait(BOUND)
        threading.Thread(target=run, daemon=True).start()
        return tool.Target("unix", path, 7), heard

    def test_accepted(self):
        target, heard = self.answer(b"OK 1073741824\n" + head(5) + struct.pack(">I", 0), True)
        with tool.connect(target, BOUND) as sock:
            self.assertEqual(tool.list_devices(sock), [])
        self.assertEqual(heard, [b"CONNECT 7\n"])

    def test_refused(self):
        for line, word in ((b"", "refused: nothing listens on port 7"), (b"OK 1", "middle of the line"), (b"NO\n", "not the vsock socket of a monitor"),
                           (b"OK " + b"1" * 40, "not the vsock socket of a monitor")):
            with self.subTest(word), self.assertRaisesRegex(tool.Problem, word):
                tool.connect(self.answer(line)[0], BOUND)

    def test_silence(self):
        with self.assertRaisesRegex(tool.Problem, "no answer within"):
            tool.connect(self.answer(b"", True)[0], 0.05)


class Controller(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="virtio-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.hub = self.folder / "sys/devices/platform/vhci_hcd.0"
        self.hub.mkdir(parents=True)
        for name, content in (("status", STATUS), ("attach", ""), ("detach", ""), ("status.1", STATUS.replace("000", "001", 1))):
            (self.hub / name).write_text(content)
        self.vhci = tool.Vhci(self.folder / "sys", self.folder / "records")

    def device(self, speed):
        return tool.record(record(speed=speed))

    def test_ports(self):
        self.assertEqual([(one.hub, one.number, one.state, one.speed, one.devid, one.local) for one in self.vhci.ports()[:3]],
                         [("hs", 0, 6, 3, 0x10002, "1-1"), ("hs", 1, 4, 0, 0, "0-0"), ("ss", 2, 4, 0, 0, "0-0")])

    def test_unknown_line(self):
        with self.assertRaisesRegex(tool.Problem, "unknown line: 'what is this'"):
            tool.parse_status("what is this\n")

    def test_attach(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for speed, port in ((1, 1), (2, 1), (3, 1), (5, 2), (6, 2)):
                with self.subTest(speed=speed):
                    self.assertEqual(self.vhci.attach(ours, self.device(speed)), port)
                    self.assertEqual((self.hub / "attach").read_text(), f"{port} {ours.fileno()} {0x10002} {speed}")
            self.assertTrue(ours.getblocking())

    def test_port_taken_meanwhile(self):
        (self.hub / "status").write_text(STATUS + "hs  0003 004 000 00000000 000000 0-0\n")
        written = []

        def write(name, words):
            written.append(words.split()[0])
            if len(written) == 1:
                raise OSError(errno.EBUSY, "busy")
        self.vhci.write = write
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.assertEqual(self.vhci.attach(ours, self.device(3)), 3)
        self.assertEqual(written, ["1", "3"])

    def test_no_port(self):
        for name in ("status", "status.1"):
            (self.hub / name).write_text(STATUS.replace(" 004 ", " 006 "))
        with socket.socket() as sock, self.assertRaisesRegex(tool.Problem, "no free port for a device of super speed"):
            self.vhci.attach(sock, self.device(5))

    def test_refused(self):
        def write(*_):
            raise OSError(errno.EINVAL, "Invalid argument")
        self.vhci.write = write
        with socket.socket() as sock, self.assertRaisesRegex(tool.Problem, "rejects the socket on port 1: Invalid"):
            self.vhci.attach(sock, self.device(3))
        with self.assertRaisesRegex(tool.Problem, "does not detach port 9"):
            self.vhci.detach(9)

    def test_records(self):
        self.vhci.note(1, tool.target("5"), "1-1")
        self.assertEqual(self.vhci.noted(1), "vsock:5 3240 1-1")
        self.vhci.detach(1)
        self.assertEqual(((self.hub / "detach").read_text(), self.vhci.noted(1)), ("1", ""))

    def test_no_vhci(self):
        with self.assertRaisesRegex(tool.Problem, "modprobe vhci-hcd"):
            tool.Vhci(self.folder / "elsewhere")


class Bridge(unittest.TestCase):
    def test_both_ways_and_the_end(self):
        data = os.urandom(3_000_000)
        with socket.create_server(("127.0.0.1", 0)) as guest, socket.create_server(("127.0.0.1", 0)) as listening:
            target = tool.Target("tcp", "127.0.0.1", guest.getsockname()[1])

            def serve():
                with contextlib.suppress(OSError):
                    tool.bridge(listening, target, BOUND)
            threading.Thread(target=serve, daemon=True).start()
            with socket.create_connection(listening.getsockname(), BOUND) as client:
                inside, _ = guest.accept()
                with inside:
                    sender = threading.Thread(target=client.sendall, args=(data,))
                    sender.start()
                    self.assertEqual(tool.read(inside, len(data), "data"), data)
                    sender.join()
                    inside.sendall(b"answer")
                    self.assertEqual(tool.read(client, 6, "answer"), b"answer")
                self.assertEqual(client.recv(1), b"")  # the guest has gone
            with socket.create_connection(listening.getsockname(), BOUND) as client:
                inside, _ = guest.accept()
                client.close()
                with inside:
                    inside.settimeout(BOUND)
                    self.assertEqual(inside.recv(1), b"")  # the client has gone


class Command(unittest.TestCase):
    def run_tool(self, *arguments):
        done = subprocess.run([sys.executable, "-B", TOOL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return done.returncode, done.stdout, done.stderr

    def test_list(self):
        with Server(head(5) + struct.pack(">I", 1) + record() + bytes((8, 6, 0x50, 0))) as target:
            self.assertEqual(self.run_tool("list", f"tcp:{target.where}:{target.port}"),
                             (0, "1-1: 1209:0001, high speed\n  interface 0: class 08/06/50\n", ""))

    def test_refused(self):
        with Server(head(3, 2)) as target:
            where = f"tcp:{target.where}:{target.port}"
            status, out, errors = self.run_tool("list", where)
        self.assertEqual((status, out), (1, ""))
        self.assertRegex(errors, "^usbip-vsock: the list of devices: the reply has code 0x0003, not 0x0005\n$")

    def test_usage(self):
        self.assertEqual(self.run_tool("list", "nonsense")[0], 2)
        self.assertEqual(self.run_tool()[0], 2)
        self.assertIn("usbip-vsock attach TARGET BUSID", self.run_tool("--help")[1])


if __name__ == "__main__":
    unittest.main(verbosity=2)
