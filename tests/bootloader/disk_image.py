# SPDX-License-Identifier: MIT
"""Disks from which a boot loader can start Linux: a partition table written by sfdisk, a FAT file system of mtools with
the kernel and boot entries, and an ext4 file system of mke2fs as the root. Linux prints what it finds, and switches the
machine off."""
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "nested"))
sys.dont_write_bytecode = True
import linux_host  # noqa: E402

MIB = 1 << 20
MODULES = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "sd_mod", "ext4")
# reboot=t: on a machine without a reset device, Linux enters the BIOS again, which jumps into the loader's overwritten
# memory.
OPTIONS = "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t no_timer_check mitigations=off"
ARM_OPTIONS = "console=ttyAMA0 quiet loglevel=4 panic=-1 mitigations=off"

# The kernel uses this console too, so each line of this script has a mark.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod "$module" || echo "@ no module $module"; done
for try in 1 2 3 4 5 6 7 8 9 10; do
  root=$(findfs LABEL=guestroot) && break
  sleep 0.2
done
echo "@ options $(cat /proc/cmdline)"
mount -t ext4 -o ro "$root" /root && exec switch_root /root /init
echo "@ no root"
reboot -f
"""
ROOT_INIT = """#!/bin/busybox sh
echo "@ root on $(busybox cat /name)"
busybox mount -t proc proc /proc
busybox dmesg -r | busybox grep '^<[0-4]>' | busybox grep -i -e virtio -e vd -e 'I/O error' -e reset -e 'boot protocol' -e misaligned -e 'MMU enabled' | busybox sed 's/^/@ kernel: /'
busybox dmesg | busybox grep -o 'started at EL[0-9]' | busybox sed 's/^/@ /'
busybox sync
busybox poweroff -f
"""


def initramfs(linux):
    modules = {f"modules/{number:02}-{name}.ko": content
               for number, (name, content) in enumerate(linux_host.loadable(linux, MODULES).items())}
    folders = dict.fromkeys(("bin", "dev", "modules", "proc", "root", "sys"))
    return linux_host.archive({**folders, "bin/busybox": linux / "bin/busybox", "init": INIT.encode(), **modules})


def run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")


def entry(title, linux, initrds=(), options="", more=""):
    return "".join([f"title {title}\n", f"linux {linux}\n", *(f"initrd {one}\n" for one in initrds), f"options {options}\n", more])


def make_partitions(image, table, sizes):
    """An empty disk with a boot partition and others for Linux, their sizes in MiB; the first starts at 1 MiB."""
    with open(image, "wb") as file:
        file.truncate((sum(sizes) + 2) * MIB)
    kinds = {"gpt": ("gpt", "U", "L"), "mbr": ("dos", "ef", "83")}[table]
    rows = [f"size={size * 2048}, type={kinds[1 if first else 2]}" for size, first in zip(sizes, (True, False, False))]
    run("sfdisk", "--quiet", image, input="\n".join([f"label: {kinds[0]}", *rows, ""]))


def fill(image, folder, size, files, options=()):
    """Makes a FAT file system of `size` MiB in the first partition, with `files`: {path: bytes}, None for no file."""
    volume, folders = f"{image}@@1M", set()
    run("mformat", "-i", volume, *options, "-T", size * 2048, "::")
    for path, content in files.items():
        if content is None:
            continue
        for parent in reversed(pathlib.PurePosixPath(path).parents[:-1]):
            if parent not in folders:
                run("mmd", "-i", volume, f"::{parent}")
                folders.add(parent)
        (folder / "part").write_bytes(content)
        run("mcopy", "-i", volume, folder / "part", f"::{path}")


def make_loader_partition(image, folder, files, size=16):
    """A disk with only a boot partition."""
    make_partitions(image, "gpt", [size])
    fill(image, folder, size, files)


def make(image, linux, folder, table="gpt", fat=48, fat_options=(), name="guest", options=OPTIONS):
    """A disk from which Debian's kernel is started, with its root."""
    root = folder / "root"
    for path in ("bin", "proc"):
        (root / path).mkdir(parents=True, exist_ok=True)
    (root / "bin/busybox").write_bytes((linux / "bin/busybox").read_bytes())
    (root / "bin/busybox").chmod(0o755)
    (root / "init").write_text(ROOT_INIT)
    (root / "init").chmod(0o755)
    (root / "name").write_text(name)
    make_partitions(image, table, [fat, 16])
    debian = entry("Debian", "/vmlinuz", ["/initrd.img"], options).encode()
    fill(image, folder, fat, {"vmlinuz": (linux / f"boot/vmlinuz-{linux_host.installed(linux)}").read_bytes(),
                              "initrd.img": initramfs(linux), "loader/loader.conf": b"default debian\n",
                              "loader/entries/debian.conf": debian}, fat_options)
    run("mke2fs", "-q", "-t", "ext4", "-L", "guestroot", "-d", root, "-E", f"offset={(1 + fat) * MIB}", image, "16M")
