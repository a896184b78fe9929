# SPDX-License-Identifier: MIT
"""A Linux machine with a virtual USB host controller (vhci_hcd), for USB devices served over USB/IP: Debian's full
kernel, in the folder LINUX_HOST_FULL, with the usbip tools, tools/usbip-vsock and the programs that make and check a
file system.

A script for it begins with SCRIPT, whose functions are:

    taken                    prints the ports of vhci_hcd that are not free
    attached PORT STATE      waits until that port of vhci_hcd has the state (006 is a device in use)
    disk                     waits until a disk exists, and prints its name
    no_disk                  waits until no disk exists
    quiet COMMAND...         its output is printed only if it fails

The same machine can also export a device by the kernel's own server: see EXPORT.
"""
import contextlib
import json
import os
import pathlib
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile

import linux_host

TOOL = linux_host.ROOT / "tools/usbip-vsock"
KERNEL = "LINUX_HOST_FULL"
MODULES = ("vhci-hcd", "usb-storage", "sd_mod", "cdc-acm", "ext4", "crc32c_generic")
# For the kernel's own server, of a disk on QEMU's own USB, and for a network between machines.
EXPORTS = ("usbip-host", "xhci-pci")
NETWORK = ("virtio_pci", "virtio_net")
PROGRAMS = ("usbip", "usbipd", "mke2fs", "e2fsck", "debugfs", "socat")
VHCI = "/sys/devices/platform/vhci_hcd.0"
BOUND = 100  # seconds, the limit of a wait in the script

SCRIPT = f"""
ip link set lo up
mkdir -p /var/run
seconds() {{ cut -d. -f1 /proc/uptime; }}
until_true() {{  # the event, and the command that checks it
  what=$1 end=$(($(seconds) + {BOUND}))
  shift
  until "$@"; do
    if [ $(seconds) -gt $end ]; then echo "this did not come: $what"; cat {VHCI}/status* | grep -v ' 004 '; dmesg | tail -n 20; exit 1; fi
    sleep 0.1
  done
}}
taken() {{ cat {VHCI}/status* | sed -n '/ 004 /!s/^[hs]s  0*\\([0-9][0-9]*\\) .*/\\1/p'; }}
in_state() {{ cat {VHCI}/status* | grep -qE "^.s  0*$1 $2 "; }}
attached() {{ until_true "port $1 in state $2" in_state "$1" "$2"; }}
is_disk() {{ [ "$(cat /sys/block/sd*/size 2>/dev/null || echo 0)" != 0 ]; }}  # its size is read once it is ready
none_is_disk() {{ ! ls /sys/block/sd* >/dev/null 2>&1; }}
disk() {{ until_true 'a disk' is_disk; basename /sys/block/sd*; }}
no_disk() {{ until_true 'no disk' none_is_disk; }}
quiet() {{ if "$@" >/tmp/quiet 2>&1; then :; else status=$?; cat /tmp/quiet; echo "status $status: $*"; exit 1; fi; }}
listening() {{ netstat -ltn | grep -q ":$1 "; }}
"""

# Exports on TCP, by the kernel's own server, the USB disks that QEMU has for the machine: see exported().
EXPORT = """
is_listed() { usbip list -l 2>/dev/null | grep -q busid; }
until_true 'a USB device to export' is_listed
sleep 1  # more may follow
busids=$(usbip list -l 2>/dev/null | sed -n 's/^ - busid \\([^ ]*\\) .*/\\1/p')
for busid in $busids; do quiet usbip bind -b $busid; done
quiet usbipd -D
until_true 'usbipd' listening 3240
"""


@contextlib.contextmanager
def bridge(path):
    """TCP on 127.0.0.1 to a guest's vsock with the socket `path`; returns the port."""
    process = subprocess.Popen([sys.executable, "-B", TOOL, "bridge", f"unix:{path}", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                               text=True)
    try:
        yield re.search(r":(\d+)$", process.stdout.readline())[1]
    finally:
        process.terminate()
        process.communicate()


def exported(*images):
    """QEMU's options for a USB controller with these disks."""
    return ["-device", "qemu-xhci,id=usb", *(word for number, image in enumerate(images) for word in (
        "-drive", f"if=none,id=exported{number},format=raw,file={image}", "-device", f"usb-storage,drive=exported{number},bus=usb.0"))]


def missing():
    """Returns why this machine is not available here, or None."""
    if not os.environ.get(KERNEL):
        return f"{KERNEL} is empty, no Linux kernel with USB to boot on this machine (on Debian 12 tools/setup fetches it)"
    return next((f"no {program} on this machine (Debian's package {package})" for program, package in zip(
        PROGRAMS, ("usbip", "usbip", "e2fsprogs", "e2fsprogs", "e2fsprogs", "socat")) if not program_path(program)), None)


def program_path(name):
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def compiled(source):
    """A Python file compiled for the interpreter: the emulated machine would take ten times as long."""
    with tempfile.NamedTemporaryFile(suffix=".pyc") as made:
        py_compile.compile(str(source), made.name, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        return pathlib.Path(made.name).read_bytes()


def python():
    """This machine's Python with the imports of tools/usbip-vsock, as files for the host."""
    probe = ("import importlib.machinery, importlib.util, json, sys\n"
             "sys.dont_write_bytecode = True\n"
             f"loader = importlib.machinery.SourceFileLoader('tool', {str(TOOL)!r})\n"
             "module = importlib.util.module_from_spec(importlib.util.spec_from_loader('tool', loader))\n"
             "sys.modules['tool'] = module\n"
             "loader.exec_module(module)\n"
             "import encodings.ascii, encodings.idna, encodings.latin_1, encodings.utf_8, gettext, locale, shutil, subprocess\n"
             "print(json.dumps([sys.executable, [one.__file__ for one in sys.modules.values() if getattr(one, '__file__', None)]]))\n")
    said = subprocess.run([sys.executable, "-I", "-c", probe], stdout=subprocess.PIPE, check=True, text=True).stdout
    executable, modules = json.loads(said)
    executable = os.path.realpath(executable)
    files = linux_host.program(executable)
    for module in map(pathlib.Path, modules):
        if module == TOOL:
            continue
        files |= {str(module.with_suffix(".pyc")): compiled(module)} if module.suffix == ".py" else linux_host.program(str(module))
    return files | {"/bin/usbip-vsock": b"#!/bin/sh\nexec python /usbip-vsock.pyc \"$@\"\n", "/usbip-vsock.pyc": compiled(TOOL),
                    "/bin/python": b"#!/bin/sh\nexec %s -I -B \"$@\"\n" % executable.encode()}


def files():
    """The host's files for the functions above, and for a test's work on a disk."""
    found = {"/usr/share/misc/usb.ids": b"\n", "/etc/mke2fs.conf": pathlib.Path("/etc/mke2fs.conf"), "/etc/hosts": b"127.0.0.1 localhost\n"}
    for name in PROGRAMS:
        path = program_path(name)
        found |= linux_host.program(path) | {f"/bin/{name}": pathlib.Path(path).resolve()}
    return found | python()


def boot(folder, qemu, script, modules=(), more=None, extra=(), memory=768, **options):
    """linux_host.boot() of such a machine."""
    # Busybox would run its own program of the same name.
    names = "".join(f'{name}() {{ {program_path(name)} "$@"; }}\n' for name in PROGRAMS if name != "socat")
    return linux_host.boot(pathlib.Path(os.environ[KERNEL]), folder, qemu, names + SCRIPT + script, [*modules, *MODULES], files() | (more or {}), extra,
                           memory, **options)
