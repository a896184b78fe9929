#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/bootloader as a UEFI program, started by OVMF or AAVMF from the disk that it reads: it starts Debian's
kernel, which mounts its root from the same disk and reports no error of its devices. The reason for each failed start
is printed.

usage: test_loader.py QEMU PROCESSOR TREE [unittest's arguments]
QEMU is 7.2 or 10, PROCESSOR x86_64 or aarch64. TREE is where the guests were built. The environment has the kernel,
LINUX_HOST or LINUX_HOST_AARCH64, and VIRTIO_TEST_LONG=1 for more disks.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import itertools
import os
import pathlib
import random
import re
import shutil
import struct
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench/boot"))
import machine  # noqa: E402
import loading  # noqa: E402
import matrix  # noqa: E402

disk_image, guestrun = machine.disk_image, machine.guestrun
LOADER = {"x86_64": "BOOTX64.EFI", "aarch64": "BOOTAA64.EFI"}
LINUX = {"x86_64": "LINUX_HOST", "aarch64": "LINUX_HOST_AARCH64"}  # the variable that names the kernel's folder
OPTIONS = {"x86_64": disk_image.OPTIONS, "aarch64": disk_image.ARM_OPTIONS}

# The disks from which Linux is started: the table, the file system, the machine, the device.
WHOLE = {
    ("7.2", "x86_64"): [("mbr", ("-F",), "pc", "virtio-blk-pci,disable-modern=on")],
    ("10", "x86_64"): [("gpt", (), "q35", "virtio-blk-pci,disable-legacy=on,packed=on")],
    ("7.2", "aarch64"): [("mbr", ("-F",), "virt", "virtio-scsi-pci,disable-legacy=on")],
    ("10", "aarch64"): [("gpt", (), "virt", "virtio-blk-pci,disable-legacy=off,disable-modern=off")],
}
# Five, so that they combine with all devices.
FORMS = (("gpt", ()), ("mbr", ()), ("gpt", ("-F",)), ("mbr", ("-F",)), ("mbr", ()))
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

    def install(self, image):
        """Puts the loader on a disk, by the commands of docs/bootloader.md."""
        page = (pathlib.Path(__file__).resolve().parents[2] / "docs/bootloader.md").read_text()
        for command in re.findall(r"^    ((?:mmd|mcopy) -i disk.img@@2M .*(?:EFI).*)$", page, re.M):
            command = command.replace("disk.img@@2M", f"{image}@@1M").replace("BOOTX64.EFI", LOADER[PROCESSOR])
            disk_image.run(*command.replace("build/guest/", f"{TREE}/").split())

    def start(self, image, disk="virtio-blk-pci", host=None, memory=512, **more):
        if disk.startswith("virtio-scsi"):
            more["first"], disk = ["-device", disk], "scsi-hd"
        return machine.boot(VERSION, PROCESSOR, image, disk=disk, machine=host, memory=memory, **more)

    def test_linux_starts(self):
        whole = WHOLE[VERSION, PROCESSOR]
        if os.environ.get("VIRTIO_TEST_LONG"):
            whole = [(*FORMS[n % len(FORMS)], host, device)
                     for n, (host, device) in enumerate(itertools.product(MACHINES[PROCESSOR], DEVICES))]
        for table, fat, host, device in whole:
            with self.subTest(table=table, fat=fat, machine=host, device=device):
                image = self.folder / "whole.img"
                options = OPTIONS[PROCESSOR]
                disk_image.make(image, KERNEL, self.folder, table=table, fat=64, fat_options=fat,
                                options=options)
                self.install(image)
                status, console = self.start(image, device, host, timeout=2 * guestrun.HANG)
                lines = console.split("\n")
                self.assertIn("starting Debian", lines, console)
                # Linux reports this for every SCSI disk when it resets the host, which it does at each start.
                said = [line for line in lines if line.startswith("@ ") and "Power-on or device reset" not in line]
                said = [line for line in said if not line.startswith("@ started at EL")]
                self.assertEqual(said, [f"@ options {options}", "@ root on guest"], console)
                self.assertIn("reboot: Power down", console)

    def test_every_byte_is_loaded(self):
        """The kernel of the benchmark adds all bytes of itself and of its initrd, which it gets by LoadFile2."""
        if PROCESSOR != "x86_64":
            self.skipTest("the kernel of the benchmark is for x86-64")
        image, written = self.folder / "bytes.img", self.folder / "written"
        kernel, initrd = loading.kernel_and_initrd(self.folder, random.Random(5), (5 << 20) + 4096 + 16, (9 << 20) + 4)
        disk_image.make_loader_partition(image, self.folder, {
            **self.loader, "vmlinuz": kernel, "initrd.img": initrd,
            "loader/entries/sums.conf": disk_image.entry("Sums", "/vmlinuz", ["/initrd.img"]).encode()}, size=32)
        port = ["-chardev", f"file,id=port,path={written}", "-device", "isa-debugcon,iobase=0xe9,chardev=port"]
        status, console = self.start(image, extra=port)
        self.assertEqual((status, written.read_bytes()), (0, b"EKY"), console)

    def test_named(self):
        """Files that are not kernels return to the menu. A program that returns ends the loader, the firmware's driver
        is connected again, and the firmware continues with its shell, which finds the disk's file system."""
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
        # Other disks are ignored: the loader reads the one from which it was loaded.
        others = ["-blockdev", "driver=null-co,node-name=other,size=1048576,read-zeroes=on",
                  "-device", "virtio-blk-pci,drive=other", "-device", "virtio-scsi-pci"]
        status, console = self.start(image, script=script, memory=256, extra=others)
        self.assertIn("claim: ", console)  # the loader owns the disk until it ends
        self.assertEqual(status, guestrun.NO_STATUS, console)
        self.assertIn("FS0:", console)


    def test_words(self):
        """Words of its command line choose the disk and the entry. On AAVMF, which starts QEMU's -kernel with
        -append."""
        if PROCESSOR != "aarch64":
            self.skipTest("OVMF starts a -kernel only if it is Linux")
        files = {f"loader/entries/{name}.conf": f"linux /{name}\n".encode() for name in ("first", "second")}
        disks = []
        for name in ("one", "two"):
            disk_image.make_loader_partition(self.folder / name, self.folder, files | {f"only-on-{name}": b""})
            disks += ["-blockdev", f"driver=raw,node-name={name},file.driver=file,file.filename={self.folder / name}",
                      "-device", f"virtio-blk-pci,drive={name},serial=disk-{name}"]
        kernel = self.folder / "kernel.efi"
        kernel.write_bytes(next(iter(self.loader.values())))
        status, console = machine.boot(VERSION, PROCESSOR, kernel, disks, append="disk=disk-two entry=second",
                                       script=[("^starting second\r*\n",), ("^/second: there is no such file\r*\n",),
                                               ("^exit 22\r*\n", ("quit", {}))])
        self.assertEqual(status, guestrun.NO_STATUS, console)
        self.assertIn("exit 22", console)


if __name__ == "__main__":
    VERSION, PROCESSOR, TREE = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    KERNEL = pathlib.Path(os.environ.get(LINUX[PROCESSOR]) or "/none")
    programs = ("sfdisk", "mformat", "mke2fs")
    for why in (machine.missing(VERSION, PROCESSOR), "" if KERNEL.is_dir() else f"{LINUX[PROCESSOR]} names no kernel",
                *("" if shutil.which(one) else f"no {one} on this machine" for one in programs)):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
