#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Partition tables that sfdisk writes are read as sfdisk lists them: GPT, MBR with logical partitions, blocks of 4 KiB;
the copy at the end of the disk is used if the first is damaged.

usage: test_partitions.py [unittest's arguments]
What it takes: sfdisk, and a compiler, $CXX or clang++.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import uuid
import zlib

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "qemu"))
import matrix  # noqa: E402

FLAGS = ("-std=c++20 -O1 -g -Wall -Wextra -Wconversion -Wshadow -Werror "
         "-fsanitize=address,undefined -fno-sanitize-recover=all").split()
EFI = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
GPT = "label: gpt\nsize=10000, type=U\nsize=20000, type=L\nstart=60000, size=2048, type=L\n"
MBR = ("label: dos\n1: start=2048, size=10000, type=ef\n2: start=14336, size=60000, type=f\n"
       "5: start=16384, size=8000, type=83\n6: start=28672, size=2048, type=c\n7: start=32768, size=100, type=82\n")


class Partitions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="virtio-partitions-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.program = cls.folder / "partitions"
        subprocess.run([COMPILER, *FLAGS, "-I", HERE.parent.parent / "include", HERE / "partitions.cpp", "-o", cls.program], check=True)

    def make(self, script, mebibytes=64):
        image = self.folder / "disk.img"
        image.write_bytes(bytes(mebibytes << 20))
        if script:
            subprocess.run([SFDISK, "--quiet", image], input=script, text=True, check=True)
        return image

    def listed(self, image, block=512):
        done = subprocess.run([self.program, image, str(block)], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.splitlines()

    def as_sfdisk(self, image):
        told = subprocess.run([SFDISK, "--json", image], capture_output=True, text=True, check=True).stdout
        table = json.loads(told)["partitiontable"]
        lines = []
        for row in table["partitions"]:
            index, kind = int(row["node"][len(str(image)):]), row["type"]
            if kind in ("5", "f"):
                continue  # the partitions in it are listed instead
            mbr = "00" if table["label"] == "gpt" else f"{int(kind, 16):02x}"
            efi = " efi" if kind in (EFI, "ef") else ""
            lines.append((index, f"{index} {row['start']} {row['size']} {mbr}{efi}"))
        return [line for _, line in sorted(lines)]

    def test_tables(self):
        for name, script in (("GPT", GPT), ("MBR", MBR)):
            with self.subTest(name):
                image = self.make(script)
                expected = self.as_sfdisk(image)
                self.assertTrue(len(expected) >= 3, expected)
                self.assertEqual(sorted(self.listed(image)), sorted(expected))

    def test_blocks_of_4_kib(self):
        """Debian 12's sfdisk writes no such table for an image, so this one is written here."""
        image, block = self.make(""), 4096
        data = bytearray(image.read_bytes())
        data[450], data[510:512] = 0xee, b"\x55\xaa"
        entry = struct.pack("<16s16sQQ72x", uuid.UUID(EFI).bytes_le, uuid.uuid4().bytes_le, 256, 1255)
        array = entry.ljust(128 * 128, b"\0")
        head = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, 1, 16383, 6, 16378, uuid.uuid4().bytes_le, 2, 128, 128,
                           zlib.crc32(array))
        data[block:block + 92] = head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
        data[2 * block:2 * block + len(array)] = array
        image.write_bytes(data)
        self.assertEqual(self.listed(image, block), ["1 2048 8000 00 efi"])

    def test_no_table(self):
        self.assertEqual(self.listed(self.make("")), [])

    def test_second_copy(self):
        image = self.make(GPT)
        expected, data = self.listed(image), bytearray(image.read_bytes())
        for name, at in (("the header", 512 + 40), ("the array", 1024 + 40)):
            with self.subTest(name):
                spoiled = bytearray(data)
                spoiled[at] ^= 1
                image.write_bytes(spoiled)
                self.assertEqual(self.listed(image), expected)
                spoiled[-512 + 40] ^= 1  # and the other header
                image.write_bytes(spoiled)
                self.assertEqual(self.listed(image), ["damaged"])

    def test_cut_short(self):
        """A disk that ends before its partitions do: these are left out."""
        image = self.make(MBR)
        os.truncate(image, 20000 * 512)
        # the second logical partition's table is beyond the end
        self.assertEqual(self.listed(image), ["1 2048 10000 ef efi", "damaged"])

    def test_damaged_extended_partition(self):
        """It does not hide the primary partitions after it."""
        image = self.make(MBR + "3: start=76000, size=2048, type=83\n")
        self.assertIn("3 76000 2048 83", self.listed(image))
        data = bytearray(image.read_bytes())
        data[14336 * 512 + 510] ^= 1  # no table any more
        image.write_bytes(data)
        self.assertEqual(self.listed(image), ["1 2048 10000 ef efi", "3 76000 2048 83", "damaged"])

    def test_logical_partitions_in_a_circle(self):
        image = self.make(MBR)
        data = bytearray(image.read_bytes())
        begin = int.from_bytes(data[446 + 16 + 8:446 + 16 + 12], "little")
        data[begin * 512 + 462 + 8:begin * 512 + 462 + 12] = bytes(4)  # the next table is the first one
        image.write_bytes(data)
        self.assertIn("damaged", self.listed(image))


if __name__ == "__main__":
    COMPILER = shutil.which(os.environ.get("CXX") or "clang++")
    SFDISK = shutil.which("sfdisk", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    for why in ("" if COMPILER else "no compiler on this machine", "" if SFDISK else "no sfdisk on this machine"):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(verbosity=2)
