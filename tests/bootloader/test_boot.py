#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/bootloader starts Debian's kernel, which mounts its root from the same disk and reports no error of its
devices; the reason for each failed start is printed.

usage: test_boot.py QEMU TREE [unittest's arguments]    QEMU is 7.2 or 10, TREE is where the guests were built. The
commands come from the environment: QEMU_7 and QEMU_10, LINUX_HOST. `Product` is run only by name.
What it takes: sfdisk, mtools, mke2fs.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import io
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
for folder in (HERE.parent / "qemu", HERE.parent.parent / "tools", HERE.parent.parent / "bench/boot"):
    sys.path.insert(0, str(folder))
os.environ["PATH"] += ":/usr/sbin:/sbin"
import disk_image  # noqa: E402
import guestrun  # noqa: E402
import loading  # noqa: E402
import matrix  # noqa: E402

INSTALL = HERE.parent.parent / "tools/bootloader-install"
NO_DISK, NO_ENTRY, NOT_STARTED = 20, 21, 22
POWERED_OFF = guestrun.NO_STATUS
ENTRY = "loader/entries/debian.conf"

# The disks from which Linux is started: the table, the file system, the device.
WHOLE = {
    "7.2": [("gpt", (), "pc", "virtio-scsi-pci"), ("gpt", (), "pc", "virtio-blk-pci"), ("mbr", ("-F",), "q35", "virtio-blk-pci,disable-modern=on")],
    "10": [("mbr", (), "pc", "virtio-blk-pci,disable-legacy=on,packed=on"), ("gpt", ("-F",), "q35", "virtio-blk-pci,disable-modern=on")],
}

# The same without QEMU's loader: SeaBIOS starts the disk.
BY_BIOS = {"7.2": ("mbr", "pc", "virtio-blk-pci"), "10": ("gpt", "q35", "scsi-hd")}
# With --long.
BY_BIOS_PRODUCT = [("gpt", "pc", "virtio-blk-pci,disable-modern=on"), ("mbr", "q35", "scsi-hd"), ("gpt", "q35", "virtio-blk-pci"),
                   ("mbr", "pc", "scsi-hd"), ("mbr", "q35", "virtio-blk-pci,disable-legacy=on,packed=on")]
PRODUCT = [("gpt", (), "q35", "virtio-scsi-pci,packed=on"), ("mbr", ("-F",), "pc", "virtio-scsi-pci,disable-legacy=on,packed=on"),
           ("mbr", (), "q35", "virtio-scsi-pci,disable-legacy=on"), ("gpt", ("-F",), "pc", "virtio-scsi-pci,disable-modern=on")]


def image_of(**more):
    """The header of a kernel that is never started, with other values in some fields."""
    head = bytearray(64 * 1024)
    for at, value, size in ((0x1f1, 39, 1), (0x1fe, 0xaa55, 2), (0x202, 0x53726448, 4), (0x206, 0x20f, 2), (0x22c, 0x7fffffff, 4),
                            (0x230, 0x200000, 4), (0x234, 1, 1), (0x236, 3, 2), (0x238, 2047, 4), (0x258, 0x1000000, 8), (0x260, 0x100000, 4)):
        head[at:at + size] = value.to_bytes(size, "little")
    for at, (value, size) in more.items():
        at = int(at[3:], 16)
        head[at:at + size] = value.to_bytes(size, "little")
    return bytes(head)


class Machine(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="virtio-boot-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)

    def start(self, image, machine="pc", device="virtio-blk-pci", append="", memory=256, drive=None, timeout=guestrun.HANG,
              program="bootloader", script=(), unit="scsi-hd"):
        drive = drive or ["-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={image}"]
        if device.startswith("virtio-scsi"):
            drive, device = [*drive, "-device", f"{device},id=host"], unit
        status, console = guestrun.boot(TREE / "examples" / program, QEMU, machine, memory, append, timeout,
                                        [*drive, "-device", f"{device},id=unit,drive=disk"], errors=io.StringIO(), script=script)
        return status, console.replace("\r", "")

    def start_linux(self, rows):
        for table, fat, machine, device in rows:
            with self.subTest(table=table, fat=fat, machine=machine, device=device):
                image = self.folder / "whole.img"
                disk_image.make(image, LINUX, self.folder, table=table, fat_options=fat)
                status, console = self.start(image, machine, device, memory=512, timeout=2 * guestrun.HANG)
                lines = console.split("\n")
                self.assertIn("starting Debian", lines, console)
                # Linux reports this for every SCSI disk when it resets the host, which it does at each start.
                said = [line for line in lines if line.startswith("@ ") and "Power-on or device reset occurred" not in line]
                self.assertEqual(said, [f"@ options {disk_image.OPTIONS}", "@ root on guest"], console)
                self.assertEqual(status, POWERED_OFF)

    def start_disk(self, image, machine="pc", device="virtio-blk-pci", memory=256, script=(), extra=()):
        """Starts a disk by the BIOS. A SCSI disk is behind a virtio host."""
        host = " -device virtio-scsi-pci" if device.startswith("scsi") else ""
        status, console = guestrun.boot(image, QEMU + host, machine, memory, timeout=2 * guestrun.HANG, errors=io.StringIO(),
                                        script=script, disk=device, extra=extra)
        return status, console.replace("\r", "")

    def install(self, image, *arguments):
        """Installs the loader. A GPT gets a BIOS boot partition in the free space at its end."""
        if b"EFI PART" in image.read_bytes()[:1024]:
            start = (image.stat().st_size - disk_image.MIB) // 512
            disk_image.run("sfdisk", "--quiet", "--append", image,
                           input=f"start={start}, size=1024, type=21686148-6449-6E6F-744E-656564454649\n")
        disk_image.run(sys.executable, INSTALL, image, "--loader", TREE / "examples/bootloader", *arguments)

    def start_linux_by_bios(self, rows):
        for table, machine, device in rows:
            with self.subTest(table=table, machine=machine, device=device):
                image = self.folder / "disk.img"
                disk_image.make(image, LINUX, self.folder, table=table)
                self.install(image)
                status, console = self.start_disk(image, machine, device, memory=512)
                said = [line for line in console.split("\n") if line.startswith("@ ") and "Power-on or device reset occurred" not in line]
                self.assertEqual(said, [f"@ options {disk_image.OPTIONS}", "@ root on guest"], console)
                self.assertEqual(status, POWERED_OFF)


class Product(Machine):
    def test_linux_starts(self):
        self.start_linux(PRODUCT)

    def test_linux_starts_by_the_bios(self):
        self.start_linux_by_bios(BY_BIOS_PRODUCT)


class Boot(Machine):
    def test_linux_starts(self):
        self.start_linux(WHOLE[VERSION])

    def test_linux_starts_from_an_mmio_slot(self):
        """As far as Debian's kernel gets under TCG: with ACPI it waits for a timer, without it it does not search for
        slots and so finds no root. The machine's words about its slots are passed on."""
        image = self.folder / "mmio.img"
        disk_image.make(image, LINUX, self.folder)
        status, console = self.start(image, "microvm,isa-serial=on,pit=on,pic=on,rtc=on,acpi=off", "virtio-blk-device", memory=512,
                                     timeout=2 * guestrun.HANG, program="bootloader_mmio")
        said = [line for line in console.split("\n") if line.startswith("@ ")]
        self.assertEqual(said, [f"@ options {disk_image.OPTIONS} virtio_mmio.device=512@0xfeb00e00:12", "@ no root"], console)

    def test_linux_starts_by_the_bios(self):
        self.start_linux_by_bios([BY_BIOS[VERSION]])

    def test_screen_and_keyboard(self):
        """After a BIOS the menu is on the screen as well, keys choose, and Linux continues on the screen."""
        image = self.folder / "screen.img"
        vmlinuz = (LINUX / f"boot/vmlinuz-{disk_image.linux_host.installed(LINUX)}").read_bytes()
        disk_image.make_loader_partition(image, self.folder, {
            "loader/loader.conf": b"default deb*\ntimeout 600\n", ENTRY: disk_image.entry("Debian", "/missing").encode(),
            "loader/entries/second.conf": disk_image.entry("Second", "/vmlinuz", options="console=ttyS0 no_timer_check").encode(),
            "vmlinuz": vmlinuz}, size=32)
        self.install(image)

        def shown(said, _):
            cells = [int(cell, 16) for cell in re.findall(r"0x([0-9a-f]{4})\b", said)]
            text = "".join(chr(cell & 0xff) for cell in cells)
            lines = [text[at:at + 80].rstrip() for at in range(0, len(text), 80)]
            return "" if "* 2  Debian" in lines and "  1  Second" in lines else f"the screen has {lines}"

        press = lambda key: ("send-key", {"keys": [{"type": "qcode", "data": key}]})  # noqa: E731
        script = [("its key, or Enter", ("human-monitor-command", {"command-line": "xp /2000hx 0xb8000"}, shown), press("down"), press("1")),
                  ("^starting Second",), (r"Console: colour VGA\+? 80x25", ("quit", {}))]
        status, console = self.start_disk(image, extra=["-device", "VGA"], script=script)
        self.assertEqual(status, POWERED_OFF, console)

    def test_commands_of_the_document(self):
        """docs/bootloader.md, up to the line with QEMU."""
        root = HERE.parent.parent
        text = (root / "docs/bootloader.md").read_text().split("## Install it on an image\n")[1]
        lines = [line[4:] for line in re.search(r"(?:^    .*\n)+", text, re.M)[0].splitlines()]
        self.assertTrue(lines[-1].startswith("qemu-system-x86_64 "), lines)
        folder = self.folder / "document"
        folder.mkdir()
        (folder / "tools").symlink_to(root / "tools")
        for name, content in (("vmlinuz", image_of()), ("initrd.img", b"initrd"),
                              ("debian.conf", disk_image.entry("Debian", "/vmlinuz", ["/initrd.img"], "quiet").encode())):
            (folder / name).write_bytes(content)
        commands = "\n".join(lines[:-1]) + f" --loader {(TREE / 'examples/bootloader').resolve()}\n"
        disk_image.run("sh", "-e", "-c", commands, cwd=folder)
        status, console = self.start_disk(folder / "disk.img", script=[("^starting Debian",), ("^entering the kernel", ("quit", {}))])
        self.assertEqual(status, POWERED_OFF, console)

    def test_the_disk_that_the_bios_started(self):
        """The disk is identified among others by its partition table; if none has it, the first disk is used."""
        other, image = self.folder / "other.img", self.folder / "started.img"
        disk_image.make_loader_partition(other, self.folder, {ENTRY: disk_image.entry("Other", "/missing").encode()})
        others = ["-blockdev", f"driver=raw,node-name=other,file.driver=file,file.filename={other}", "-device", "virtio-blk-pci,drive=other,addr=8"]
        for table, device in (("gpt", "virtio-blk-pci,addr=9"), ("mbr", "virtio-blk-pci,addr=9"), ("gpt", "scsi-hd")):
            with self.subTest(table=table, device=device):
                disk_image.make_partitions(image, table, [16])
                disk_image.fill(image, self.folder, 16, {ENTRY: disk_image.entry("Debian", "/missing").encode()})
                self.install(image)
                status, console = self.start_disk(image, device=device, extra=others)
                self.assertIn("starting Debian\n", console)
                self.assertEqual(status, NOT_STARTED, console)
        data = bytearray(image.read_bytes())
        data[568] ^= 1  # of the GUID
        image.write_bytes(data)
        status, console = self.start_disk(image, device="scsi-hd", extra=others)
        self.assertIn("no disk has this partition table any more", console)
        self.assertIn("starting Other\n", console)

    def test_boot_sector(self):
        """The loader has the command line from its installation, and follows it; the reason why the boot sector cannot
        find the loader is printed on the serial port."""
        image = self.folder / "sector.img"
        disk_image.make_loader_partition(image, self.folder, {ENTRY: disk_image.entry("Debian", "/missing").encode()})
        self.install(image, "--append", "entry=other")
        status, console = self.start_disk(image)
        self.assertIn("other: there is no such entry", console)
        self.assertEqual(status, NOT_STARTED, console)
        # an update
        disk_image.run(sys.executable, INSTALL, image, "--loader", TREE / "examples/bootloader", "--append", "disk=other")
        status, console = self.start_disk(image)
        self.assertIn("no disk of this serial", console)
        self.assertEqual(status, NO_DISK, console)

        data = image.read_bytes()
        loader = int.from_bytes(data[424:432], "little") * 512
        spoiled = bytearray(data)
        spoiled[loader + 70000] ^= 1
        for said, content, device in (("loader damaged", spoiled, "virtio-blk-pci"), ("read error", data[:loader + 51200], "virtio-blk-pci"),
                                      ("no LBA in BIOS", data[:1440 * 1024], "floppy")):
            with self.subTest(said):
                image.write_bytes(content)
                status, console = self.start_disk(image, device=device, script=[(f"^virtio boot: {said}\r\n", ("quit", {}))])
                self.assertEqual(status, POWERED_OFF, console)

    def test_every_byte_is_loaded(self):
        """The kernel of the benchmark adds all bytes of itself and of its initrd."""
        image, said = self.folder / "bytes.img", self.folder / "said"
        kernel, initrd = loading.kernel_and_initrd(self.folder, random.Random(5), (5 << 20) + 4096 + 16, (9 << 20) + 4)
        for name, wrong, expected in (("whole", None, b"KY"), ("one bit of the initrd differs", len(initrd) - 1, b"KN")):
            with self.subTest(name):
                content = bytearray(initrd)
                if wrong:
                    content[wrong] ^= 1
                disk_image.make_loader_partition(image, self.folder, {
                    "vmlinuz": kernel, "initrd.img": bytes(content), ENTRY: disk_image.entry("Sums", "/vmlinuz", ["/initrd.img"]).encode()})
                drive = ["-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={image}",
                         "-chardev", f"file,id=debug,path={said}", "-device", "isa-debugcon,iobase=0xe9,chardev=debug"]
                status, console = self.start(image, drive=drive)
                self.assertEqual((status, said.read_bytes()), (0, expected), console)

    def refused(self, files, *words, status=NOT_STARTED, **more):
        image = self.folder / "small.img"
        base = {"vmlinuz": image_of(), "initrd.img": b"initrd", **files}
        disk_image.make_loader_partition(image, self.folder, base)
        ended, console = self.start(image, **more)
        self.assertEqual(ended, status, console)
        for word in words:
            self.assertIn(word, console)

    def test_named(self):
        entry = lambda **more: disk_image.entry("Debian", **{"linux": "/vmlinuz", **more}).encode()  # noqa: E731
        kernel = lambda **more: {"vmlinuz": image_of(**more), ENTRY: entry()}  # noqa: E731
        for name, files, words, status in (
                ("no entry", {ENTRY: None}, ["no boot entries"], NO_ENTRY),
                ("an entry without a kernel", {ENTRY: b"title Debian\n"}, ["it names no linux", "no boot entries"], NO_ENTRY),
                ("an entry for another processor", {ENTRY: entry(more="architecture aa64\n")}, ["no boot entries"], NO_ENTRY),
                ("no such kernel", {ENTRY: entry(linux="/missing")}, ["/missing: there is no such file"], NOT_STARTED),
                ("a folder for a kernel", {ENTRY: entry(linux="/loader")}, ["/loader: there is no such file"], NOT_STARTED),
                ("no such initrd", {ENTRY: entry(initrds=["/missing"])}, ["/missing: there is no such file"], NOT_STARTED),
                ("no kernel", {"vmlinuz": bytes(5000), ENTRY: entry()}, ["it is no Linux kernel for x86"], NOT_STARTED),
                ("a kernel for Arm", {"vmlinuz": bytes(56) + b"ARMd" + bytes(5000), ENTRY: entry()}, ["it is a Linux kernel for 64-bit Arm"],
                 NOT_STARTED),
                ("an empty kernel", {"vmlinuz": b"", ENTRY: entry()}, ["it is no Linux kernel for x86"], NOT_STARTED),
                ("a kernel of 32 bits", kernel(at_236=(2, 2)), ["no 64-bit entry"], NOT_STARTED),
                ("an old kernel", kernel(at_206=(0x20b, 2)), ["boot protocol is older"], NOT_STARTED),
                ("a kernel that ends early", kernel(at_1f1=(200, 1)), ["ends within its setup code"], NOT_STARTED),
                ("a kernel too large for memory", kernel(at_260=(0x20000000, 4)), ["no room for it in memory"], NOT_STARTED),
                ("a kernel for a place that is in use", kernel(at_234=(0, 1), at_258=(0x400000, 8)), ["no room for it in memory"], NOT_STARTED),
                ("a kernel for a place beyond memory", kernel(at_258=(0xf800000, 8), at_260=(0x1000000, 4)), ["no room for it in memory"],
                 NOT_STARTED),
                ("long options", {ENTRY: entry(options="a" * 256), "vmlinuz": image_of(at_238=(255, 4))}, ["longer than it takes"],
                 NOT_STARTED)):
            with self.subTest(name):
                self.refused({ENTRY: entry(), **files}, *words, status=status)

    def test_entries_on_another_partition(self):
        """The first partition has a file system and settings, but no entries: neither is used for the second
        partition."""
        image, first = self.folder / "second.img", self.folder / "first.img"
        disk_image.make_loader_partition(first, self.folder, {"loader/loader.conf": b"default zzz\ntimeout 600\n"})
        disk_image.make_loader_partition(image, self.folder, {ENTRY: disk_image.entry("Debian", "/missing").encode()})
        parts = [(path.read_bytes())[disk_image.MIB:17 * disk_image.MIB] for path in (first, image)]
        disk_image.make_partitions(image, "gpt", [16, 16])
        with open(image, "r+b") as file:
            file.seek(disk_image.MIB)
            file.write(b"".join(parts))
        status, console = self.start(image)
        self.assertIn("/missing: there is no such file", console)
        self.assertEqual(status, NOT_STARTED, console)

    def test_blocks_of_4_kib(self):
        """Files are read in whole blocks of the disk; where the kernel's code begins is no multiple of them."""
        image = self.folder / "blocks.img"
        with open(image, "wb") as file:
            file.truncate(16 << 20)
        disk_image.run("mformat", "-i", image, "-S", "5", "-T", 4096, "::")
        for path in ("loader", "loader/entries"):
            disk_image.run("mmd", "-i", image, f"::{path}")
        for path, content in ((ENTRY, b"linux /vmlinuz\ninitrd /initrd.img\n"), ("vmlinuz", image_of(at_1f1=(38, 1))), ("initrd.img", bytes(5000))):
            (self.folder / "part").write_bytes(content)
            disk_image.run("mcopy", "-i", image, self.folder / "part", f"::{path}")
        blocks = "logical_block_size=4096,physical_block_size=4096"
        for device in ({"device": f"virtio-blk-pci,{blocks}"}, {"device": "virtio-scsi-pci", "unit": f"scsi-hd,{blocks}"}):
            with self.subTest(device["device"]):
                status, console = self.start(image, script=[("^entering the kernel", ("quit", {}))], **device)
                self.assertIn("loading /initrd.img, 4 KiB [################################]", console)
                self.assertEqual(status, POWERED_OFF, console)

    def test_disk_by_the_id_of_its_table(self):
        """The second disk is taken by its table's id, which is that of the GPT with a hybrid MBR too, in whichever row its
        protective record is."""
        image, first = self.folder / "named.img", self.folder / "first.img"
        disk_image.make_loader_partition(first, self.folder, {ENTRY: b"linux /first\n"})
        disk_image.make_loader_partition(image, self.folder, {ENTRY: b"linux /second\n"})
        data = bytearray(image.read_bytes())
        data[446:478] = bytes(4) + b"\x0c" + bytes(3) + data[454:458] + data[458:462] + data[446:462]
        image.write_bytes(data)
        node = ["-blockdev", f"driver=raw,node-name=first,file.driver=file,file.filename={first}", "-device", "virtio-blk-pci,drive=first",
                "-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={image}"]
        status, console = self.start(image, append=f"table={data[568:584].hex()}", drive=node)
        self.assertEqual(status, NOT_STARTED, console)
        self.assertIn("/second: there is no such file", console)

    def test_partition_behind_many(self):
        """An EFI system partition is looked at first, however many others are listed before it."""
        image = self.folder / "parts.img"
        disk_image.make_loader_partition(image, self.folder, {ENTRY: b"linux /missing\n"})
        part = image.read_bytes()[disk_image.MIB:17 * disk_image.MIB]
        with open(image, "wb") as file:
            file.truncate(40 << 20)
        rows = [f"start={2048 + 64 * i}, size=64, type=L" for i in range(60)] + ["start=16384, size=32768, type=U"]
        disk_image.run("sfdisk", "--quiet", image, input="\n".join(["label: gpt", *rows, ""]))
        with open(image, "r+b") as file:
            file.seek(16384 * 512)
            file.write(part)
        status, console = self.start(image)
        self.assertEqual(status, NOT_STARTED, console)
        self.assertIn("partition 61", console)

    def test_longest_options(self):
        """As many bytes as the kernel's header allows."""
        image = self.folder / "options.img"
        disk_image.make_loader_partition(image, self.folder, {
            "vmlinuz": image_of(at_238=(255, 4)), ENTRY: disk_image.entry("Debian", "/vmlinuz", options="a" * 255).encode()})
        status, console = self.start(image, script=[("^entering the kernel", ("quit", {}))])
        self.assertEqual(status, POWERED_OFF, console)

    def test_menu(self):
        """An entry that cannot be started returns to the menu, and a key chooses another one; without a key the
        time-out does."""
        second = disk_image.entry("Second", "/missing").encode()
        for name, timeout, keys, expected in (
                ("a key", 600, [b"x", b"9", b"1"], "Second"),
                ("a digit of a function key", 600, [b"\x1b[2~", b"\x1b", b"1"], "Second"),
                ("Enter", 600, [b"\r"], "Debian"),
                ("the time", 1, [], "Debian")):
            with self.subTest(name):
                image = self.folder / "menu.img"
                disk_image.make_loader_partition(image, self.folder, {
                    "loader/loader.conf": f"default deb*\ntimeout {timeout}\n".encode(), ENTRY: disk_image.entry("Debian", "/missing").encode(),
                    "loader/entries/second.conf": second})
                # The second menu has no time-out: the script's end ends it, a key after which QEMU quits.
                script = [("its key, or Enter", *keys), (rf"^starting {expected}", ), (r"^/missing: there is no such file", ),
                          ("its key, or Enter for the one with a star\r?\n", ("quit", {}))]
                status, console = self.start(image, script=script)
                self.assertEqual(status, POWERED_OFF, console)
                self.assertEqual(console.count("starting "), 1, console)
                self.assertIn("* 2  Debian", console)

    def test_menu_of_many(self):
        """Entries after the ninth have letters for keys."""
        image = self.folder / "many.img"
        disk_image.make_loader_partition(image, self.folder, {
            "loader/loader.conf": b"timeout 600\n",
            **{f"loader/entries/{n:02}.conf": disk_image.entry(f"Entry {n:02}", "/missing").encode() for n in range(16)}})
        script = [("its key, or Enter", b"g"), (r"^starting Entry 00", ("quit", {}))]
        status, console = self.start(image, script=script)
        self.assertEqual(status, POWERED_OFF, console)
        self.assertIn("* 1  Entry 15\n", console)
        self.assertIn("  g  Entry 00\n", console)

    def test_no_disk(self):
        status, console = guestrun.boot(TREE / "examples/bootloader", QEMU, "pc", 128, "", guestrun.HANG, errors=io.StringIO())
        self.assertEqual(status, NO_DISK, console)
        self.assertIn("no disk", console)

    def test_scsi_host_without_a_disk(self):
        """A CD drive is not a disk, with or without a medium."""
        image = self.folder / "cd.img"
        disk_image.make_loader_partition(image, self.folder, {ENTRY: disk_image.entry("Debian", "/missing").encode()})
        status, console = self.start(image, device="virtio-scsi-pci", unit="scsi-cd")
        self.assertIn("no disk", console)
        self.assertEqual(status, NO_DISK, console)

    def test_choice_of_units(self):
        """The first disk comes after a CD drive and, on a second host, before others; a serial chooses another one."""
        image, cd = self.folder / "units.img", self.folder / "cd.img"
        cd.write_bytes(bytes(1 << 20))
        disk_image.make_loader_partition(image, self.folder, {ENTRY: disk_image.entry("Debian", "/missing").encode()})
        other = self.folder / "other.img"
        disk_image.make_loader_partition(other, self.folder, {ENTRY: disk_image.entry("Other", "/missing").encode()})
        node = lambda name, path: ["-blockdev", f"driver=raw,node-name={name},read-only=on,file.driver=file,file.filename={path}"]  # noqa: E731
        for append, status, said in (
                ("", NOT_STARTED, ["SCSI unit 0:1", "starting Debian", "/missing: there is no such file"]),
                ("disk=two", NOT_STARTED, ["SCSI unit 3:2", "starting Other"]),
                ("disk=cd", NO_ENTRY, ["SCSI unit 0:0", "no boot entries"]),
                ("disk=twice", NO_DISK, ["more than one unit has this serial", "no disk of this serial"]),
                ("disk=none", NO_DISK, ["no disk of this serial"])):
            with self.subTest(append):
                serials = ("twice", "twice") if append == "disk=twice" else ("one", "two")
                devices = ["virtio-scsi-pci,id=first", "scsi-cd,drive=cd,bus=first.0,lun=0,serial=cd", "virtio-scsi-pci,id=second",
                           "scsi-hd,drive=disk,bus=first.0,lun=1", f"scsi-hd,drive=third,bus=second.0,scsi-id=3,lun=1,serial={serials[0]}",
                           f"scsi-hd,drive=other,bus=second.0,scsi-id=3,lun=2,serial={serials[1]}"]
                ended, console = guestrun.boot(
                    TREE / "examples/bootloader", QEMU, "q35", 256, append, guestrun.HANG,
                    [*node("cd", cd), *node("other", other), *node("third", other), *node("disk", image),
                     *(word for device in devices for word in ("-device", device))], errors=io.StringIO())
                self.assertEqual(ended, status, console)
                for line in said:
                    self.assertIn(line, console)

    def test_mmio_slot_with_a_scsi_host(self):
        self.refused({ENTRY: disk_image.entry("Debian", "/missing").encode()}, "SCSI unit 0:0", "/missing: there is no such file",
                     machine="microvm,isa-serial=on,acpi=off", device="virtio-scsi-device", program="bootloader_mmio")

    def menu(self, image, commands, *expected, **more):
        """Runs `commands` while the menu waits, then chooses an entry twice."""
        disk_image.make_loader_partition(image, self.folder, {"vmlinuz": image_of() + bytes(8 << 20), ENTRY: b"linux /vmlinuz\n",
                                                              "loader/loader.conf": b"timeout 600\n"})
        script = [("its key, or Enter", *commands, b"\r"), *((line,) for line in expected[:-1]), (expected[-1], ("quit", {}))]
        status, console = self.start(image, script=script, **more)
        self.assertEqual(status, POWERED_OFF, console)

    def test_unit_pulled_out(self):
        self.menu(self.folder / "pulled.img", [("device_del", {"id": "unit"})], "/vmlinuz: the disk is gone", "its key, or Enter",
                  device="virtio-scsi-pci")

    def test_unit_plugged_in(self):
        """The unit reports the change instead of a read, which is not a read error."""
        other = self.folder / "other.img"
        other.write_bytes(bytes(1 << 20))
        new = {"driver": "scsi-hd", "drive": "other", "id": "new", "bus": "host.0"}
        node = ["-blockdev", f"driver=raw,node-name=other,file.driver=file,file.filename={other}"]
        image = self.folder / "plugged.img"
        drive = ["-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={image}", *node]
        self.menu(image, [("device_add", new)], "^entering the kernel", device="virtio-scsi-pci", drive=drive)

    def test_no_file_system(self):
        image = self.folder / "empty.img"
        image.write_bytes(bytes(1 << 20))
        status, console = self.start(image)
        self.assertEqual(status, NO_ENTRY, console)

    def test_broken_sector(self):
        """A read error in the middle of the kernel: the message has its sector, and no kernel is started."""
        image = self.folder / "broken.img"
        disk_image.make_loader_partition(image, self.folder, {"vmlinuz": image_of() + bytes(8 << 20), ENTRY: b"linux /vmlinuz\n"})
        sector = 2048 + 9000
        drive = ["-blockdev", f"driver=blkdebug,node-name=disk,image.driver=raw,image.file.driver=file,image.file.filename={image},"
                 f"inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,inject-error.0.sector={sector}"]
        for device in ({"device": "virtio-blk-pci,rerror=report"}, {"device": "virtio-scsi-pci", "unit": "scsi-hd,rerror=report"}):
            with self.subTest(device["device"]):
                status, console = self.start(image, drive=drive, **device)
                self.assertEqual(status, NOT_STARTED, console)
                self.assertIn(f"sector {sector} of the disk: /vmlinuz: the device failed the request", console)

    def start_with_bad(self, image, sector):
        """With an unreadable sector."""
        drive = ["-blockdev", f"driver=blkdebug,node-name=disk,image.driver=raw,image.file.driver=file,image.file.filename={image},"
                 f"inject-error.0.event=none,inject-error.0.iotype=read,inject-error.0.errno=5,inject-error.0.sector={sector}"]
        return self.start(image, device="virtio-blk-pci,rerror=report", drive=drive)

    def test_broken_file_system(self):
        """A directory without a valid cluster is damage, not a missing file."""
        image = self.folder / "broken.img"
        disk_image.make_loader_partition(image, self.folder, {"k/vmlinuz": image_of(), ENTRY: b"linux /k/vmlinuz\n"})
        data = bytearray(image.read_bytes())
        folder = data.index(b"K          \x10")
        data[folder + 26:folder + 28] = b"\1\0"  # its first cluster; they are numbered from 2
        image.write_bytes(data)
        status, console = self.start(image)
        self.assertEqual(status, NOT_STARTED, console)
        self.assertIn("/k/vmlinuz: the file system is damaged\n", console)

    def test_broken_sector_of_the_file_system(self):
        """A read error in the allocation table, in a directory, in a boot entry and at the start of the kernel: the
        message has its sector."""
        image = self.folder / "broken.img"
        files = {"vmlinuz": image_of() + bytes(12 << 20), ENTRY: b"linux /vmlinuz\n#mark\n"}
        disk_image.make_loader_partition(image, self.folder, files)
        data = image.read_bytes()
        failed = "the device failed the request\n"
        for name, sector, what, ended in (
                ("the table", 2048 + 9, "/vmlinuz", NOT_STARTED),
                ("the directory", data.index(b"DEBIAN~1CON") // 512, "loader/entries", NO_ENTRY),
                ("the entry", data.index(files[ENTRY]) // 512, "debian.conf", NO_ENTRY),
                ("the kernel's head", data.index(files["vmlinuz"][:4096]) // 512 + 3, "/vmlinuz", NOT_STARTED)):
            with self.subTest(name):
                status, console = self.start_with_bad(image, sector)
                self.assertEqual(status, ended, console)
                self.assertIn(f"sector {sector} of the disk: {what}: {failed}", console)

    def test_broken_sector_of_the_table(self):
        """The copy of a GPT at the disk's end is used if the first cannot be read."""
        image = self.folder / "broken.img"
        disk_image.make_loader_partition(image, self.folder, {ENTRY: b"linux /missing\n"})
        for sector in (1, 2):
            with self.subTest(sector):
                status, console = self.start_with_bad(image, sector)
                self.assertEqual(status, NOT_STARTED, console)
                self.assertIn("/missing: there is no such file", console)

    def test_large_entry(self):
        """An entry of more than 64 KiB is left out, not cut; settings likewise."""
        image = self.folder / "large.img"
        large = b"linux /vmlinuz\n" + b"#\n" * 32768
        disk_image.make_loader_partition(image, self.folder, {ENTRY: b"linux /missing\n", "loader/entries/large.conf": large,
                                                              "loader/loader.conf": b"default large\n" + large})
        status, console = self.start(image)
        self.assertEqual(status, NOT_STARTED, console)
        for line in ("large.conf: it is larger than 64 KiB\n", "loader.conf: it is larger than 64 KiB\n", "/missing: there is no such file\n"):
            self.assertIn(line, console)


if __name__ == "__main__":
    VERSION, TREE = sys.argv[1], pathlib.Path(sys.argv[2])
    QEMU, LINUX = os.environ.get({"7.2": "QEMU_7", "10": "QEMU_10"}[VERSION]), pathlib.Path(os.environ.get("LINUX_HOST") or "/none")
    for why in (matrix.missing(matrix.Cell(""), VERSION), "" if LINUX.is_dir() else "LINUX_HOST names no kernel",
                *("" if shutil.which(program) else f"no {program} on this machine" for program in ("sfdisk", "mformat", "mke2fs"))):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(argv=[sys.argv[0], *(sys.argv[3:] or ["Boot"])], verbosity=2)
