#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/bootloader as a program for UEFI, started by OVMF or AAVMF from the disk that it reads: it starts Debian's kernel,
which mounts its root from the same disk and finds no fault with its devices. What keeps it from that is named.

usage: test_loader.py QEMU PROCESSOR TREE [unittest's arguments]
QEMU is 7.2 or 10, PROCESSOR x86_64 or aarch64. TREE is where the guests were built. The environment has the kernel,
LINUX_HOST, and VIRTIO_TEST_LONG=1 for more disks.
Status 77: something is not there (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import itertools
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import machine  # noqa: E402
import matrix  # noqa: E402

disk_image, guestrun = machine.disk_image, machine.guestrun
LOADER = {"x86_64": "BOOTX64.EFI", "aarch64": "BOOTAA64.EFI"}
LINUX = {"x86_64": "LINUX_HOST"}  # the variable that names the kernel's folder

# What differs between the disks that Linux is started from: the table, the file system, the machine, the device.
WHOLE = {
    ("7.2", "x86_64"): [("mbr", ("-F",), "pc", "virtio-blk-pci,disable-modern=on")],
    ("10", "x86_64"): [("gpt", (), "q35", "virtio-blk-pci,disable-legacy=on,packed=on")],
}
TABLES, FATS = ("gpt", "mbr"), ((), ("-F",))
MACHINES = {"x86_64": ("pc", "q35"), "aarch64": ("virt",)}
DEVICES = ("virtio-blk-pci,disable-legacy=on", "virtio-blk-pci,disable-legacy=on,packed=on",
           "virtio-blk-pci,disable-legacy=off,disable-modern=off",
           "virtio-blk-pci,disable-legacy=off,disable-modern=on",
           "virtio-scsi-pci,disable-legacy=on", "virtio-scsi-pci,disable-legacy=off,disable-modern=on")


def program_for(machine_number, size=4096, subsystem=10):
    """The head of a PE file without sections: firmware rejects it, but nothing before does."""
    head = bytearray(size)
    head[0:2], head[0x3c:0x40], head[64:68] = b"MZ", struct.pack("<I", 64), b"PE\0\0"
    head[68:70] = struct.pack("<H", machine_number)
    head[64 + 24 + 68:64 + 24 + 70] = struct.pack("<H", subsystem)
    return bytes(head)


class Loader(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="virtio-uefi-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.loader = {machine.BOOT_FILE[PROCESSOR]: (TREE / "examples" / LOADER[PROCESSOR]).read_bytes()}

    def start(self, image, disk="virtio-blk-pci", host=None, memory=512, **more):
        extra = []
        if disk.startswith("virtio-scsi"):
            extra, disk = ["-device", disk], "scsi-hd"
        return machine.boot(VERSION, PROCESSOR, image, extra, disk=disk, machine=host, memory=memory, **more)

    def test_linux_starts(self):
        linux = os.environ.get(LINUX.get(PROCESSOR, ""))
        if not linux:
            self.skipTest(f"no Linux kernel for {PROCESSOR}")
        whole = WHOLE[VERSION, PROCESSOR]
        if os.environ.get("VIRTIO_TEST_LONG"):
            whole = list(itertools.product(TABLES, FATS, MACHINES[PROCESSOR], DEVICES))
        for table, fat, host, device in whole:
            with self.subTest(table=table, fat=fat, machine=host, device=device):
                image = self.folder / "whole.img"
                disk_image.make(image, pathlib.Path(linux), self.folder, table=table, fat_options=fat, more=self.loader)
                status, console = self.start(image, device, host, timeout=2 * guestrun.HANG)
                lines = console.split("\n")
                self.assertIn("starting Debian", lines, console)
                said = [line for line in lines if line.startswith("@ ")]
                self.assertEqual(said, [f"@ options {disk_image.OPTIONS}", "@ root on guest"], console)
                self.assertIn("reboot: Power down", console)

    def test_named(self):
        """Kernels that are none lead back to the menu. A program that comes back ends the loader, the firmware's driver is
        connected again, and the firmware goes on to its shell, which finds the disk's file system."""
        own, other = {"x86_64": (0x8664, 0xaa64), "aarch64": (0xaa64, 0x8664)}[PROCESSOR]
        program = (TREE / "examples/uefi.efi").read_bytes()
        kernels = (("a", bytes(5000), "it is no Linux kernel with an EFI stub"),
                   ("b", b"MZ", "it is no Linux kernel with an EFI stub"),
                   ("c", program_for(other), "it is for another processor"),
                   ("d", program_for(own, subsystem=3), "it is no program for UEFI"),
                   ("e", program_for(own), "the firmware does not load it"),
                   ("f", program, None))
        image = self.folder / "named.img"
        files = {**self.loader, "loader/loader.conf": b"timeout 600\n", "initrd": bytes(5000)}
        for name, content, _ in kernels:
            entry = f"linux /{name}\ninitrd /initrd\nsort-key {name}\n"
            files |= {name: content, f"loader/entries/{name}.conf": entry.encode()}
        disk_image.make_loader_partition(image, self.folder, files)
        script = []
        for n, (name, _, why) in enumerate(kernels, 1):
            script += [("its key, or Enter.*\n", str(n).encode()), (f"^starting {name}\r*\n",)]
            script += [(f"^/{name}: {why}\r*\n",)] if why else []
        script += [("^the kernel has come back with status 0x1\r*\n",), ("^exit 22\r*\n",),
                   (r"FS0:", ("quit", {}))]
        status, console = self.start(image, script=script, memory=256)
        self.assertIn("claim: ", console)  # the disk is the loader's until it ends
        self.assertEqual(status, guestrun.NO_STATUS, console)
        self.assertIn("FS0:", console)


if __name__ == "__main__":
    VERSION, PROCESSOR, TREE = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    programs = ("sfdisk", "mformat", "mke2fs")
    for why in (machine.missing(VERSION, PROCESSOR),
                *("" if shutil.which(one) else f"no {one} on this machine" for one in programs)):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
