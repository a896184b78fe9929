#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures how long a boot loader takes from its own first instruction to the kernel's, with 64 MiB of kernel and initrd. It compares
examples/bootloader with GRUB, in pairs: the same firmware starts both, from the same partition of the same virtio block device.

The first moment is the firmware's message that it starts a loader: SeaBIOS writes one to its debug port right before the jump, OVMF to
the console. The second moment is the kernel's: kernel.S writes a byte to a port by its first two instructions. This program reads both
as they arrive and takes the time. After that the kernel adds up every byte of itself and of the initrd, which is not in the time, and a
wrong sum is an error.

Under UEFI the library's loader starts the kernel as a program for UEFI, which then copies its initrd from the loader's
memory by LoadFile2, as Linux does. The kernel writes a second byte when it has the initrd, and that time is measured too.
GRUB enters the kernel by the boot protocol for 32 bits, with the initrd in place.

GRUB does only the necessary work: its core contains the modules and the three commands, so it has no menu, reads no
configuration file and loads no module. The library's loader does all its work: it finds the disk, reads the partition
table and the boot entries, and draws its progress bar on a serial port.

usage: loading.py [--pairs N] [--tree TREE] seabios|ovmf
TREE is where the guests were built. QEMU_10 is in the environment, as tools/setup --print gives it. Status 77: something is missing.
"""
import argparse
import array
import itertools
import os
import pathlib
import random
import re
import select
import shlex
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/bootloader", "tests/qemu")]
os.environ["PATH"] += ":/usr/sbin:/sbin"
import disk_image  # noqa: E402
import guestrun  # noqa: E402
import matrix  # noqa: E402

MIB = 1 << 20
# About as large as Debian's kernel, and the rest of 64 MiB. Round sizes would make neighbours in memory collide in the emulator's TLB.
KERNEL = 14 * MIB - 24 * 1024
INITRD = 64 * MIB - KERNEL
PARTITION = 320  # MiB
CLUSTER = 8  # sectors: 4 KiB, which is mkfs.fat's choice up to 8 GiB
MEMORY = 512
SECTOR = 512
SUMS, CODE = 0x3e0, 8 * SECTOR  # as in kernel.S
GRUB = {"seabios": pathlib.Path("/usr/lib/grub/i386-pc"), "ovmf": pathlib.Path("/usr/lib/grub/x86_64-efi")}
OVMF = pathlib.Path("/usr/share/OVMF")
MODULES = {"seabios": ["biosdisk"], "ovmf": []}
COMMANDS = """linux (hd0,msdos1)/vmlinuz quiet
initrd (hd0,msdos1)/initrd.img
boot
"""
MACHINE = {"seabios": "pc", "ovmf": "q35"}
# The firmware's last message before it starts a loader, and where it goes.
STARTED = {"seabios": rb"Booting from [0-9a-f]{4}:[0-9a-f]{4}\n", "ovmf": rb"BdsDxe: starting Boot[^\n]*\n"}
TELLS = {"seabios": "debug", "ovmf": "console"}
CHANNELS = ("debug", "kernel", "console")
LOADERS = ("ours", "grub")
WHICH = ("to the kernel's first instruction", "until the kernel has its initrd")
FIRMWARE = ("seabios", "ovmf")
QEMU = "QEMU_10"
PAIRS = 5
TARGETS = ("bootloader", "bootloader_uefi")  # of CMake


def image_of(tree):
    """The program for UEFI."""
    return tree / "examples/BOOTX64.EFI"


def sums(data):
    """The two sums of kernel.S: of the words, and of the first sum after each word."""
    words = array.array("I", data)
    return sum(words) & 0xffffffff, sum(itertools.accumulate(words)) & 0xffffffff


def kernel_and_initrd(folder, source, kernel=KERNEL, initrd=INITRD):
    """The contents of both files, of so many bytes."""
    made, flat = folder / "kernel.o", folder / "kernel.bin"
    disk_image.run("clang", "-c", "--target=x86_64-none-elf", f"-DBYTES={kernel}",
                   pathlib.Path(__file__).with_name("kernel.S"), "-o", made)
    disk_image.run("objcopy", "-O", "binary", "-j", ".text", made, flat)
    head = bytearray(flat.read_bytes())
    behind, second = source.randbytes(kernel - len(head)), source.randbytes(initrd)
    head[CODE + SUMS:CODE + SUMS + 20] = struct.pack("<5I", len(behind) // 4, *sums(behind), *sums(second))
    return bytes(head) + behind, second


def grub_core(firmware, folder):
    """GRUB with its modules and commands in one file."""
    commands, out = folder / "commands", folder / "core"
    commands.write_text(COMMANDS)
    target = {"seabios": "i386-pc", "ovmf": "x86_64-efi"}[firmware]
    disk_image.run("grub-mkimage", "-O", target, "-d", GRUB[firmware], "-p", "/", "-c", commands, "-o", out, *MODULES[firmware],
                   "part_msdos", "fat", "linux", "boot")
    return out.read_bytes()


class Failure(Exception):
    pass


def loader_of(tree):
    """The program that tools/bootloader-install puts onto the disk."""
    return tree / "examples/bootloader"


def make_disks(firmware, tree, folder):
    """{loader: its disk}. Only the loader differs: with SeaBIOS the sectors before the partition, with OVMF one file, whose size is the
    same on both disks."""
    kernel, initrd = kernel_and_initrd(folder, random.Random(20))
    entry = disk_image.entry("Bench", "/vmlinuz", ["/initrd.img"], "quiet").encode()
    files = {"vmlinuz": kernel, "initrd.img": initrd, "loader/entries/bench.conf": entry}
    loader = {"ours": b"", "grub": grub_core(firmware, folder)}
    if firmware == "ovmf":
        loader["ours"] = image_of(tree).read_bytes()
    disks = {}
    for name in LOADERS:
        image = disks[name] = folder / f"{firmware}-{name}.img"
        disk_image.make_partitions(image, "mbr", [PARTITION])
        first = {"EFI/BOOT/BOOTX64.EFI": loader[name].ljust(max(map(len, loader.values())), b"\0")} if firmware == "ovmf" else {}
        disk_image.fill(image, folder, PARTITION, first | files, ["-F", "-c", CLUSTER])
        if firmware == "seabios" and name == "grub":
            install_grub(image, loader["grub"])
        elif firmware == "seabios":
            disk_image.run(ROOT / "tools/bootloader-install", image, "--loader", loader_of(tree))
    os.sync()  # no writes to the host's disk while the time is taken
    return disks


def install_grub(image, core):
    """GRUB's boot sector, and its core between that and the partition, as grub-install puts them."""
    assert len(core) <= MIB - SECTOR
    with open(image, "r+b") as file:
        file.write((GRUB["seabios"] / "boot.img").read_bytes()[:440])
        file.seek(SECTOR)
        file.write(core)


def command(firmware, image, folder, disk, *more):
    """QEMU's command line. `more` defines the character devices of CHANNELS."""
    memory = f"memory-backend-ram,id=memory,size={MEMORY}M,prealloc=on"  # so that no page is allocated while the time is taken
    out = [*shlex.split(os.environ[QEMU]), "-machine", f"{MACHINE[firmware]},memory-backend=memory", "-object", memory,
           "-accel", "tcg", "-m", str(MEMORY), "-nodefaults", "-no-reboot",
           "-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", *more, "-serial", "chardev:console",
           "-device", "isa-debugcon,iobase=0xe9,chardev=kernel", "-device", "isa-debugcon,iobase=0x402,chardev=debug",
           "-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={image}",
           "-device", f"virtio-blk-pci,drive=disk,bootindex=0{disk}"]
    if firmware == "ovmf":
        shutil.copy(OVMF / "OVMF_VARS_4M.fd", folder / "variables.fd")
        out += ["-drive", f"if=pflash,format=raw,readonly=on,file={OVMF / 'OVMF_CODE_4M.fd'}",
                "-drive", f"if=pflash,format=raw,file={folder / 'variables.fd'}"]
    return out


class Watched:
    """The output of a machine, and the times of its messages."""

    def __init__(self, firmware):
        self.firmware, self.began, self.moments, self.said = firmware, None, {}, dict.fromkeys(CHANNELS, b"")

    def see(self, which, data):
        now = time.monotonic_ns()
        self.said[which] += data
        if self.began is None and which == TELLS[self.firmware] and re.search(STARTED[self.firmware], self.said[which]):
            self.began = now
        elif which == "kernel":
            for mark in data:
                self.moments.setdefault(chr(mark), now)

    def verdict(self):
        """Returns the milliseconds from the first moment to the kernel's first instruction, and until it has its initrd."""
        if self.began is None or self.said["kernel"] not in (b"KY", b"EKY"):
            raise Failure("\n".join(["the kernel did not start, or was not complete",
                                     *(f"{which}: {text[-500:].decode('latin-1')}" for which, text in self.said.items())]))
        ready = self.moments["K"]
        return (self.moments.get("E", ready) - self.began) / 1e6, (ready - self.began) / 1e6


def time_of(firmware, image, folder):
    """As Watched.verdict()."""
    pipes = {which: os.pipe() for which in CHANNELS}
    names = {read: which for which, (read, _) in pipes.items()}
    ends = [f"file,id={which},path=/dev/fd/{write},mux=on" for which, (_, write) in pipes.items()]
    arguments = command(firmware, image, folder, "", *(word for end in ends for word in ("-chardev", end)))
    watched, deadline = Watched(firmware), time.monotonic() + guestrun.HANG
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=[write for _, write in pipes.values()]) as process:
        for _, write in pipes.values():
            os.close(write)
        try:
            there = set(names)
            while there and (left := deadline - time.monotonic()) > 0:
                for end in select.select(there, [], [], left)[0]:
                    data = os.read(end, 65536)
                    if data:
                        watched.see(names[end], data)
                    else:
                        there.remove(end)
        finally:
            process.kill()
            for end in names:
                os.close(end)
    return watched.verdict()


def doorbells_of(firmware, image, folder):
    """Notifications of the disk between the same moments. QEMU's trace and the channels share one pipe, which keeps their order."""
    ends = [word for which in CHANNELS for word in ("-chardev", f"file,id={which},path=/dev/fd/2,mux=on")]
    arguments = command(firmware, image, folder, ",ioeventfd=off", *ends, "-trace", "virtio_queue_notify")
    said = subprocess.run(arguments, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=guestrun.HANG, check=False).stderr
    began, ended = re.search(STARTED[firmware], said), re.search(b"E?KY", said)
    if not began or not ended:
        raise Failure(f"the kernel did not start, or was not complete\n{said[-1000:].decode('latin-1')}")
    return said.count(b"virtio_queue_notify", began.end(), ended.start())


def missing(firmware, tree):
    """Returns why this machine cannot run the benchmark; empty if it can."""
    needed = {"seabios": [loader_of(tree), GRUB["seabios"] / "boot.img"],
              "ovmf": [image_of(tree), GRUB["ovmf"] / "linux.mod", OVMF / "OVMF_CODE_4M.fd"]}[firmware]
    if not os.environ.get(QEMU):
        return f"{QEMU} is empty (tools/setup --print)"
    for program in ("sfdisk", "mformat", "clang", "objcopy", "grub-mkimage"):
        if not shutil.which(program):
            return f"no {program} on this machine"
    return next((f"there is no {path}" for path in needed if not path.exists()), "")


def measure(firmware, tree, pairs, folder):
    """{loader: the two times of each pair}, {loader: doorbells}."""
    disks = make_disks(firmware, tree, folder)
    bells = {loader: doorbells_of(firmware, disks[loader], folder) for loader in LOADERS}  # also caches the disks
    times = {loader: [] for loader in LOADERS}
    for pair in range(pairs):
        for loader in LOADERS if pair % 2 == 0 else LOADERS[::-1]:
            times[loader].append(time_of(firmware, disks[loader], folder))
    return times, bells


def ratios(times, which):
    """GRUB's times divided by ours, of the first moment in WHICH or the second."""
    return [theirs[which] / ours[which] for ours, theirs in zip(times["ours"], times["grub"])]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--tree", type=pathlib.Path, default=matrix.BUILDS["x86_64"])
    parser.add_argument("firmware", choices=FIRMWARE)
    options = parser.parse_args(arguments)
    if why := missing(options.firmware, options.tree):
        return matrix.skip(why)
    with tempfile.TemporaryDirectory(prefix="virtio-bench-") as name:
        times, bells = measure(options.firmware, options.tree, options.pairs, pathlib.Path(name))
    for which, words in enumerate(WHICH):
        print(words)
        for loader in LOADERS:
            print(f"  {loader:6}", *(f"{one[which]:8.1f}" for one in times[loader]), f"ms, {bells[loader]} doorbells")
        found = ratios(times, which)
        print("  ratio ", *(f"{value:8.1f}" for value in found), f"least {min(found):.1f}, median {statistics.median(found):.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))


