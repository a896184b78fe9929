# SPDX-License-Identifier: MIT
"""Boot a guest image in QEMU and return the guest's exit status and console.

The guest ends by a write to isa-debug-exit, by semihosting on Arm, or by the test finisher on RISC-V, which makes QEMU
end with (status << 1) | 1. A QEMU that cannot start also ends with 1, which would read as the guest's success.
Therefore QEMU starts with the processor stopped, and continues only after it has answered on its control socket.
"""
import argparse
import codecs
import contextlib
import json
import os
import re
import selectors
import shlex
import socket
import subprocess
import sys
import time
import typing

TIMED_OUT = 124
NO_STATUS = 125  # QEMU did not start, or ended without a status from the guest

# The limit in seconds of a wait for an event that must happen. It only ends hangs: a passing wait takes seconds.
# VIRTIO_TEST_PATIENCE multiplies it, for slower machines.
HANG = 300 * int(os.environ.get("VIRTIO_TEST_PATIENCE") or 1)

DEFAULT_QEMU = "qemu-system-x86_64"


class _Processor(typing.NamedTuple):
    qemu: str
    machine: str
    ending: list  # QEMU's arguments for the device by which the guest ends with a status


X86 = _Processor(DEFAULT_QEMU, "pc", ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
AARCH64 = _Processor("qemu-system-aarch64", "virt", ["-cpu", "cortex-a72", "-semihosting-config", "enable=on,target=native"])
# The guest starts in machine mode, like the processor; `-bios default` in the further arguments starts OpenSBI instead.
RISCV64 = _Processor("qemu-system-riscv64", "virt", ["-bios", "none"])
BY_HEADER = {b"ARMd": AARCH64, b"RSC\x05": RISCV64}


def processor(image):
    """Returns the image's processor: Arm or RISC-V according to the header of the image, otherwise x86."""
    try:
        with open(image, "rb") as file:
            return BY_HEADER.get(file.read(60)[56:], X86)
    except OSError:  # QEMU reports the error
        return X86


def is_disk(image):
    """Returns whether the BIOS boots the image: it has a boot sector and is not a Linux kernel, which also has one."""
    try:
        with open(image, "rb") as file:
            head = file.read(0x206)
    except OSError:
        return False
    return head[510:512] == b"\x55\xaa" and head[0x202:] != b"HdrS"


def start_from(image, append, disk):
    """Returns the options to boot an image, by QEMU itself or as a disk of this kind."""
    if is_disk(image):
        return ["-blockdev", f"driver=raw,node-name=boot,file.driver=file,file.filename={image}", "-device", f"{disk},drive=boot,bootindex=0"]
    return ["-kernel", str(image), *(["-append", append] if append else [])]


def command(image, qemu, machine, memory, append, extra, control, accelerator="tcg", disk="ide-hd", usual=None):
    """Returns QEMU's command line.

    `qemu` may have options, such as -L folders. `control` is a kind of -chardev with its options.
    """
    return [
        *shlex.split(qemu), "-machine", machine, "-accel", accelerator, "-m", str(memory),
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", *(usual or processor(image)).ending,
        "-S", "-chardev", f"{control},id=guestrun", "-mon", "chardev=guestrun,mode=control",
        *start_from(image, append, disk), *extra,
    ]


def guest_status(returncode):
    """Returns the guest's status from QEMU's, or None if the guest did not set one. Valid only if QEMU has started."""
    return None if returncode < 0 or returncode % 2 == 0 else (returncode - 1) // 2


AGAIN = object()  # returned by a check: repeat the check


class _Control:
    """The control socket.

    Starts the guest after QEMU's answer, records why QEMU stopped, and runs the host's part of a script.

    A script is a list of steps, executed in order. Each has a condition, and actions to run when it becomes true:
    - (name, arguments): a command; waits for its answer;
    - (name, arguments, check): the same; `check` receives the answer and QEMU's process, and returns an error or AGAIN;
    - a function to call;
    - bytes for the guest's serial port.
    A condition is a pattern that the console must match after the match of the previous step, or "event NAME", or
    "event NAME STATUS" for events with a status.
    """

    def __init__(self, sock, serial, script=()):
        self.sock, self.serial, self.pending, self.ended_by = sock, serial, b"", ""
        self.started = self.going = False
        self.script, self.doing, self.unanswered = list(script), [], 0
        self.process, self.asked, self.check = None, None, None
        self.console, self.events, self.refusals = "", [], []
        self._send("qmp_capabilities")

    def _send(self, name, /, **arguments):
        command = {"execute": name, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
        self.unanswered += 1
        with contextlib.suppress(OSError):  # QEMU has exited; its status has the reason
            self.sock.sendall(json.dumps(command).encode() + b"\n")

    def _do(self, what):
        if callable(what):
            what()
        elif isinstance(what, bytes):
            with contextlib.suppress(OSError):  # as above
                self.serial.write(what)
        else:
            self.asked, self.check = what, what[2] if len(what) > 2 else None
            self._send(what[0], **what[1])

    def _step(self):
        while (self.doing or self.script) and not self.unanswered:
            if self.doing:
                self._do(self.doing.pop(0))
                continue
            condition, *commands = self.script[0]
            if condition.startswith("event "):
                if condition[6:] not in self.events:
                    return
                self.events.remove(condition[6:])
            else:
                found = re.search(condition, self.console, re.M)
                if not found:
                    return
                self.console = self.console[found.end():]
            del self.script[0]
            self.doing = commands

    def on_console(self, text):
        self.console += text
        self._step()

    def feed(self, data):
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in filter(None, map(bytes.strip, lines)):
            message = json.loads(line)
            if "return" in message:
                self.unanswered -= 1
                if self.check:
                    check, self.check = self.check, None
                    wrong = check(message["return"], self.process)
                    if wrong is AGAIN:
                        self.doing.insert(0, self.asked)
                    elif wrong:
                        self.refusals.append(wrong)
                self.going = self.started  # the second answer is for "cont"
                if not self.started:
                    self.started = True
                    self._send("cont")
            elif message.get("event") == "SHUTDOWN":
                self.ended_by = message["data"].get("reason", "")
            elif "error" in message:
                self.refusals.append(message["error"].get("desc", "?"))
            if "event" in message and self.going:
                status = message.get("data", {}).get("status")
                self.events += [message["event"], *([f"{message['event']} {status}"] if status else [])]
            self._step()


def boot(image, qemu=None, machine=None, memory=128, append="", timeout=HANG, extra=(), stream=None, errors=None,
         script=(), disk="ide-hd", accelerator="tcg", usual=None):
    """Boots `image` and waits for its end. Returns (status, console text).

    A disk image, which contains its command line, is booted as the device `disk`. `usual` is the processor of an image
    that does not identify its own, such as a disk for Arm.

    The status is the guest's own (0 to 127); 124 at the time-out; 125 if QEMU did not start, if the guest ended without
    a status, or if a step of the `script` (see _Control) was rejected or did not happen. Console text is written to
    `stream` as it arrives, errors to `errors` (default: stderr).
    """
    errors = errors or sys.stderr
    ours, theirs = socket.socketpair()
    usual = usual or processor(image)
    argv = command(image, qemu or os.environ.get("QEMU") or usual.qemu, machine or usual.machine, memory, append, extra,
                   f"socket,fd={theirs.fileno()}", accelerator, disk, usual)
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   bufsize=0, pass_fds=[theirs.fileno()])
    except OSError as failure:
        ours.close()
        print(f"run-guest: cannot start {argv[0]}: {failure.strerror}", file=errors)
        return NO_STATUS, ""
    finally:
        theirs.close()

    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    console, complaints = [], []
    deadline = time.monotonic() + timeout
    timed_out = finished = False

    def on_console(data):
        text = decode(data)
        console.append(text)
        control.on_console(text)
        if stream:
            stream.write(text)
            stream.flush()

    try:
        control = _Control(ours, process.stdin, script)
        control.process = process.pid
        with selectors.DefaultSelector() as wait:
            wait.register(process.stdout, selectors.EVENT_READ, on_console)
            wait.register(process.stderr, selectors.EVENT_READ, complaints.append)
            wait.register(ours, selectors.EVENT_READ, control.feed)
            while wait.get_map() and not timed_out and not control.refusals:
                ready = wait.select(max(0.0, deadline - time.monotonic()))
                timed_out = not ready and time.monotonic() >= deadline
                for key, _ in ready:
                    try:
                        data = os.read(key.fd, 65536)
                    except ConnectionResetError:  # QEMU ended before it read the last command
                        data = b""
                    if data:
                        key.data(data)
                    else:
                        wait.unregister(key.fileobj)
                # An endlessly printing guest keeps every select busy, so the clock is checked here too.
                timed_out = timed_out or (bool(wait.get_map()) and time.monotonic() >= deadline)
        finished = not timed_out and not control.refusals
    finally:
        if not finished:
            process.kill()
        process.wait()
        for end in (process.stdin, process.stdout, process.stderr, ours):
            end.close()

    text = "".join(console)
    said = b"".join(complaints).decode(errors="replace").rstrip("\n")
    if said:
        print(said, file=errors)
    if timed_out:
        print(f"run-guest: no end after {timeout:g} s, QEMU killed", file=errors)
        return TIMED_OUT, text
    if not control.started:
        print(f"run-guest: QEMU did not start (its status: {process.returncode})", file=errors)
        return NO_STATUS, text
    for refusal in control.refusals:
        print(f"run-guest: QEMU rejected: {refusal}", file=errors)
    for condition, *_ in control.script:
        print(f"run-guest: this never came: {condition}", file=errors)
    for what in control.doing:
        print(f"run-guest: QEMU ended before this: {what}", file=errors)
    if control.refusals or control.script or control.doing:
        return NO_STATUS, text
    status = guest_status(process.returncode)
    if status is None:
        why = control.ended_by or f"QEMU's status: {process.returncode}"
        print(f"run-guest: the guest ended without a status ({why})", file=errors)
        return NO_STATUS, text
    return status, text


def main(arguments):
    own, extra = arguments, []
    if "--" in arguments:  # split by hand: argparse would remove a "--" at any place
        at = arguments.index("--")
        own, extra = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(
        prog="run-guest", description="Boot a guest image in QEMU; the exit status is the guest's own.",
        epilog="Status 124: time-out. 125: QEMU did not start, or the guest died. What follows -- goes to QEMU.")
    parser.add_argument("image")
    parser.add_argument("--qemu", help="QEMU command, may have options (default: $QEMU, or the one for the image's processor)")
    parser.add_argument("--machine", help="pc, q35, microvm or virt, may have ,option=value (default: pc; virt for Arm and RISC-V)")
    parser.add_argument("--memory", type=int, default=128, metavar="MB")
    parser.add_argument("--append", default="", metavar="STR", help="the guest's command line")
    parser.add_argument("--timeout", type=float, default=HANG, metavar="S", help=f"time limit in seconds (default: {HANG:g})")
    options = parser.parse_args(own)
    if options.append and is_disk(options.image):
        parser.error("a disk has its command line in the image (tools/boot-image grub --append)")
    try:
        status, _ = boot(options.image, options.qemu, options.machine, options.memory, options.append,
                         options.timeout, extra, stream=sys.stdout)
    except KeyboardInterrupt:
        return 130  # the shell's status for an interrupt
    return status
