# SPDX-License-Identifier: MIT
"""The host's side of the demo, started by tools/demo: it builds the guest, makes the disk, boots, connects to the guest by
vsock if the machine has it, and checks the guest's results."""
import contextlib
import fcntl
import hashlib
import io
import os
import pathlib
import re
import select
import shlex
import subprocess
import sys
import threading
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/vsock", "examples/04_vsock_server")]
import backend  # noqa: E402
import demonstration  # noqa: E402
import forward  # noqa: E402
import guestrun  # noqa: E402
from demonstration import MISMATCH, Problem, say  # noqa: E402

GUEST_BUILD = ROOT / "build" / "guest"
WORK = ROOT / "build" / "demo"

OLDEST_QEMU = (6, 2)

SECTOR = 512
FILE_SYSTEM_SECTORS = 64 * 2048
SCRATCH = FILE_SYSTEM_SECTORS  # one sector after the file system
LARGE_FILE = 56 << 20

CID = 4  # of the guest; another if the kernel serves vsock, to all guests of the machine
ANSWERING_PORT, ENDING_PORT = 1234, 1235  # as in the guest
STAY_FOR_TERMINAL, STAY = 60, 10  # seconds that the guest continues to answer


def shown(path):
    """Returns the shortest form of a path."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def check_qemu(qemu):
    """The version, as text."""
    try:
        said = subprocess.run([*shlex.split(qemu), "--version"], capture_output=True, text=True, errors="replace",
                              stdin=subprocess.DEVNULL).stdout
    except (OSError, ValueError) as failure:  # ValueError: an unclosed quote
        raise Problem(f"cannot start {qemu}: {getattr(failure, 'strerror', None) or failure}") from None
    found = re.search(r"version (\d+)\.(\d+)(\.\d+)*", said)
    if not found:
        raise Problem(f"{qemu} does not say which version of QEMU it is")
    version = found[0].removeprefix("version ")
    if (int(found[1]), int(found[2])) < OLDEST_QEMU:
        raise Problem(f"{qemu} is QEMU {version}, which is too old: the demo wants {OLDEST_QEMU[0]}.{OLDEST_QEMU[1]} or later")
    return version


def build_guest(name="demo", out=None):
    """Builds and returns the image of examples/`name`. It prints a line to `out` (standard output) the first time, and the
    output of a build that fails."""
    log = WORK / "build.log"
    steps = [["cmake", "--build", str(GUEST_BUILD), "--target", name]]
    if not (GUEST_BUILD / "build.ninja").exists():
        print("Building the guest (only the first time takes a while)", file=out, flush=True)
        toolchain = ROOT / "cmake" / "toolchains" / "x86_64-none.cmake"
        steps.insert(0, ["cmake", "-S", str(ROOT), "-B", str(GUEST_BUILD), "-G", "Ninja", "--toolchain", str(toolchain)])
    with open(log, "w") as out:
        for step in steps:
            if subprocess.run(step, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT).returncode != 0:
                out.flush()
                print("\n".join(log.read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
                raise Problem(f"the guest does not build; all of it is in {shown(log)}")
    return GUEST_BUILD / "examples" / name


def make_disk():
    """Makes a FAT32 file system with the library's files and a large file, and one sector after it that the guest writes."""
    image = WORK / "disk.img"
    say(f"Making {shown(image)}: 64 MiB of FAT32 with this library's files and a large one")
    image.unlink(missing_ok=True)
    with open(image, "wb") as file:
        file.truncate((FILE_SYSTEM_SECTORS + 1) * SECTOR)

    def mtools(command, *arguments, **stdin):
        done = subprocess.run([command, "-i", str(image), *arguments], capture_output=True, **stdin,
                              env={**os.environ, "MTOOLSRC": os.devnull})
        if done.returncode != 0:
            why = done.stderr.decode(errors="replace").strip().splitlines()
            raise Problem(f"{command} failed: {why[-1] if why else 'it does not say why'}")

    mtools("mformat", "-F", "-v", "VIRTIO", "-T", str(FILE_SYSTEM_SECTORS), "::", stdin=subprocess.DEVNULL)
    mtools("mcopy", "-s", *(str(ROOT / name) for name in ("LICENSE", "include", "examples")), "::/", stdin=subprocess.DEVNULL)
    mtools("mcopy", "-", "::/LARGE.BIN", input=hashlib.shake_128(b"virtio demo").digest(LARGE_FILE))
    return image


def sha256_of(path, replaced=None):
    """Returns the file's size and SHA-256. `replaced`: a sector number and the bytes to use instead."""
    hash, size = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as file:
        while data := file.read(1 << 20):
            if replaced and size <= replaced[0] * SECTOR < size + len(data):
                at = replaced[0] * SECTOR - size
                data = data[:at] + replaced[1] + data[at + SECTOR:]
            hash.update(data)
            size += len(data)
    return size, hash.hexdigest()


class Vsock(typing.NamedTuple):
    """A path from the host to the guest."""

    arguments: list  # QEMU's
    guest: str       # forward.py's argument
    command: str     # a shell command that gets an answer


def kernel_vsock(cid):
    return Vsock(backend.kernel_arguments(cid), str(cid), f"socat -u VSOCK-CONNECT:{cid}:{ANSWERING_PORT} -")


@contextlib.contextmanager
def find_vsock(known):
    """Provides the kernel's vsock, otherwise vhost-device-vsock until the block ends, otherwise None. `known` are QEMU's
    devices."""
    def has(device):  # a QEMU that does not belong to the system may be unable to list them
        return not known or f'"{device}"' in known

    if not backend.missing_kernel() and has("vhost-vsock-pci"):
        yield kernel_vsock(CID + os.getpid())
        return
    if backend.VARIABLE not in os.environ:
        said = subprocess.run([ROOT / "tools" / "setup", "--print"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        found = re.search(rf"^{backend.VARIABLE}=(.*)$", said.stdout, re.MULTILINE)
        os.environ[backend.VARIABLE] = "".join(shlex.split(found[1])) if found else ""
    if backend.missing() or not has("vhost-user-vsock-pci"):
        say("There is no vsock here, and so the guest gets none. As root, modprobe vhost_vsock gives it one; or without root\n"
            "tools/setup --for test, which on Debian 12 builds vhost-device-vsock.")
        yield None
        return
    with backend.serve(CID) as served:
        path = str(served.path(CID))  # it reads the port first, and treats the end of one direction as that of the connection
        yield Vsock(served.arguments(CID), path,
                    f"echo CONNECT {ANSWERING_PORT} | socat -t {guestrun.HANG} - UNIX-CONNECT:{shlex.quote(path)},shut-none")


class Console:
    """Prints the guest's console, with the command that connects to it."""

    def __init__(self, vsock):
        self.vsock, self.text, self.is_over = vsock, "", False
        self.has_told, self.is_done, self.was_visited = False, threading.Event(), threading.Event()

    def write(self, text):
        before = len(self.text)
        self.text += text
        begins = re.search(r"^Sockets: .*\n", self.text, re.MULTILINE)
        if begins and not self.has_told:
            self.has_told = True
            at = begins.end() - before
            text = f"{text[:at]}  from another terminal:  {self.vsock.command}\n{text[at:]}"
        sys.stdout.write(text)
        if "\nDone; still answering" in self.text:
            self.is_done.set()
        if re.search(r"^  visitor ([2-9]|\d\d+) was answered", self.text, re.MULTILINE):  # the first may be this program
            self.was_visited.set()

    def flush(self):
        sys.stdout.flush()

    def ends(self):
        self.is_over = True
        self.is_done.set()
        self.was_visited.set()


def visit(vsock, console, stay, answers):
    """Connects to the guest after its work, as a user would. Leaves users time to connect too; then ends the guest."""
    console.is_done.wait()
    if console.is_over:
        return
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(vsock.command, shell=True, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
                              timeout=guestrun.HANG)
        answers.append(done.stdout + done.stderr)
    if sys.stdin.isatty():
        say(f"Enter ends it, and so do {stay} seconds")
        select.select([sys.stdin], [], [], stay)
    else:
        console.was_visited.wait(stay)
    with contextlib.suppress(OSError):
        forward.connect(vsock.guest, ENDING_PORT).close()


def check_answers(answers, size, console):
    """Checks that the guest has answered after all its work."""
    said = f"I have read {size >> 20} of my disk's {size >> 20} MiB"
    cid = re.search(r"^Sockets: .* CID (\d+) ", console, re.MULTILINE)
    if not cid or not answers or f"Hello from inside the guest, CID {cid[1]}: {said}" not in answers[0]:
        raise Problem(f"the guest's answer by vsock is not what it should be: {answers!r}", MISMATCH)
    say(f"  vsock: asked as above, the guest says: {answers[0].splitlines()[-1]}")


def devices(known, disk, readonly):
    """Returns QEMU's options: the devices that the guest drives, and some more for the list of verdicts."""
    drive = str(disk).replace(",", ",,")  # QEMU's escape for commas
    options = ["-drive", f"if=none,id=disk,format=raw,file={drive},readonly={'on' if readonly else 'off'}",
               "-device", "virtio-blk-pci,drive=disk",
               "-device", "virtio-rng-pci",
               "-device", "virtio-rng-pci,disable-modern=on"]
    for model, extra in {
        "virtio-net-pci": ["-netdev", "hubport,id=net,hubid=0", "-device", "virtio-net-pci,netdev=net,romfile="],
        "virtio-serial-pci": ["-device", "virtio-serial-pci"],
        "ivshmem-plain": ["-object", "memory-backend-ram,id=shared,size=1M,share=on", "-device", "ivshmem-plain,memdev=shared"],
        "pci-bridge": ["-device", "pci-bridge,id=bridge,chassis_nr=1", "-device", "virtio-balloon-pci,bus=bridge,addr=1"],
    }.items():
        if f'"{model}"' in known:
            options += extra
    return options


def check_scratch(image, digest):
    """Checks that the guest's note is in the file, and that no other byte has changed."""
    note = f"This sector was written by the virtio demo. The disk's SHA-256 before: {digest}\n".encode().ljust(SECTOR, b"\0")
    with open(image, "rb") as file:
        file.seek(SCRATCH * SECTOR)
        if file.read(SECTOR) != note:
            raise Problem(f"sector {SCRATCH} of {shown(image)} is not what the guest should have written", MISMATCH)
    if sha256_of(image, (SCRATCH, bytes(SECTOR)))[1] != digest:
        raise Problem(f"the guest has changed more of {shown(image)} than sector {SCRATCH}", MISMATCH)


def boot(guest, qemu, known, disk, given, size, stay):
    """Runs the guest. Returns its status, its console, and its answer."""
    with find_vsock(known) as vsock:
        words = [] if given else [f"scratch={SCRATCH}"]
        if vsock and stay:
            words.append("stay=yes")
        console, answers, errors = Console(vsock), [], io.StringIO()
        visitor = threading.Thread(target=visit, args=(vsock, console, stay, answers), daemon=True)
        if vsock:
            visitor.start()
        try:
            status, text = guestrun.boot(guest, qemu=qemu, append=" ".join(words), timeout=guestrun.HANG + (size >> 20) + stay,
                                         extra=devices(known, disk, bool(given)) + (vsock.arguments if vsock else []),
                                         stream=console, errors=errors)
        finally:
            console.ends()
        if status in (guestrun.TIMED_OUT, guestrun.NO_STATUS):
            sys.stderr.write(errors.getvalue())  # in a good run QEMU's warnings are about intended settings
        return status, text.replace("\r", ""), answers if vsock and stay else None


def run(given, stay):
    qemu = os.environ.get("QEMU") or guestrun.DEFAULT_QEMU
    version = check_qemu(qemu)
    WORK.mkdir(parents=True, exist_ok=True)
    with open(WORK / "lock", "w") as lock:  # there is one disk image and one build
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another demo is running: waiting for its end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        guest = build_guest()
        disk = pathlib.Path(given) if given else make_disk()
        size, digest = sha256_of(disk)
        say(f"Booting the guest in QEMU {version}, without hardware acceleration\n")
        known = subprocess.run([*shlex.split(qemu), "-device", "help"], capture_output=True, text=True, errors="replace",
                               stdin=subprocess.DEVNULL).stdout
        began = time.monotonic()
        status, console, answers = boot(guest, qemu, known, disk, given, size, stay)
        took = time.monotonic() - began
        if status != 0:
            raise Problem(f"the guest's run ended with status {status} (tools/demo --help)", status)

        said = re.search(r"^  SHA-256 ([0-9a-f]{64})$", console, re.MULTILINE)
        if not said or said[1] != digest:
            raise Problem(f"the SHA-256 of {shown(disk)} is {digest}: not what the guest found", MISMATCH)
        say(f"\nChecked on the host\n  SHA-256 {digest}  {shown(disk)}: the same")
        if answers is not None:
            check_answers(answers, size, console)
        if not given:
            check_scratch(disk, digest)
            say(f"  scratch sector {SCRATCH}: in the file as the guest wrote it, and nothing else has changed")
        say(f"All well; the guest ran for {took:.1f} s.")


def main(arguments):
    def demo():
        disk, stay = arguments
        run(disk, int(stay) if stay else STAY_FOR_TERMINAL if sys.stdin.isatty() else STAY)

    return demonstration.status_of(demo)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
