# SPDX-License-Identifier: MIT
"""The host's side of the USB example, started by `tools/demo usb`: it builds the guest, gives it a disk with a file
system, boots it with vhost-device-vsock, and lists its devices by the distribution's `usbip`. Then a Linux attaches the
stick: this machine's if it has vhci_hcd and the user is root, otherwise one in an emulated machine. The emulated one
mounts the stick, reads a file and writes one, which is then read from the image."""
import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/vsock", "tests/nested")]
import backend  # noqa: E402
import demonstration  # noqa: E402
import guestrun  # noqa: E402
import usbip  # noqa: E402
from demonstration import MISMATCH, Problem, say, settings  # noqa: E402

TOOL = ROOT / "tools/usbip-vsock"
CID = 4
MEGABYTES = 16
NETWORK = ["-netdev", "user,id=network", "-device", "virtio-net-pci,netdev=network,romfile="]
# In the emulated Linux: 10.0.2.2 is this machine's 127.0.0.1 there.
ATTACH = """
ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up
usbip --tcp-port {port} attach -r 10.0.2.2 -b 1-1 || exit 1
port=$(taken)
attached $port 006
name=$(disk)
echo "It is /dev/$name, $(($(cat /sys/block/$name/size) / 2048)) MiB, on port $port: $(cat /sys/block/$name/device/vendor /sys/block/$name/device/model | tr -s ' \\n' ' ')"
mkdir -p /mnt
mount -t ext4 /dev/$name /mnt || exit 1
echo "Its file hello.txt says: $(cat /mnt/hello.txt)"
echo "{words}" >/mnt/answer.txt
umount /mnt
echo "Written: answer.txt"
quiet usbip detach -p $port
attached $port 004
"""


def make_disk(image, folder, words):
    """Makes an image with ext4 and one file."""
    (folder / "files").mkdir()
    (folder / "files" / "hello.txt").write_text(words)
    with open(image, "wb") as file:
        file.truncate(MEGABYTES << 20)
    subprocess.run([usbip.program_path("mke2fs"), "-q", "-F", "-t", "ext4", "-d", folder / "files", image], check=True)


def file_of(image, name):
    return subprocess.run([usbip.program_path("debugfs"), "-R", f"cat /{name}", image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True).stdout


def indent(text):
    return "".join(f"  {line}\n" for line in text.splitlines()).rstrip("\n")


def attach_here(path):
    """Attaches the stick to this machine, which has root and vhci_hcd. It does not mount it: a desktop may do that."""
    done = subprocess.run([sys.executable, "-B", TOOL, "attach", f"unix:{path}", "1-1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Problem(done.stdout.strip(), MISMATCH)
    port = done.stdout.split()[-1]
    try:
        deadline = time.monotonic() + 30
        listed = ""
        while "in use" not in listed and time.monotonic() < deadline:
            time.sleep(0.2)
            listed = subprocess.run([sys.executable, "-B", TOOL, "port"], stdout=subprocess.PIPE, text=True).stdout
        say(indent(listed))
    finally:
        subprocess.run([sys.executable, "-B", TOOL, "detach", port], check=False)
    if "in use" not in listed:
        raise Problem("the device was not enumerated within 30 s", MISMATCH)


class Shown(io.StringIO):
    """Prints the lines of the emulated Linux's script as they arrive."""
    rest = ""

    def write(self, text):
        *lines, self.rest = (self.rest + text.replace("\r", "")).split("\n")
        for line in lines:
            if line.startswith("@ ") and "host: ended" not in line:
                say(f"  {line[2:]}")
        return len(text)


def attach_elsewhere(folder, port, words):
    missing = usbip.missing()
    if missing:
        raise Problem(missing)
    status, said = usbip.boot(folder, os.environ.get("QEMU") or guestrun.DEFAULT_QEMU, ATTACH.format(port=port, words=words),
                              usbip.NETWORK, extra=NETWORK, stream=Shown())
    if status != 0:
        raise Problem(f"the emulated Linux ended with {status}", MISMATCH)
    return said


def demo():
    settings()
    for missing in filter(None, (backend.missing(), None if usbip.program_path("usbip") else "no usbip on this machine")):
        raise Problem(missing)
    image = demonstration.build("09_usbip")
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    outward, inward = f"a virtio disk, as a USB stick, {now}", f"written through USB, {now}"
    with tempfile.TemporaryDirectory(prefix="virtio-demo-") as name, backend.serve(CID) as vsock:
        folder = pathlib.Path(name)
        disk = folder / "disk.img"
        make_disk(disk, folder, outward + "\n")
        seen = []

        def visit():
            vsock.wait_for_queues(CID)
            try:
                with usbip.bridge(vsock.path(CID)) as port:
                    say("1. What the guest serves, by `usbip list -r 127.0.0.1` through tools/usbip-vsock bridge")
                    listed = subprocess.run([usbip.program_path("usbip"), "--tcp-port", port, "list", "-r", "127.0.0.1"], stdout=subprocess.PIPE,
                                            stderr=subprocess.DEVNULL, text=True).stdout
                    say(indent(listed))
                    if "1-1" not in listed:
                        raise Problem("usbip does not list the stick", MISMATCH)
                    if usbip_is_here():
                        say("\n2. Attached to this machine, by tools/usbip-vsock")
                        attach_here(vsock.path(CID))
                    else:
                        say("\n2. Attached to a Linux in an emulated machine, by `usbip attach` (this machine has no vhci_hcd, or the user is not root)")
                        attach_elsewhere(folder, port, inward)
                        seen.append(file_of(disk, "answer.txt").strip())
            except Exception as failure:
                seen.append(failure)
            with contextlib.suppress(OSError):
                vsock.connect(CID, 3241).close()

        drive = ["-drive", f"if=none,id=disk,format=raw,file={disk}", "-device", "virtio-blk-pci,drive=disk"]
        status, console = guestrun.boot(image, append="host=stays", extra=[*vsock.arguments(CID), *drive], script=[("^serving", visit)])
        if seen and isinstance(seen[0], Exception):
            raise seen[0]
        if status != 0:
            raise Problem(f"the guest ended with {status}: {console[-500:]}", MISMATCH)
        if seen and seen[0] != inward:
            raise Problem(f"the guest's disk has {seen[0]!r} in answer.txt, not {inward!r}", MISMATCH)
        say("\n3. What the guest reports\n" + indent(console))
        if seen:
            say(f"\nAnd its disk's image has answer.txt: {seen[0]}")
        say("\nAll well.")


def usbip_is_here():
    return os.geteuid() == 0 and pathlib.Path(usbip.VHCI).is_dir()


if __name__ == "__main__":
    sys.exit(demonstration.status_of(demo))
