#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/bootloader-install writes into the gap of an MBR or the BIOS boot partition of a GPT and into 440 bytes of
sector 0, replaces its own earlier data, and rejects every other image with a reason and without a write.

What it takes: sfdisk, and clang or gcc.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/qemu"), str(ROOT / "tests/tools")]
import matrix  # noqa: E402
from test_boot_image import AARCH64, elf  # noqa: E402

SFDISK = shutil.which("sfdisk", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
MIB, CODE = 1 << 20, 440
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
MBR = "label: dos\nstart=2048, size=2048, type=ef\nstart=6144, type=83\n"
GPT = f"label: gpt\nstart=2048, size=2048, type=U\nstart=4096, size=1024, type={BIOS_BOOT}\nstart=6144, type=L\n"


class Install(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.image, self.loader = self.folder / "disk.img", self.folder / "loader"
        self.loader.write_bytes(elf())

    def make(self, script=MBR):
        """An image whose partitions are full of data."""
        self.image.write_bytes(bytes(8 * MIB))
        subprocess.run([SFDISK, "--quiet", self.image], input=script, text=True, check=True)
        data = bytearray(self.image.read_bytes())
        for first, sectors in ((2048, 2048), (6144, 4096)):
            data[first * 512:(first + sectors) * 512] = b"data" * (sectors * 128)
        self.image.write_bytes(data)
        return bytes(data)

    def call(self, *arguments, image=None):
        return subprocess.run([sys.executable, ROOT / "tools/bootloader-install", image or self.image, "--loader", self.loader,
                               *map(str, arguments)], capture_output=True, text=True)

    def installed(self, *arguments):
        done = self.call(*arguments)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertLessEqual(len(done.stdout.splitlines()), 3)
        return done.stdout, self.image.read_bytes()

    def refused(self, word, *arguments, image=None):
        before = self.image.read_bytes() if self.image.exists() else None
        done = self.call(*arguments, image=image)
        self.assertNotIn("Traceback", done.stderr)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(word, done.stderr)
        self.assertEqual(self.image.read_bytes() if self.image.exists() else None, before)

    def check(self, before, after, first, sectors):
        """Only the code and the loader's place have changed, and the code leads to the loader."""
        end = (first + sectors) * 512
        self.assertEqual(after[CODE:512], before[CODE:512])
        self.assertEqual(after[512:first * 512], before[512:first * 512])
        self.assertEqual(after[end:], before[end:])
        at, count, _, total = struct.unpack_from("<QHHI", after, 424)
        self.assertEqual(at, first)
        self.assertLessEqual(count, sectors)
        core = after[at * 512:(at + count) * 512]
        self.assertEqual(sum(struct.unpack(f"<{count * 128}I", core)) & 0xffffffff, total)
        self.assertEqual(core[0x202:0x206], b"HdrS")
        self.assertFalse(any(after[(at + count) * 512:end]))
        return core

    @staticmethod
    def command_line(core):
        at, = struct.unpack_from("<I", core, 0x228)
        return core[at - 0x10000:].split(b"\0")[0].decode()

    def test_mbr(self):
        before = self.make()
        said, after = self.installed("--append", "disk=one")
        core = self.check(before, after, 1, 2047)
        self.assertIn("the gap before the first partition", said)
        self.assertIn("boot sector: written", said)
        self.assertEqual(self.command_line(core), "disk=one")
        _, after = self.installed("--append", "entry=two")
        self.assertEqual(self.command_line(self.check(before, after, 1, 2047)), f"table={before[440:444].hex()} entry=two")

    def test_gpt(self):
        before = self.make(GPT)
        said, after = self.installed()
        self.assertEqual(self.command_line(self.check(before, after, 4096, 1024)), f"table={before[568:584].hex()}")
        self.assertIn("BIOS boot partition", said)

    def test_id_of_the_table(self):
        """The id is of the table that is in use, not of a GPT of earlier, and the next installation finds the same."""
        before = bytearray(self.make())
        before[512:512 + 92] = b"EFI PART" + bytes(range(84))
        self.image.write_bytes(before)
        _, after = self.installed("--force")
        self.assertEqual(self.command_line(self.check(bytes(before), after, 1, 2047)), f"table={before[440:444].hex()}")
        self.assertIn("the same is there already", self.installed()[0])
        before = bytearray(self.make(GPT))  # hybrid, and not in the first row
        before[446:478] = bytes(4) + b"\x0c" + bytes(3) + struct.pack("<II", 2048, 2048) + before[446:462]
        self.image.write_bytes(before)
        _, after = self.installed()
        self.assertEqual(self.command_line(self.check(bytes(before), after, 4096, 1024)), f"table={before[568:584].hex()}")

    def test_first_partition_far_behind(self):
        """Only as much of the gap is read as an installation can have."""
        before = self.make()
        with open(self.image, "r+b") as file:
            file.truncate(1 << 40)
        subprocess.run([SFDISK, "--quiet", "--wipe", "never", self.image], input=f"label: dos\nstart={1900 << 20}, size=2048\n", text=True, check=True)
        done = subprocess.run(["sh", "-c", 'ulimit -v 4000000; exec "$0" "$@"', sys.executable, ROOT / "tools/bootloader-install", self.image,
                               "--loader", self.loader], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(self.image, "rb") as file:
            self.assertEqual(file.read(8 * MIB)[MIB:], before[MIB:])

    def test_again(self):
        """An update may be longer or shorter."""
        for script, first, sectors in ((MBR, 1, 2047), (GPT, 4096, 1024)):
            before = self.make(script)
            self.installed()
            said, once = self.installed()
            self.assertIn("the same is there already", said)
            self.loader.write_bytes(elf(loaded=b"other" * 20000))
            said, longer = self.installed()
            self.assertIn("boot sector: replaced", said)
            self.check(before, longer, first, sectors)
            self.loader.write_bytes(elf())
            self.assertEqual(self.installed()[1], once)

    def test_no_room(self):
        self.make("label: dos\nstart=8, size=2048, type=ef\n")
        self.refused("no room: the loader has")
        self.make(GPT.replace("size=1024", "size=4"))
        self.refused("no room: the loader has")
        os.truncate(self.image, 4 * MIB)
        self.refused("")
        self.make(GPT.replace(BIOS_BOOT, "L"))
        self.refused("a GPT without a BIOS boot partition")
        self.make()
        self.loader.write_bytes(elf(loaded=b"code" * 120000))
        self.refused("room for 458752 below 640 KiB")

    def test_another_loader(self):
        for at, data, said in ((0, b"\xeb\x63\x90" + bytes(100) + b"GRUB", "boot loader of another program (GRUB)"),
                               (0, b"\xfa\x33\xc0", "boot loader of another program; --force"),
                               (1024, b"something", "the place of the loader has data of another program")):
            with self.subTest(said):
                changed = bytearray(self.make())
                changed[at:at + len(data)] = data
                self.image.write_bytes(changed)
                self.refused(said)
                _, after = self.installed("--force")
                self.check(bytes(changed), after, 1, 2047)

    def test_no_disk(self):
        self.refused("No such file")
        self.refused("Is a directory", image=self.folder)
        for data, said in ((b"", "not an image of a partitioned disk"), (bytes(MIB), "not an image of a partitioned disk"),
                           (b"QFI\xfb" + bytes(MIB), "qcow2"),
                           (bytes(54) + b"FAT16   " + bytes(448) + b"\x55\xaa" + bytes(MIB), "a file system begins at sector 0")):
            with self.subTest(said):
                self.image.write_bytes(data)
                self.refused(said)
        data = self.make()
        self.image.write_bytes(data[:-100])
        self.refused("not a multiple of a sector")

    def test_no_loader(self):
        self.make()
        for data, said in ((b"text", "not a 64-bit little-endian ELF file"), (elf(machine=AARCH64), "not for x86-64"), (None, "No such file")):
            with self.subTest(said):
                if data is None:
                    self.loader.unlink()
                else:
                    self.loader.write_bytes(data)
                self.refused(said)

    def test_command_line(self):
        self.make()
        self.refused("printable ASCII", "--append", "a\nb")


if __name__ == "__main__":
    if SFDISK is None:
        sys.exit(matrix.skip("no sfdisk on this machine"))
    unittest.main(verbosity=2)
