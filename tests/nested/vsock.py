#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guests on the kernel's own vhost-vsock: an emulated Linux is the host and runs the peer of the vsock tests
(tests/vsock) and QEMU with vhost-vsock-pci, one guest after another in one boot of the host.

    told = vsock.run(linux, qemu, folder, [vsock.Guest("echo", image, append="..."), ...])
    told["echo"].status, told["echo"].console

The host's shell also has linux_guest, whose `turns` and so on reach a guest as well as a host, and everything of
busybox.

usage: vsock.py [--more] 7.2|10    boots our guest, with --more also a Linux, which is saved and restored in mid-connection; what it
                                   takes is in the environment: QEMU_7, QEMU_10 and LINUX_HOST, as tools/setup --print gives them
       vsock.py --new 7.2|10       on the kernel that LINUX_HOST_NEW names, 6.12 or later, and not all of our guests
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import argparse
import dataclasses
import os
import pathlib
import re
import struct
import sys
import time

import inner
import linux_host
sys.path[:0] = [str(linux_host.ROOT / "tests" / folder) for folder in ("vsock", "qemu")]
import backend  # noqa: E402
import linux_guest  # noqa: E402
import matrix  # noqa: E402
import peer  # noqa: E402
import test_guest  # noqa: E402

MODULES = ("vhost_vsock", "vsock_loopback", "tun", "af_packet")
SCRIPT = """
mkfifo hold
peer vsock <>hold >peer.out 2>&1 &
until grep -q ready peer.out; do
  if ! kill -0 $!; then cat peer.out; exit 1; fi
  sleep 0.05
done
"""
# For `extra` and `disk` of a guest that is saved and restored: see monitor().
SNAPSHOTS = ["-blockdev", "node-name=snapshots,driver=qcow2,file.driver=file,file.filename=disk.img"]


def monitor(line):
    """A step's QMP command for a line of QEMU's monitor, such as savevm NAME or loadvm NAME."""
    return {"execute": "human-monitor-command", "arguments": {"command-line": line}}


def empty_qcow2():
    """An empty disk image with room for snapshots: header, table of reference counts, the counts, the first table."""
    cluster = 1 << 16
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, 1 << 20, 0, 1, 3 * cluster, cluster, 1, 0, 0)
    parts = header, struct.pack(">Q", 2 * cluster), struct.pack(">4H", 1, 1, 1, 1), b""
    return b"".join(part.ljust(cluster, b"\0") for part in parts)


@dataclasses.dataclass
class Guest:
    name: str
    image: pathlib.Path
    append: str = ""   # its command line
    cid: int = 4
    machine: str = "pc"
    memory: int = 128  # MiB
    options: str = ""  # of the vsock device
    extra: list = dataclasses.field(default_factory=list)   # more for QEMU
    disk: bytes = None  # the content of disk.img, in QEMU's working folder
    steps: list = dataclasses.field(default_factory=list)   # the host's actions meanwhile: see inner.guest()
    seconds: int = inner.GUEST_TIME  # limit


@dataclasses.dataclass
class Told:
    status: int     # as guestrun.boot() returns it
    console: str
    said: str       # by the shell lines of its steps
    replies: str    # QEMU's, on its control socket
    wrong: list     # why the record is not valid, or QEMU's errors; none if all is right


def prepare(qemu, guests, before="", files=None, first=0):
    """A host's script and its files: it runs `before` in its shell (with `files`: {path: bytes or file}), then every
    guest. Their numbers in its record start after `first`, which is that of `before`."""
    script = [SCRIPT, f"{{ {before or ':'}\n}} >before 2>&1\necho $? >>before\nbase64 before | sed 's/^/{first} said /'\n"]
    files = linux_guest.files() | {"/bin/crowd": peer.program("crowd")} | (files or {})
    for number, guest in enumerate(guests, first + 1):
        image, disk = f"/guests/{pathlib.Path(guest.image).name}", f"/disks/{number}" if guest.disk is not None else ""
        files[image] = pathlib.Path(guest.image)
        if disk:
            files[disk] = guest.disk
        command = inner.command(image, guest.image, qemu, guest.machine, guest.memory, guest.append,
                                [*backend.kernel_arguments(guest.cid, guest.options), *guest.extra])
        script.append(inner.guest(number, command, disk, guest.steps, guest.seconds))
    return "".join(script), files


def more_time(guests):
    """Their additional arguments."""
    return sum(max(guest.seconds - inner.GUEST_TIME, 0) for guest in guests)


def outcomes(status, console, guests, first=0):
    """Returns the host's record of each guest by its name, and of itself by the name "": there `said` is the output of
    `before`, followed by its status."""
    told = inner.told(console)
    return {"": Told(status, console, told[first]["said"], "", [] if status == 0 else [f"the host's status is {status}"])} | {
        guest.name: outcome(told[number]) for number, guest in enumerate(guests, first + 1)}


def run(linux, qemu, folder, guests, before="", files=None):
    """Boots a host for prepare()'s script: gives its outcomes()."""
    script, files = prepare(qemu, guests, before, files)
    status, console = inner.boot(pathlib.Path(linux), pathlib.Path(folder), qemu, inner.SCRIPT + script, len(guests), MODULES, files,
                                 more_time(guests))
    return outcomes(status, console, guests)


def outcome(one):
    wrong = inner.complaints(one)
    return Told(inner.status(one) if one["status"] else inner.guestrun.NO_STATUS, one["console"], one["said"], one["control.out"],
                wrong + one["complaints"].splitlines())


# ---- the test ----

SMALL = "small pieces for a peer that is late"
CROWD, CROWD_RESET = "our crowd", "our crowd, reset"
CROWDS = {CROWD: ["full=64", "idle=60", f"bulk={4 << 20}", "short=64", "slow=16", "alive", "strict", "kill=288", "short=64", "alive",
                  "stop"],
          CROWD_RESET: ["idle=60", "until=again", "gone", "idle=60", "short=16", "alive", "stop"]}


def crowd(name, image):
    """crowd.cpp as the guest, and its clients in the host, whose output is in `said`."""
    # Its own file, made before the crowd starts, so that an earlier crowd's output is not taken for this one's.
    begin = f": >crowd.out; crowd vsock 4 {' '.join(CROWDS[name])} >>crowd.out 2>&1 3<&- &"
    if name == CROWD:
        return Guest(name, image, "calls=1", steps=[("^serves", begin, "wait $!; cat crowd.out")], seconds=2 * inner.GUEST_TIME)
    idle = "until grep -q '^idle' crowd.out || ! kill -0 $guest 2>/dev/null; do sleep 0.05; done"
    return Guest(name, image, "calls=1", steps=[
        ("^serves", begin + "crowd=$!", idle, {"execute": "set-action", "arguments": {"reboot": "reset"}},
         "grep -c '^serves' console >served", {"execute": "system_reset"},
         "until [ $(grep -c '^serves' console) -gt $(cat served) ] || ! kill -0 $guest 2>/dev/null; do sleep 0.05; done",
         "touch again; wait $crowd; cat crowd.out")], seconds=2 * inner.GUEST_TIME)


# Services for a host that passes on the end of one direction.
WORDS = [*(word for word in test_guest.EVERYTHING if word != "no_messages"), *test_guest.SILENCE,
         "messages", "sink_to_the_end", "half"]
RESTORED = "our guest, saved and restored"
OURS = {"our guest": {}, "our guest on q35, event_idx=off": {"machine": "q35", "options": "event_idx=off"}}


def has_bound(version):
    """Whether the kernel's vsock resets a connection whose unread packets need more memory than its window: 6.12.92 and
    later."""
    return tuple(int(one) for one in re.match(r"(\d+)\.(\d+)\.(\d+)", version).groups()) >= (6, 12, 92)


def ours(linux, tree):
    version = linux_host.installed(linux)
    image = tree / "tests/qemu/vsock_guest"
    restored = Guest(RESTORED, image, "cid=4 run=is_restored", extra=SNAPSHOTS, disk=empty_qcow2(),
                     steps=[("^turning", monitor("savevm a"), "again console ^turning", monitor("loadvm a"))])
    small = Guest(SMALL, image, f"cid=4 run=small_and_late,naive bound={int(has_bound(version))}")
    return [*(Guest(name, image, f"cid=4 run={','.join(WORDS)}", **how) for name, how in OURS.items()), restored, small,
            *(crowd(name, tree / "tests/qemu/vsock_crowd") for name in CROWDS)]


def linux_inside(linux):
    """Linux as the guest, and its files in the host."""
    script = "linux_guest check 2 whole\nlinux_guest turn 2\necho restored\nlinux_guest wait 9999\necho end\n"
    turning = f"^{linux_host.MARK}turning"
    guest = Guest("Linux", linux / f"boot/vmlinuz-{linux_host.installed(linux)}", linux_host.COMMAND_LINE, memory=192,
                  extra=["-initrd", "/guests/initramfs", *SNAPSHOTS], disk=empty_qcow2(), seconds=2 * inner.GUEST_TIME,
                  steps=[(turning, monitor("savevm a"), f"again console '{turning}'", monitor("loadvm a")),
                         (f"^{linux_host.MARK}restored", "until linux_guest knock 4 9999; do sleep 0.2; done 2>/dev/null")])
    return guest, {"/guests/initramfs": linux_host.initramfs(linux, script, linux_guest.MODULES, linux_guest.files())}


def complaints(told):
    for name, one in told.items():
        yield from (f"{name or 'the host'}: {line}" for line in one.wrong)
    if told[""].said != linux_guest.ON_KERNEL + "0\n":
        yield "through the loopback the services are not as they must be"
    for name in OURS.keys() & told.keys():
        said = [line[3:] for line in told[name].console.splitlines() if line.startswith("ok ")]
        if told[name].status != 0 or said != WORDS:
            yield f"{name}: status {told[name].status}, and {' '.join(said)}"
    if RESTORED in told and (told[RESTORED].status != 0 or
                             not re.search(r"(?s)turning\s.*turning\s.*ok is_restored\s", told[RESTORED].console)):
        yield f"{RESTORED}: status {told[RESTORED].status}"
    if told[SMALL].status != 0 or not told[SMALL].console.endswith("ok naive\n"):
        yield f"{SMALL}: status {told[SMALL].status}"
    for name in CROWDS:
        if told[name].status != 0 or not told[name].said.endswith("crowd: all well\n"):
            yield f"{name}: status {told[name].status}: {told[name].said}"
    if "Linux" in told:
        # Restored from the saved state, it continues without its connection.
        wanted = linux_guest.ON_KERNEL + r"(turning\n){2,}turn: .*\nrestored\nend\n"
        if not re.match(wanted, linux_host.said(told["Linux"].console)):
            yield "Linux does not say what it should"


BEFORE = "linux_guest check 1 whole"


def everything(linux, tree, more):
    """The guests of the test, and their files."""
    guests, files = ours(linux, tree), {}
    if more:
        guest, files = linux_inside(linux)
        guests.append(guest)
    return guests, files


def on_new_kernel(linux, tree):
    """The guests for a second kernel: one with everything, and those that it may treat otherwise."""
    return [guest for guest in ours(linux, tree) if guest.name not in (RESTORED, list(OURS)[1])]


def report(told):
    """Prints the results of the guests; returns the exit status."""
    wrong = list(complaints(told))
    for name, one in told.items():
        lines = (one.said + (one.console if name else "")).splitlines()
        print(f"{name or 'the host'}: status {one.status}", *lines, sep="\n      | ")
    for line in wrong:
        print("WRONG:", line)
    if wrong:
        print("The host's console:", *told[""].console.splitlines()[-40:], sep="\n")
    return 1 if wrong else 0


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--more", action="store_true")
    parser.add_argument("--new", action="store_true")
    parser.add_argument("qemu", choices=matrix.VARIABLES)
    parser.add_argument("--tree", type=pathlib.Path, help="where the guests were built (default: where tools/test does)",
                        default=matrix.BUILDS["x86_64"])
    options = parser.parse_args(arguments)
    kernel = "LINUX_HOST_NEW" if options.new else "LINUX_HOST"
    why = inner.missing(options.qemu, kernel)
    if why:
        return matrix.skip(why)
    linux = pathlib.Path(os.environ[kernel])
    version = linux_host.installed(linux)
    print(f"the host is Linux {version}, which {'has a' if has_bound(version) else 'has no'} bound on the memory of small packets")

    guests, files = (on_new_kernel(linux, options.tree), {}) if options.new else everything(linux, options.tree, options.more)
    with matrix.folder_for(options.tree, f"vsock-{options.qemu}{'-new' if options.new else ''}") as (folder, wrong):
        began = time.monotonic()
        told = run(linux, os.environ[matrix.VARIABLES[options.qemu]], folder, guests, BEFORE, files)
        took = time.monotonic() - began
        status = report(told)
        print(f"{took:.1f} s")
        if status:
            wrong.append("reported")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
