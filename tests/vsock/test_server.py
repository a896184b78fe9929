#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/04_vsock_server under clients of every kind: curl through its forward.py, many at once, slow ones, clients
that vanish in the middle, invalid requests. One guest serves them all and ends with status 0.

usage: test_server.py 7.2|10 TREE [unittest's arguments]
  TREE  where the guests were built
What it takes is in the environment: QEMU_7 or QEMU_10, VHOST_DEVICE_VSOCK, as tools/setup --print prints them; curl and
mtools.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import contextlib
import hashlib
import html
import io
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXAMPLE = ROOT / "examples" / "04_vsock_server"
sys.path[:0] = [str(HERE), str(HERE.parent / "qemu"), str(ROOT / "tools"), str(EXAMPLE)]
import backend  # noqa: E402
import forward  # noqa: E402
import guestrun  # noqa: E402
import matrix  # noqa: E402

CID, HTTP, STOP = 4, 80, 81
LIMIT = guestrun.HANG  # for steps of about a second
LARGE = 100 << 20
PLACES = 96  # as in the example


def pattern(name, size):
    return hashlib.shake_128(name.encode()).digest(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def mtools(command, image, *arguments):
    subprocess.run([command, "-i", str(image), *map(str, arguments)], check=True, stdin=subprocess.DEVNULL,
                   env={**os.environ, "MTOOLSRC": os.devnull, "LC_ALL": "C.UTF-8"})


def fill(folder):
    """Files with names of all kinds, and sizes close to those of sectors, clusters and buffers."""
    names = {"A.TXT": 0, "lower.txt": 1, "MiXed.Txt": 511, "two.dots.html": 512, "long name with spaces.bin": 513,
             "ünïcödé – ☃.txt": 4095, "per%cent & plus + hash #.md": 4096, "x" * 200 + ".bin": 65536,
             "deep/er/and deeper still/file": 65537,
             "deep/er/.hidden": 131073, "empty folder/": None,
             **{f"many/entry number {number:04}": number % 7 for number in range(700)}}
    for name, size in names.items():
        path = folder / name
        (path if size is None else path.parent).mkdir(parents=True, exist_ok=True)
        if size is not None:
            path.write_bytes(pattern(name, size))
    return sum(size is not None for size in names.values())


def make_image(image, source, megabytes, *options):
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    mtools("mformat", image, *options, "-T", megabytes * 2048, "::")
    mtools("mcopy", image, "-s", "-Q", *sorted(source.iterdir()), "::/")


def make_disk(folder):
    """FAT32 with `fill`'s files, eight scattered ones of 3 MiB, and a large one. Returns the image and the files."""
    source, image = folder / "files", folder / "disk.img"
    source.mkdir()
    fill(source)
    make_image(image, source, 192, "-F", "-c", "4")
    pieces = folder / "pieces"
    pieces.mkdir()
    for number in range(3000):  # every other one makes room again
        (pieces / f"{number}").write_bytes(bytes(2048 * (1 + number % 5)))
    mtools("mmd", image, "::/pieces")
    mtools("mcopy", image, *pieces.iterdir(), "::/pieces/")
    mtools("mdel", image, *(f"::/pieces/{number}" for number in range(0, 3000, 2)))
    for number in range(8):
        (source / f"scattered {number}").write_bytes(pattern(f"scattered {number}", (3 << 20) + number))
    (source / "large").write_bytes(pattern("large", LARGE))
    mtools("mcopy", image, *source.glob("scattered *"), source / "large", "::/")
    mtools("mdeltree", image, "::/pieces")
    return image, source


def connect(vsock, port):
    return vsock.connect(CID, port)


class Console:
    """The guest's output, and the event of its start of service."""

    def __init__(self):
        self.text, self.serves = "", threading.Event()

    def write(self, text):
        self.text += text
        if "serving on port" in self.text:
            self.serves.set()

    def flush(self):
        pass


class Guest:
    """A guest that serves a disk, until `stop`."""

    def __init__(self, vsock, image):
        self.vsock, self.console, self.outcome = vsock, Console(), None
        self.thread = threading.Thread(target=self.run, args=(image,))
        self.thread.start()

    def run(self, image):
        drive = ["-drive", f"if=none,id=disk,format=raw,readonly=on,file={image}", "-device", "virtio-blk-pci,drive=disk"]
        self.outcome = guestrun.boot(TREE / "examples" / "04_vsock_server", QEMU, "q35", extra=[*self.vsock.arguments(CID), *drive],
                                     timeout=10 * LIMIT, stream=self.console, errors=io.StringIO())
        self.console.serves.set()  # also if it never served

    def wait(self):
        self.console.serves.wait(LIMIT)
        if self.outcome is None:
            self.vsock.wait_for_queues(CID)
        return self

    def stop(self):
        """The guest's status."""
        if self.outcome is None:
            with contextlib.suppress(OSError):  # it may end before it has answered, without an error
                connect(self.vsock, STOP).close()
        self.thread.join()
        return self.outcome[0]

    def __enter__(self):
        return self.wait()

    def __exit__(self, *_):
        self.stop()


class Talk:
    """A connection to the server, byte by byte."""

    def __init__(self, vsock, timeout=LIMIT):
        self.sock = connect(vsock, HTTP)
        self.sock.settimeout(timeout)
        self.file = self.sock.makefile("rb")

    def say(self, data):
        self.sock.sendall(data)
        return self

    def hear(self, has_body=True):
        """Returns the next answer: status, fields, body."""
        status = self.file.readline().split(b" ", 2)
        fields = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, value = line.decode().split(":", 1)
            fields[name.lower()] = value.strip()
        return int(status[1]), fields, self.file.read(int(fields["content-length"])) if has_body else b""

    def get(self, path, more="", method="GET"):
        self.say(f"{method} {path} HTTP/1.1\r\nHost: guest\r\n{more}\r\n".encode())
        return self.hear(method != "HEAD")

    def has_ended(self):
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.sock.close()


class Server(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="virtio-server-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        image, cls.files = make_disk(cls.folder)
        served = backend.serve(CID)
        cls.vsock = served.__enter__()
        cls.addClassCleanup(served.__exit__, None, None, None)
        cls.guest = Guest(cls.vsock, image)
        cls.addClassCleanup(cls.ends_well)
        cls.guest.wait()
        door = cls.folder / "http"
        listening = forward.listen(str(door))
        cls.command = ["curl", "--silent", "--fail", "--max-time", str(LIMIT), "--unix-socket", str(door)]
        cls.addClassCleanup(listening.close)
        threading.Thread(target=forward.forward, args=(listening, str(cls.vsock.path(CID)), HTTP), daemon=True).start()

    @classmethod
    def ends_well(cls):
        status = cls.guest.stop()
        if status != 0:
            raise AssertionError(f"the guest ended with {status}: {cls.guest.console.text}")

    def curl(self, *arguments):
        """Ends the guest and returns its output, which must be without errors."""
        done = subprocess.run([*self.command, "--show-error", *arguments], capture_output=True, stdin=subprocess.DEVNULL)
        self.assertEqual((done.returncode, done.stderr), (0, b""), arguments)
        return done.stdout

    def talk(self):
        return Talk(self.vsock)

    def expect_small(self):
        """The server works."""
        self.assertEqual(self.curl("http://guest/lower.txt"), pattern("lower.txt", 1))

    def test_large_file(self):
        target = self.folder / "download"
        self.curl("-o", target, "http://guest/large")
        self.assertEqual(target.stat().st_size, LARGE)
        self.assertEqual(sha256(target.read_bytes()), sha256((self.files / "large").read_bytes()))

    def crawl(self, path="/"):
        """Every file that the lists link to, as a browser finds them."""
        with self.talk() as talk:
            status, fields, body = talk.get(path)
        self.assertEqual((status, fields["content-type"]), (200, "text/html"))
        for link, shown, size in re.findall(r'^<a href="([^"]*)">(.*)</a>(?:  (\d+))?$', body.decode(), re.MULTILINE):
            self.assertEqual(urllib.parse.unquote(link), html.unescape(shown))
            if link.endswith("/"):
                yield urllib.parse.unquote(path + link), None
                yield from self.crawl(path + link)
            else:
                yield urllib.parse.unquote(path + link), int(size)

    def test_every_file_is_listed(self):
        want = {}
        for path in self.files.rglob("*"):
            name = "/" + path.relative_to(self.files).as_posix()
            want.update({name + "/": None} if path.is_dir() else {name: path.stat().st_size})
        found = list(self.crawl())
        self.assertEqual(len(found), len(want))
        self.assertEqual(dict(found), want)

    def test_every_file_is_itself(self):
        with self.talk() as talk:
            for path in self.files.rglob("*"):
                if path.is_file() and path.name != "large":
                    name = urllib.parse.quote("/" + path.relative_to(self.files).as_posix())
                    status, _, body = talk.get(name)
                    self.assertEqual((status, sha256(body)), (200, sha256(path.read_bytes())), name)

    def test_64_at_once(self):
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            curls = [subprocess.Popen([*self.command, "-o", f"{folder}/{number}", f"http://guest/scattered%20{number % 8}"],
                                      stdin=subprocess.DEVNULL) for number in range(64)]
            self.assertEqual([one.wait() for one in curls], [0] * 64)
            for number in range(64):
                self.assertEqual(sha256(pathlib.Path(folder, str(number)).read_bytes()),
                                 sha256((self.files / f"scattered {number % 8}").read_bytes()))

    def test_killed_in_mid_transfer(self):
        for _ in range(8):
            one = subprocess.Popen([*self.command, "--limit-rate", "10M", "http://guest/large"], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE)
            one.stdout.read(100_000)
            one.kill()
            one.wait()
            one.stdout.close()
            self.expect_small()

    def test_more_vanish_than_there_are_places(self):
        """This back end does not report clients that leave bytes unread."""
        for _ in range(2 * PLACES):
            with self.talk() as talk:
                talk.say(b"GET /large HTTP/1.1\r\nHost: guest\r\n\r\n")
                talk.sock.recv(1000)
        self.expect_small()

    def test_idle_ones_make_room(self):
        idle = [self.talk() for _ in range(PLACES + 20)]
        self.expect_small()
        self.assertEqual(idle[-1].get("/A.TXT")[0], 200)
        for one in idle:
            one.__exit__()

    def test_slow_one_waits_alone(self):
        with self.talk() as slow:
            slow.say(b"GET /scattered%201 HTTP/1.1\r\nHost: guest\r\n\r\n")
            slow.sock.recv(1, socket.MSG_PEEK)
            for _ in range(20):
                self.expect_small()
            self.curl("-o", os.devnull, "http://guest/scattered%202")
            self.assertEqual(slow.hear()[2], (self.files / "scattered 1").read_bytes())

    def test_one_connection_for_many(self):
        nowhere = ["-o", os.devnull] * 3
        said = self.curl("-w", "%{num_connects}\n", *nowhere, "http://guest/A.TXT", "http://guest/MiXed.Txt", "http://guest/")
        self.assertEqual(said, b"1\n0\n0\n")

    def test_pieces_of_requests(self):
        with self.talk() as talk:
            for byte in b"GET /lower.txt HTTP/1.1\r\nHost: guest\r\nX-Long: " + b"x" * 300 + b"\r\n\r\n":
                talk.say(bytes([byte]))
            self.assertEqual(talk.hear()[2], pattern("lower.txt", 1))
            one = b"GET /MiXed.Txt HTTP/1.1\r\nHost: guest\r\n\r\n"
            talk.say(one * 300)  # more than it keeps, on one connection
            for _ in range(300):
                self.assertEqual(talk.hear()[2], pattern("MiXed.Txt", 511))

    def test_head(self):
        with self.talk() as talk:
            status, fields, _ = talk.get("/large", method="HEAD")
            self.assertEqual((status, int(fields["content-length"])), (200, LARGE))
            self.assertEqual(int(talk.get("/many/", method="HEAD")[1]["content-length"]), len(talk.get("/many/")[2]))
            self.assertEqual(talk.get("/nothing", method="HEAD")[0], 404)
            self.assertEqual(talk.get("/lower.txt")[2], pattern("lower.txt", 1))

    def test_ways_to_a_file(self):
        with self.talk() as talk:
            for path in ("/lower.txt", "/LOWER.TXT", "/%6cower%2Etxt", "//lower.txt", "/lower.txt?v=1", "http://guest/lower.txt"):
                self.assertEqual(talk.get(path)[2], pattern("lower.txt", 1), path)
            for path in ("/nothing", "/lower.tx", "/lower.txtt", "/lower.txt/more", "/deep/../lower.txt", "/./lower.txt",
                         "/" + "y" * 3000):
                self.assertEqual(talk.get(path)[0], 404, path)
            status, fields, _ = talk.get("/deep/er")
            self.assertEqual((status, fields["location"]), (301, "er/"))
        self.assertEqual(self.curl("--location", "http://guest/deep"), self.curl("http://guest/deep/"))

    def test_ranges(self):
        whole = (self.files / "scattered 3").read_bytes()
        size = len(whole)
        with self.talk() as talk:
            for asked, from_, to in (("0-0", 0, 1), ("0-", 0, size), ("511-512", 511, 513), ("100000-3000000", 100000, 3000001),
                                     (f"{size - 1}-", size - 1, size), (f"1234567-{size * 2}", 1234567, size),
                                     ("-1", size - 1, size), (f"-{size + 5}", 0, size)):
                status, fields, body = talk.get("/scattered%203", f"Range: bytes={asked}\r\n")
                self.assertEqual((status, fields["content-range"]), (206, f"bytes {from_}-{to - 1}/{size}"), asked)
                self.assertEqual(body, whole[from_:to], asked)
            for asked in (f"{size}-", "-0"):
                status, fields, _ = talk.get("/scattered%203", f"Range: bytes={asked}\r\n")
                self.assertEqual((status, fields["content-range"]), (416, f"bytes */{size}"), asked)
            for asked in ("2-1", "-", "x", "0-1,3-4", "1-2x", "9" * 40 + "-"):  # all of it then
                self.assertEqual(talk.get("/lower.txt", f"Range: bytes={asked}\r\n")[0], 200, asked)
        part = self.folder / "part"
        part.write_bytes(whole[:1_000_001])
        self.curl("-C", "-", "-o", part, "http://guest/scattered%203")
        self.assertEqual(part.read_bytes(), whole)

    def test_nonsense(self):
        host = b"Host: guest\r\n"
        for said, status in (
                (b"\r\n\r\n", 400), (b"GET\r\n\r\n", 400), (b"GET /\r\n\r\n", 400), (b"GET  / HTTP/1.1\r\n" + host + b"\r\n", 400),
                (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET lower.txt HTTP/1.1\r\n" + host + b"\r\n", 400),
                (b"GET /%zz HTTP/1.1\r\n" + host + b"\r\n", 400), (b"GET /%4 HTTP/1.1\r\n" + host + b"\r\n", 400),
                (b"GET /%00 HTTP/1.1\r\n" + host + b"\r\n", 400), (b"GET /\x01 HTTP/1.1\r\n" + host + b"\r\n", 400),
                (b"GET / HTTP/1.1\r\n" + host + b"No colon\r\n\r\n", 400),
                (b"GET / HTTP/1.1\r\n" + host + b"Space : x\r\n\r\n", 400),
                (b"GET / HTTP/1.1\r\n" + host + b"Content-Length: 5\r\n\r\nhello", 400),
                (b"GET / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n", 400),
                (b"GET / HTTP/2.0\r\n" + host + b"\r\n", 505), (b"GET / SMTP/1.1\r\n" + host + b"\r\n", 400),
                (b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 5\r\n\r\nhello", 405),
                (b"get / HTTP/1.1\r\n" + host + b"\r\n", 405),
                (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n" + host + b"\r\n", 431), (bytes(5000), 431), (b"\r\n" * 3000, 400)):
            with self.subTest(said=said[:60]), self.talk() as talk:
                talk.say(said)
                got, fields, _ = talk.hear()
                self.assertEqual((got, fields["connection"]), (status, "close"))
                self.assertEqual(fields.get("allow"), "GET, HEAD" if status == 405 else None)
        self.expect_small()

    def test_last_answers(self):
        for said in (b"GET /lower.txt HTTP/1.0\r\n\r\n", b"GET /lower.txt HTTP/1.1\r\nHost: guest\r\nConnection: x, Close\r\n\r\n"):
            with self.talk() as talk:
                status, fields, body = talk.say(said).hear()
                self.assertEqual((status, fields["connection"], body), (200, "close", pattern("lower.txt", 1)))
                self.assertTrue(talk.has_ended())

    def test_noise(self):
        seed = random.randrange(1 << 32)
        source = random.Random(seed)
        good = b"GET /lower.txt?x HTTP/1.1\r\nHost: guest\r\nRange: bytes=0-5\r\nConnection: keep-alive\r\n\r\n"
        for turn in range(100):
            data = bytearray(good * 3)
            for _ in range(source.randrange(1, 12)):
                data[source.randrange(len(data))] = source.randrange(256)
            with self.subTest(seed=seed, turn=turn), self.talk() as talk:
                talk.say(data)
        self.expect_small()


class Disks(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="virtio-server-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def test_fat16(self):
        source, image = self.folder / "files", self.folder / "disk.img"
        source.mkdir()
        fill(source)
        make_image(image, source, 30, "-c", "4")
        self.assertEqual(image.read_bytes()[54:62], b"FAT16   ")
        with backend.serve(CID) as vsock, Guest(vsock, image) as guest:
            with Talk(vsock) as talk:
                for path in source.rglob("*"):
                    if path.is_file():
                        status, _, body = talk.get(urllib.parse.quote("/" + path.relative_to(source).as_posix()))
                        self.assertEqual((status, body), (200, path.read_bytes()), path)
                self.assertEqual(len(talk.get("/")[2].splitlines()), 1 + len(list(source.iterdir())))
            self.assertEqual(guest.stop(), 0)

    def test_chain_that_breaks_off(self):
        """A client of that file loses its connection; others keep theirs."""
        source, image = self.folder / "files", self.folder / "disk.img"
        source.mkdir()
        (source / "broken").write_bytes(pattern("broken", 1 << 20))
        (source / "whole").write_bytes(pattern("whole", 1 << 20))
        make_image(image, source, 64, "-F", "-c", "1")
        data = bytearray(image.read_bytes())
        for table in range(data[16]):  # cluster 3, with the root at 2, is the first file's first
            at = (int.from_bytes(data[14:16], "little") + table * int.from_bytes(data[36:40], "little")) * 512 + 4 * 1000
            self.assertEqual(int.from_bytes(data[at:at + 4], "little"), 1001)
            data[at:at + 4] = (0x0ffffff).to_bytes(4, "little")
        image.write_bytes(data)
        with backend.serve(CID) as vsock, Guest(vsock, image) as guest:
            with Talk(vsock) as well:
                with Talk(vsock, backend.IN_VAIN) as talk:
                    talk.say(b"GET /broken HTTP/1.1\r\nHost: guest\r\n\r\n")
                    got = b""
                    with self.assertRaises((ConnectionResetError, TimeoutError, EOFError)):
                        while data := talk.sock.recv(1 << 16):
                            got += data
                            self.assertLess(len(got), 1 << 20)
                        raise EOFError
                self.assertEqual(well.get("/whole")[2], pattern("whole", 1 << 20))
            self.assertEqual(guest.stop(), 0)

    def test_no_file_system(self):
        image = self.folder / "disk.img"
        image.write_bytes(random.randbytes(1 << 20))
        with backend.serve(CID) as vsock, Guest(vsock, image) as guest:
            self.assertEqual(guest.stop(), 1)
            self.assertIn("server: the device or the platform does not support this", guest.console.text)


if __name__ == "__main__":
    VERSION = sys.argv.pop(1)
    TREE = pathlib.Path(sys.argv.pop(1))
    QEMU = os.environ.get(matrix.VARIABLES[VERSION])
    for why in (backend.missing(), "" if QEMU else f"no QEMU {VERSION} on this machine",
                *(f"no {program} on this machine" for program in ("curl", "mformat") if not shutil.which(program))):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(verbosity=2)
