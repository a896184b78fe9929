# SPDX-License-Identifier: MIT
"""A Linux machine in QEMU, for devices that only a Linux kernel offers: KVM, vhost-vsock and so on. Everything is
emulated, so the machine that runs the tests needs neither these devices nor the right to load a module.

A host is Debian's cloud kernel with modules, busybox, files and one shell script, all in an initramfs; the script's
output and status return through the serial console. tools/setup unpacks the kernel and busybox into the folder in
LINUX_HOST and installs nothing.

The console is also the kernel's and the firmware's. A mark before each line distinguishes the script's output; the
kernel prints nothing below a panic while the script runs, so that its lines do not split the script's.
"""
import io
import lzma
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True
import guestrun  # noqa: E402

FOLDERS = ("bin", "dev", "modules", "proc", "sys", "tmp")
# no_timer_check: on a busy machine too few of the emulated timer's interrupts arrive in time, and the kernel gives up.
# highres=off nohz=off: a timer that ticks. A timer that is set for each event stops permanently when an interrupt is
# lost, and on a busy machine the emulated processor sometimes loses one while it runs a guest: seen with the host idle,
# and with it spinning.
COMMAND_LINE = "console=ttyS0 quiet loglevel=0 panic=-1 no_timer_check highres=off nohz=off mitigations=off"
FIRMWARE = ("bios-256k.bin", "bios-microvm.bin", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin", "qboot.rom")
DATA = ("/usr/share/qemu", "/usr/share/seabios")  # next to QEMU's own -L folders
NO_MODULE = 120  # the host's status if a module could not be loaded
MARK = "@ "
ENDED = "host: ended with status "

INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
cd /tmp
stty -F /dev/ttyS0 -echo
run() {{
  for module in /modules/*; do insmod "$module" || return {NO_MODULE}; done
  sh /script
}}
# The mark's program ends by the last line, even if its pipe is still open.
{{
  run </dev/null 2>&1
  echo "{ENDED}$?"
}} | awk '{{ print "{MARK}" $0; fflush() }} /^{ENDED}/ {{ exit }}'  # sed would hold a line until the next one
dmesg -r | grep '^<[0-3]>'  # the kernel's suppressed messages
stty -F /dev/ttyS0 -echo  # waits until all output is sent
poweroff -f
"""


def line(pattern):
    """A pattern for a whole line of the script on the console, for boot()'s `steps`."""
    return rf"^{MARK}{pattern}\r?\n"


def said(console):
    """Returns the script's lines of a console, without the marks, and without one that was cut off."""
    return "".join(f"{text[len(MARK):]}\n" for text in console.replace("\r\n", "\n").split("\n")[:-1] if text.startswith(MARK))


def installed(linux):
    """The version of the kernel in the folder."""
    versions = [path.name for path in (linux / "lib/modules").glob("*") if (linux / f"boot/vmlinuz-{path.name}").exists()]
    if len(versions) != 1:
        raise RuntimeError(f"{linux}: {len(versions)} kernels with modules, want one")
    return versions[0]


def loadable(linux, names):
    """Returns the modules' contents with those of all that they need, in loading order; built-in ones need none."""
    tree = linux / "lib/modules" / installed(linux)
    plain = lambda name: name.replace("-", "_")  # noqa: E731  (files and symbols spell them differently)
    there = {plain(path.name.split(".")[0]): path for path in tree.rglob("*.ko*")}
    built_in = {plain(pathlib.PurePath(line).stem) for line in (tree / "modules.builtin").read_text().split()}
    found = {}

    def add(name):
        if name in found or name in built_in:
            return
        if name not in there:
            raise RuntimeError(f"{tree} has no module {name}")
        content = there[name].read_bytes()
        if there[name].suffix == ".xz":
            content = lzma.decompress(content)
        for needed in filter(None, re.search(rb"\0depends=([^\0]*)\0", content)[1].decode().split(",")):
            add(plain(needed))
        found[name] = content

    for name in names:
        add(plain(name))
    return found


def program(path, environment=None):
    """A program of this machine and its libraries, as files for a host, each under its own path."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True, env={**os.environ, **(environment or {})}).stdout
    if "not found" in listed:
        raise RuntimeError(f"{path} lacks libraries:\n{listed}")
    return {str(file): pathlib.Path(file) for file in (path, *re.findall(r"(/\S+) \(0x", listed))}


def qemu(command):
    """The files that the QEMU of a command (program, possibly with `env` before it and -L folders after it) needs in a
    host under KVM, with the same command: program, libraries, firmware. TCG would need another module."""
    words = shlex.split(command)
    environment = {}
    while words[0] == "env" or "=" in words[0]:
        environment |= [words[0].split("=", 1)] if "=" in words[0] else []
        del words[0]
    folders = [folder for option, folder in zip(words, words[1:]) if option == "-L"]
    files = program(shutil.which(words[0]), environment)
    for name in FIRMWARE:
        file = next((path for path in (pathlib.Path(folder) / name for folder in (*folders, *DATA)) if path.exists()), None)
        files |= {str(file): file} if file else {}
    return files


def archive(files):
    """An initramfs (a cpio archive, "newc") of {path: content}; None is a folder. The same files give the same
    bytes."""
    wanted = {}
    for path, content in files.items():
        path = path.strip("/")
        for folder in pathlib.PurePath(path).parents:
            wanted.setdefault(str(folder), None)
        wanted[path] = content
    wanted.pop(".", None)
    parts = []

    def add(name, mode, content):
        fields = [0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        parts.extend((head, bytes(-len(head) % 4), content, bytes(-len(content) % 4)))

    for path in sorted(wanted):  # folders before their files
        content = wanted[path]
        if content is None:
            add(path, 0o040755, b"")
        else:
            add(path, 0o100755, content.read_bytes() if isinstance(content, pathlib.Path) else content)
    add("TRAILER!!!", 0, b"")
    return b"".join(parts)


def initramfs(linux, script, modules=(), files=None):
    """A host's files: it loads the modules, has the files, and runs the script."""
    loaded = {f"modules/{number:02}-{name}.ko": content for number, (name, content) in enumerate(loadable(linux, modules).items())}
    return archive({**dict.fromkeys(FOLDERS), "bin/busybox": linux / "bin/busybox", "init": INIT.encode(), "script": script.encode(),
                    **loaded, **(files or {})})


def boot(linux, folder, qemu, script, modules=(), files=None, extra=(), memory=512, timeout=None, stream=None, steps=()):
    """Boots a host that loads `modules`, has `files` ({path: bytes, or the file to copy}) and runs `script` with
    busybox's shell in /tmp. Returns (the script's status, its output), with guestrun.boot()'s statuses if the host did
    not reach its end. If that is not 0, the whole console goes to standard error.

    `linux` is the folder in LINUX_HOST, `folder` receives the initramfs (and keeps it), `extra` goes to the QEMU that
    is the host's machine, `steps` to guestrun.boot() as its script, whose conditions are written with line().
    """
    packed = folder / "initramfs"
    packed.write_bytes(initramfs(linux, script, modules, files))
    complaints = io.StringIO()
    status, console = guestrun.boot(linux / f"boot/vmlinuz-{installed(linux)}", qemu, "pc", memory, COMMAND_LINE,
                                    timeout or 2 * guestrun.HANG, ["-initrd", str(packed), *extra], stream=stream, errors=complaints,
                                    script=steps)
    lines = said(console)
    ended = re.search(rf"^{ENDED}(\d+)$", lines, re.M)
    if ended:  # switched off, which is not a guest's status
        if ended[1] != "0":
            print(console, end="", file=sys.stderr)
        return int(ended[1]), lines[:ended.start()]
    print(console, complaints.getvalue(), sep="\n", end="", file=sys.stderr)
    return status, lines
