# SPDX-License-Identifier: MIT
"""Machines with UEFI: OVMF on x86-64, AAVMF on 64-bit Arm, started from an EFI system partition. The firmware positions
its text by escape sequences, which are removed from the console here."""
import io
import os
import pathlib
import re
import shlex
import sys

HERE = pathlib.Path(__file__).resolve().parent
for folder in (HERE.parent / "bootloader", HERE.parent / "qemu", HERE.parents[1] / "tools"):
    sys.path.insert(0, str(folder))
sys.dont_write_bytecode = True
os.environ["PATH"] += ":/usr/sbin:/sbin"
import disk_image  # noqa: E402
import guestrun  # noqa: E402

FIRMWARE = {  # code, variables; Debian's ovmf and qemu-efi-aarch64
    "x86_64": ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    "aarch64": ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
}
BOOT_FILE = {"x86_64": "EFI/BOOT/BOOTX64.EFI", "aarch64": "EFI/BOOT/BOOTAA64.EFI"}
MACHINE = {"x86_64": "q35", "aarch64": "virt"}


def qemu(version, processor):
    """Returns the command of this QEMU, or None."""
    name = {"7.2": "QEMU_7", "10": "QEMU_10"}[version] + {"x86_64": "", "aarch64": "_AARCH64"}[processor]
    return os.environ.get(name) or None


def missing(version, processor):
    """Returns why tests cannot run here; empty if they can."""
    if not qemu(version, processor):
        return f"no QEMU {version} for {processor}"
    absent = [path for path in FIRMWARE[processor] if not pathlib.Path(path).exists()]
    package = {"x86_64": "ovmf", "aarch64": "qemu-efi-aarch64"}[processor]
    return f"no {absent[0]}: the package {package} is not installed" if absent else ""


def boot(version, processor, image, extra=(), disk="virtio-blk-pci", machine=None, memory=256, script=(),
         timeout=guestrun.HANG, stream=None, first=(), append=""):
    """Boots a disk with an EFI system partition: returns (status, console). `first` are options before that of the
    disk. A program instead of a disk is QEMU's -kernel, with `append`, which only AAVMF supports."""
    flash = [option for unit, (path, kind) in enumerate(zip(FIRMWARE[processor], ("readonly=on", "snapshot=on")))
             for option in ("-drive", f"if=pflash,unit={unit},format=raw,file={path},{kind}")]
    command = shlex.join([*shlex.split(qemu(version, processor)), *first])
    status, console = guestrun.boot(image, command, machine or MACHINE[processor], memory, append, timeout,
                                    [*flash, *extra], stream=stream, errors=io.StringIO(), script=script, disk=disk,
                                    usual=guestrun.AARCH64 if processor == "aarch64" else None)
    return status, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console).replace("\r", "")
