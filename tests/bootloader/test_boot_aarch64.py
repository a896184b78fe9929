#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/bootloader on 64-bit Arm starts Debian's kernel at the exception level of its own entry; the kernel mounts
its root from the same disk and reports no error of its devices. The reason for each failed start is printed.

usage: test_boot_aarch64.py QEMU TREE [--long] [unittest's arguments]
QEMU is 7.2 or 10, TREE is where the guests were built. --long starts Linux from every kind of disk, not from two of
them. The commands come from the environment: QEMU_7_AARCH64 and QEMU_10_AARCH64, LINUX_HOST_AARCH64.
What it takes: sfdisk, mtools, mke2fs.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import io
import itertools
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
for folder in (HERE.parent / "qemu", HERE.parent.parent / "tools"):
    sys.path.insert(0, str(folder))
os.environ["PATH"] += ":/usr/sbin:/sbin"
import disk_image  # noqa: E402
import guestrun  # noqa: E402
import image_place  # noqa: E402
import matrix  # noqa: E402

NO_DISK, NO_ENTRY, NOT_STARTED = 20, 21, 22
POWERED_OFF = guestrun.NO_STATUS
ENTRY = "loader/entries/debian.conf"
DISKS = {"modern": "virtio-blk-pci,disable-legacy=on", "packed": "virtio-blk-pci,disable-legacy=on,packed=on",
         "transitional": "virtio-blk-pci,disable-modern=off,disable-legacy=off", "legacy": "virtio-blk-pci,disable-modern=on",
         "mmio": "virtio-blk-device", "legacy mmio": "virtio-blk-device", "scsi": "virtio-scsi-pci", "scsi mmio": "virtio-scsi-device"}
LEVELS = {"virt": 1, "virt,virtualization=on": 2, "virt,gic-version=3": 1, "virt,gic-version=3,virtualization=on": 2}
FORMS = [("gpt", ()), ("mbr", ("-F",))]

# The disk, the machine, the processor, the table and file system. QEMU 7.2 takes 14 s with -cpu max, all others 3 to 5.
SOME = {
    "7.2": [("transitional", "virt", "cortex-a57", FORMS[0]), ("legacy mmio", "virt,virtualization=on", "cortex-a57", FORMS[1])],
    "10": [("packed", "virt,gic-version=3,virtualization=on", "max", FORMS[1]), ("mmio", "virt", "cortex-a57", FORMS[0])],
}


def image_of(**more):
    """A kernel that loops (b .), with other values in some fields of its header."""
    head = bytearray(64 * 1024)
    for at, value, size in ((0, 0x14000000, 4), (16, 0x100000, 8), (24, 0xa, 8), (56, 0x644d5241, 4)):
        head[at:at + size] = value.to_bytes(size, "little")
    for at, (value, size) in more.items():
        head[int(at[3:]):int(at[3:]) + size] = value.to_bytes(size, "little")
    return bytes(head)


def image_of_x86():
    head = bytearray(64 * 1024)
    head[0x1fe:0x200], head[0x202:0x206] = b"\x55\xaa", b"HdrS"
    return bytes(head)


class Boot(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="virtio-boot-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)

    def start(self, image, machine="virt", disk="modern", cpu="cortex-a57", append="", memory=256, timeout=guestrun.HANG, script=()):
        host = ["-device", f"{DISKS[disk]},id=host"] if "scsi" in disk else []
        extra = ["-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={image}", *host, "-device",
                 f"{'scsi-hd' if host else DISKS[disk]},drive=disk", "-cpu", cpu]
        if disk in ("mmio", "scsi mmio"):
            extra += ["-global", "virtio-mmio.force-legacy=false"]
        program = "bootloader_mmio" if "mmio" in disk else "bootloader"
        status, console = guestrun.boot(TREE / "examples" / program, QEMU, machine, memory, append, timeout, extra, errors=io.StringIO(),
                                        script=script)
        return status, console.replace("\r", "")

    def test_linux_starts(self):
        levels = list(LEVELS)
        rows = SOME[VERSION] + [(disk, levels[(i + k) % len(levels)], "cortex-a57", FORMS[(i + k) % 2])
                                for (i, disk), k in itertools.product(enumerate(DISKS), range(4) if LONG else ())]
        for disk, machine, cpu, (table, fat) in rows:
            with self.subTest(disk=disk, machine=machine, cpu=cpu, table=table, fat=fat):
                image = self.folder / "whole.img"
                disk_image.make(image, LINUX, self.folder, table=table, fat=64, fat_options=fat, options=disk_image.ARM_OPTIONS)
                status, console = self.start(image, machine, disk, cpu, memory=512, timeout=2 * guestrun.HANG)
                lines = console.split("\n")
                self.assertIn("starting Debian", lines, console)
                # Linux reports this for every SCSI disk when it resets the host, which it does at each start.
                said = [line for line in lines if line.startswith("@ ") and "Power-on or device reset occurred" not in line]
                self.assertEqual(said, [f"@ options {disk_image.ARM_OPTIONS}", "@ root on guest", f"@ started at EL{LEVELS[machine]}"], console)
                self.assertEqual(status, POWERED_OFF)

    @unittest.skipUnless("--long" in sys.argv, "only with --long")
    def test_loaded_elsewhere(self):
        """The loader runs at any address, and Linux gets the lowest piece of memory; QEMU's initrd in the tree is not
        passed on."""
        image, stub, old = self.folder / "whole.img", self.folder / "stub", self.folder / "old"
        loader = TREE / "examples/bootloader"
        stub.write_bytes(image_place.arm_stub(0x4c000000, None))
        old.write_bytes(bytes(1 << 20))
        disk_image.make(image, LINUX, self.folder, fat=64, options=disk_image.ARM_OPTIONS)
        extra = ["-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={image}", "-device", "virtio-blk-pci,drive=disk",
                 "-device", f"loader,file={loader},addr=0x4c000000,force-raw=on", "-initrd", str(old), "-cpu", "cortex-a57"]
        status, console = guestrun.boot(stub, QEMU, "virt", 512, "", 2 * guestrun.HANG, extra, errors=io.StringIO())
        self.assertIn("@ root on guest", console.replace("\r", "").split("\n"), console)
        self.assertEqual(status, POWERED_OFF)

    def refused(self, files, *words, status=NOT_STARTED, **more):
        image = self.folder / "small.img"
        disk_image.make_loader_partition(image, self.folder, {"vmlinuz": image_of(), "initrd.img": b"initrd", **files})
        ended, console = self.start(image, **more)
        self.assertEqual(ended, status, console)
        for word in words:
            self.assertIn(word, console)

    def test_named(self):
        entry = lambda **more: disk_image.entry("Debian", **{"linux": "/vmlinuz", **more}).encode()  # noqa: E731
        kernel = lambda **more: {"vmlinuz": image_of(**more)}  # noqa: E731
        for name, files, words, status in (
                ("an entry for another processor", {ENTRY: entry(more="architecture x64\n")}, ["no boot entries"], NO_ENTRY),
                ("no kernel", {"vmlinuz": bytes(5000)}, ["it is no Linux kernel for 64-bit Arm"], NOT_STARTED),
                ("an empty kernel", {"vmlinuz": b""}, ["it is no Linux kernel for 64-bit Arm"], NOT_STARTED),
                ("a kernel for x86", {"vmlinuz": image_of_x86()}, ["it is a Linux kernel for x86"], NOT_STARTED),
                ("a kernel for RISC-V", kernel(at_56=(0x05435352, 4)), ["it is a Linux kernel for 64-bit RISC-V"], NOT_STARTED),
                ("a compressed kernel", {"vmlinuz": b"\x1f\x8b" + bytes(5000)}, ["/vmlinuz: it is compressed"], NOT_STARTED),
                ("an EFI program", {"vmlinuz": b"MZ\0\0zimg" + bytes(5000)}, ["CONFIG_EFI_ZBOOT"], NOT_STARTED),
                ("an old kernel", kernel(at_16=(0, 8)), ["as before Linux 3.17"], NOT_STARTED),
                ("a kernel of the other byte order", kernel(at_24=(0xb, 8)), ["it is a big-endian kernel"], NOT_STARTED),
                ("pages that the processor lacks", kernel(at_24=(0xc, 8)), ["pages of a size that this processor does not have"], NOT_STARTED),
                ("a wrong size", kernel(at_16=(1 << 63, 8)), ["an invalid offset or size"], NOT_STARTED),
                ("a kernel too large for memory", kernel(at_16=(0x20000000, 8)), ["no room for it in memory"], NOT_STARTED),
                ("options a byte too long", {ENTRY: entry(options="a" * 2048)}, ["longer than it takes"], NOT_STARTED),
                ("long options", {ENTRY: entry(options="a" * 2047 + "\noptions b")}, ["a value is too long"], NO_ENTRY)):
            with self.subTest(name):
                self.refused({ENTRY: entry(), **files}, *words, status=status)

    def test_no_room_for_initrds(self):
        """Four of 12 MiB: the kernel, the loader and the machine's device tree leave no piece of 48 in 64 MiB."""
        entry = disk_image.entry("Debian", "/vmlinuz", ["/initrd.img"] * 4)
        self.refused({ENTRY: entry.encode(), "initrd.img": bytes(12 << 20)}, "/initrd.img: there is no room for it in memory", memory=64)

    def test_longest_options(self):
        """2047 bytes, the maximum of Linux."""
        image = self.folder / "options.img"
        disk_image.make_loader_partition(image, self.folder, {"vmlinuz": image_of(), ENTRY: disk_image.entry("Debian", "/vmlinuz",
                                                                                                             options="a" * 2047).encode()})
        status, console = self.start(image, script=[("^entering the kernel", ("quit", {}))])
        self.assertEqual(status, POWERED_OFF, console)

    def test_no_disk(self):
        status, console = guestrun.boot(TREE / "examples/bootloader", QEMU, "virt", 128, "", guestrun.HANG, errors=io.StringIO())
        self.assertEqual(status, NO_DISK, console)


if __name__ == "__main__":
    VERSION, TREE = sys.argv[1], pathlib.Path(sys.argv[2])
    LONG = "--long" in sys.argv
    QEMU = os.environ.get({"7.2": "QEMU_7_AARCH64", "10": "QEMU_10_AARCH64"}[VERSION])
    LINUX = pathlib.Path(os.environ.get("LINUX_HOST_AARCH64") or "/none")
    for why in (matrix.missing(matrix.Cell("", processor="aarch64"), VERSION), "" if LINUX.is_dir() else "LINUX_HOST_AARCH64 names no kernel",
                "" if (TREE / "examples/bootloader").exists() else "no boot loader was built: LIBFDT was empty",
                *("" if shutil.which(program) else f"no {program} on this machine" for program in ("sfdisk", "mformat", "mke2fs"))):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(argv=[sys.argv[0], *(word for word in sys.argv[3:] if word != "--long")], verbosity=2)
