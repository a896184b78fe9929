#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The parsers of examples/04_vsock_server for disks and requests, on the host under sanitizers: FAT12, FAT16 and FAT32,
intact and damaged in every possible way.

usage: test_files.py [unittest's arguments]
What it takes: mtools, and a compiler, $CXX or clang++.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import test_server  # noqa: E402

FLAGS = ("-std=c++20 -O1 -g -Wall -Wextra -Wconversion -Wshadow -Werror "
         "-fsanitize=address,undefined -fno-sanitize-recover=all").split()
KINDS = {"FAT12": (4, "-c", "4"), "FAT16": (10, "-c", "4"), "FAT32": (34, "-F", "-c", "1")}


def fnv1a(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


class Files(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="virtio-files-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.program = cls.folder / "program"
        subprocess.run([COMPILER, *FLAGS, "-I", HERE.parent.parent / "include", HERE / "files.cpp", "-o", cls.program], check=True)
        cls.source = cls.folder / "files"
        cls.source.mkdir()
        test_server.fill(cls.source)
        for kind, (megabytes, *options) in KINDS.items():
            test_server.make_image(cls.folder / kind, cls.source, megabytes, *options)
            assert kind.encode() in (cls.folder / kind).read_bytes()[:96]

    def run_program(self, *arguments):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, timeout=test_server.LIMIT)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return sorted(done.stdout.splitlines())

    def list(self, folder):
        return sorted(f"{path.relative_to(folder).as_posix()} {path.stat().st_size} {fnv1a(path.read_bytes()):016x}"
                      for path in folder.rglob("*") if path.is_file())

    def test_whole(self):
        for kind in KINDS:
            with self.subTest(kind):
                self.assertEqual(self.run_program(self.folder / kind), self.list(self.source))

    def test_names_of_two_units(self):
        """mtools cannot write these names, so they are put into the image: a character of two units, and half of
        one."""
        source, image = self.folder / "names", self.folder / "names.img"
        source.mkdir()
        for name in ("a☃☄b.txt", "c☄☃d.txt"):
            (source / name).touch()
        test_server.make_image(image, source, *KINDS["FAT16"])
        data = image.read_bytes()
        for before, after in (("☃☄", b"\x3d\xd8\x00\xde"), ("☄☃", b"\x3d\xd8A\0")):
            self.assertEqual(data.count(before.encode("utf-16-le")), 1)
            data = data.replace(before.encode("utf-16-le"), after)
        image.write_bytes(data)
        empty = f"0 {fnv1a(b''):016x}"
        self.assertEqual(self.run_program(image), [f"a😀b.txt {empty}", f"c\ufffdAd.txt {empty}"])

    def test_chains_without_an_end(self):
        """A directory and a file whose clusters form a loop: the first is read to the maximum length, the second to its
        stated length."""
        data, image = bytearray((self.folder / "FAT16").read_bytes()), self.folder / "loops.img"
        table = int.from_bytes(data[14:16], "little") * 512
        for name in (b"MANY       ", b"LONGNA~1BIN", b"XXXXXX~1BIN"):
            at = data.find(name)
            self.assertGreater(at, 0, name)
            cluster = data[at + 26:at + 28]
            entry = table + 2 * int.from_bytes(cluster, "little")
            data[entry:entry + 2] = cluster
        image.write_bytes(data)
        listed = self.run_program(image)
        entries = sum(line.startswith("many/") for line in listed)
        self.assertTrue(700 < entries < 65536, entries)
        others = [line for line in self.list(self.source) if not line.startswith(("many/", "xxx"))]
        self.assertEqual([line for line in listed if not line.startswith(("many/", "xxx"))], others)
        name, size, cluster = "x" * 200 + ".bin", 65536, 2048
        self.assertIn(f"{name} {size} {fnv1a(test_server.pattern(name, size)[:cluster] * (size // cluster)):016x}", listed)

    def test_spoiled(self):
        seed = random.randrange(1 << 32)
        for kind in KINDS:
            with self.subTest(kind, seed=seed):
                self.run_program(self.folder / kind, seed, 200)


if __name__ == "__main__":
    COMPILER = shutil.which(os.environ.get("CXX") or "clang++")
    for why in ("" if COMPILER else "no compiler on this machine", "" if shutil.which("mformat") else "no mformat on this machine"):
        if why:
            sys.exit(test_server.matrix.skip(why))
    unittest.main(verbosity=2)
