# SPDX-License-Identifier: MIT
"""The host's side of the boot loader, started by `tools/demo boot`: it makes a disk with Debian's kernel, installs the loader on it, and
starts a machine whose BIOS has nothing but this disk. It shows the loader's menu, its progress and the lines of Linux, and checks that
Linux came up with its root on the same disk."""
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/bootloader")]
os.environ["PATH"] += ":/usr/sbin:/sbin"  # sfdisk, mke2fs
import demonstration  # noqa: E402
import disk_image  # noqa: E402
import guestrun  # noqa: E402
import linux_host  # noqa: E402
from demonstration import MISMATCH, Problem, say, settings  # noqa: E402

INSTALL = ROOT / "tools/bootloader-install"
MEMORY = 512  # MiB
SECONDS = 3  # that the menu waits
FAT = "::"
OTHER = "Debian, with all messages of the kernel"


def command(*words):
    """Runs a command and returns its output."""
    done = subprocess.run([*map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "MTOOLSRC": os.devnull})
    if done.returncode != 0:
        raise Problem(f"{words[0]} failed: {done.stdout.strip()}")
    return done.stdout


def put(image, folder, path, text):
    """Replaces a file on the first partition."""
    (folder / "text").write_text(text)
    command("mcopy", "-o", "-i", f"{image}@@1M", folder / "text", FAT + path)


def make_disk(image, folder, linux, name):
    try:
        disk_image.make(image, linux, folder, table="mbr", name=name)
    except RuntimeError as failure:
        raise Problem(str(failure)) from failure
    put(image, folder, "loader/loader.conf", f"default debian\ntimeout {SECONDS}\n")
    loud = " ".join(word for word in disk_image.OPTIONS.split() if word not in ("quiet", "loglevel=4"))
    put(image, folder, "loader/entries/loud.conf", disk_image.entry(OTHER, "/vmlinuz", ["/initrd.img"], loud))


class Shown(io.StringIO):
    """Prints the console, indented, as it arrives. Lines of Linux's programs have a mark, which becomes a word."""
    rest, at_start = "", True

    def write(self, text):
        for piece in (self.rest + text.replace("\r", "")).splitlines(keepends=True):
            self.rest = piece if self.at_start and len(piece) < len(linux_host.MARK) and linux_host.MARK.startswith(piece) else ""
            if self.rest:  # an incomplete mark
                return len(text)
            if self.at_start:
                piece = "  " + ("Linux: " + piece.removeprefix(linux_host.MARK) if piece.startswith(linux_host.MARK) else piece)
            sys.stdout.write(piece)
            self.at_start = piece.endswith("\n")
        return len(text)

    def flush(self):
        sys.stdout.flush()


def demo():
    settings()
    linux = pathlib.Path(os.environ.get("LINUX_HOST") or "/none")
    if not linux.is_dir():
        raise Problem("LINUX_HOST is empty: no Linux kernel to start (tools/setup --for boot fetches it)")
    loader = demonstration.build("bootloader")
    image, name = demonstration.WORK / "boot.img", f"the disk of {time.strftime('%Y-%m-%d %H:%M:%S')}"
    shown = image.relative_to(ROOT)
    with tempfile.TemporaryDirectory(prefix="virtio-demo-") as folder:
        say(f"1. A disk with Debian's kernel {linux_host.installed(linux)}: {shown}")
        make_disk(image, pathlib.Path(folder), linux, name)
    say("  partition 1, FAT:  /vmlinuz  /initrd.img  /loader/loader.conf  /loader/entries/*.conf")
    say("  partition 2, ext4: the root, with a shell script as /init")

    say(f"\n2. The loader onto it, by tools/bootloader-install {shown}")
    for line in command(sys.executable, "-B", INSTALL, image, "--loader", loader).splitlines():
        say(f"  {line.replace(f'{ROOT}/', '')}")

    say(f"\n3. A machine with only a BIOS and this disk; the menu waits {SECONDS} s")
    complaints = io.StringIO()
    status, console = guestrun.boot(image, machine="pc", memory=MEMORY, timeout=guestrun.HANG, stream=Shown(), errors=complaints,
                                    disk="virtio-blk-pci")
    if f"{linux_host.MARK}root on {name}" not in console:
        raise Problem(f"Linux did not come up with its root on the disk: {complaints.getvalue().strip()}", MISMATCH)
    if f"{linux_host.MARK}kernel:" in console:
        raise Problem("Linux complained about a device", MISMATCH)
    say(f"\nTo use the menu:\n  qemu-system-x86_64 -m {MEMORY} -display none -serial stdio -drive file={shown},format=raw,if=virtio")
    say("\nAll well: Linux was loaded from a virtio disk by the library, and found its root there.")


if __name__ == "__main__":
    sys.exit(demonstration.status_of(demo))
