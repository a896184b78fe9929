#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/boot-image rejects unusable input with one line and a status, and accepts no option that it would ignore."""
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENTRIES = ("boot_start_linux32", "boot_start_linux64", "boot_start_multiboot1", "boot_start_multiboot2")
X86_64, AARCH64 = 62, 183


def elf(entries=ENTRIES, machine=X86_64, at=0x400000, loaded=b"code" * 64):
    """A guest's ELF file, as far as the tool reads it: a segment, and a symbol for each entry."""
    names = b"\0" + b"\0".join(name.encode() for name in entries) + b"\0"
    symbols = bytes(24) + b"".join(struct.pack("<IBBHQQ", names.index(name.encode()), 0x10, 0, 1, at + 16 * i, 0)
                                   for i, name in enumerate(entries))
    segment_at, text_at = 64, 64 + 56
    symbols_at = text_at + len(loaded)
    names_at = symbols_at + len(symbols)
    sections_at = names_at + len(names)
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, at, segment_at, sections_at, 0, 64, 56, 1, 64, 3, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, text_at, at, at, len(loaded), len(loaded) + 4096, 4096)
    sections = bytes(64) + struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, symbols_at, len(symbols), 2, 1, 8, 24) \
        + struct.pack("<IIQQQQIIQQ", 0, 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    return head + segment + loaded + symbols + names + sections


class BootImage(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.image, self.out = self.folder / "guest", self.folder / "out"
        self.image.write_bytes(elf())

    def call(self, *arguments, **environment):
        return subprocess.run([sys.executable, ROOT / "tools/boot-image", *map(str, arguments)], capture_output=True, text=True,
                              env={**os.environ, **environment})

    def refused(self, *arguments):
        """Returns its last line of output; its only one except for the usage."""
        made = self.call(*arguments)
        self.assertNotEqual(made.returncode, 0)
        self.assertNotIn("Traceback", made.stderr)
        self.assertFalse(self.out.exists())
        lines = [line for line in made.stderr.splitlines() if not line.startswith(("usage:", " "))]
        self.assertEqual(len(lines), 1, made.stderr)
        return lines[0]

    def test_makes_each_form_of_the_same_image(self):
        for form in ("bzimage", "multiboot"):
            made = self.call(form, self.image, self.out)
            self.assertEqual((made.returncode, made.stderr), (0, ""))
            self.assertIn(b"code" * 64, self.out.read_bytes())

    def test_check_succeeds_where_grub_is_and_fails_with_the_reason_where_it_is_not(self):
        here = shutil.which("grub-mkimage") and pathlib.Path("/usr/lib/grub/i386-pc/boot.img").exists()
        if here:
            made = self.call("grub", "--check")
            self.assertEqual((made.returncode, made.stdout, made.stderr), (0, "", ""))
        made = self.call("grub", "--check", PATH=str(self.folder))
        self.assertEqual(made.returncode, 1)
        self.assertIn("no GRUB for a BIOS on this machine", made.stderr)

    def test_refuses_options_that_the_form_would_ignore(self):
        for form in ("bzimage", "multiboot"):
            for option in (["--append", "words"], ["--protocol", "multiboot1"], ["--check"]):
                self.assertIn(option[0], self.refused(form, self.image, self.out, *option))
        self.assertIn("--check", self.refused("grub", self.image, self.out, "--check"))
        self.assertIn("IMAGE and OUT", self.refused("grub", self.image))
        self.refused("bzimage", self.image)

    def test_names_the_file_that_it_cannot_read_or_write(self):
        self.assertIn(f"{self.folder / 'none'}: No such file or directory", self.refused("multiboot", self.folder / "none", self.out))
        self.assertIn(f"{self.folder}: Is a directory", self.refused("multiboot", self.folder, self.out))
        made = self.call("multiboot", self.image, self.folder / "none" / "out")
        self.assertEqual((made.returncode, made.stderr), (1, f"{self.folder}/none/out: No such file or directory\n"))

    def test_refuses_what_is_no_guest_for_this_processor(self):
        for data, why in ((b"", "not a 64-bit little-endian ELF file"), (elf(()), "the symbol boot_start_"),
                          (elf(ENTRIES[:1]), "the symbol boot_start_"), (elf(machine=AARCH64), "not for x86-64"),
                          (elf(at=0x800), "below"), (elf(at=1 << 32), "4 GiB")):
            self.image.write_bytes(data)
            self.assertIn(why, self.refused("multiboot", self.image, self.out))

    def test_refuses_a_file_cut_anywhere(self):
        whole = elf()
        for length in (*range(6, len(whole) - 1, 61), len(whole) - 1):
            self.image.write_bytes(whole[:length])
            self.assertIn("truncated", self.refused("multiboot", self.image, self.out))


if __name__ == "__main__":
    unittest.main()
