# SPDX-License-Identifier: MIT
"""The host's side of bench/guest/frames.cpp: the other end of a link's wire, which counts the frames that come, or sends some. And
linux_frames.c in Linux on the same wire: through its virtio-net, or over vsock through gvforwarder (see network.py) and a tap.
"""
import contextlib
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/vsock", "tests/nested")]
import backend  # noqa: E402
import guestrun  # noqa: E402
import linux_guest  # noqa: E402
import linux_host  # noqa: E402
import peer  # noqa: E402

CID, MEMORY = 4, 256
# Marker -> the phase's work, and the frames' size.
PHASES = {20: ("sent", 64), 22: ("received", 64), 30: ("sent", 1500), 32: ("received", 1500)}
PREFIX = {"card": ">I", "vsock": "<H"}  # of a frame, on QEMU's stream and on hyperkit's
CONTROL = 64
HEAD = b"\xff" * 6 + bytes(6) + b"\x88\xb5"  # broadcast, of a type for experiments, which Linux does not parse
LINUX_MEMORY = 512  # MiB: room for all frames of a phase, since Linux drops frames without room
QUIET = "for all in all default; do echo 1 >/proc/sys/net/ipv6/conf/$all/disable_ipv6; done 2>/dev/null\n"  # no frames of its own
# Until an interface has its queueing discipline, some time after `up`, it silently drops sent frames.
LINUX = {"card": QUIET + """
ip link set eth0 promisc on up
until ip link show eth0 | grep -q 'LOWER_UP.* qdisc [^n]'; do sleep 0.1; done
linux_frames eth0 {frames}
""",
         "vsock": QUIET + """
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
PATH=/quiet:$PATH gvforwarder -preexisting=false -iface tap0 -url vsock://2:1024/connect >/tmp/forwarder 2>&1 &
until ip link show tap0 2>/dev/null | grep -q UP; do sleep 0.1; done
linux_frames tap0 {frames} bypass || { cat /tmp/forwarder; exit 1; }
"""}


def exactly(wire, count):
    got = b""
    while len(got) < count:
        more = wire.recv(count - len(got))
        if not more:
            raise EOFError
        got += more
    return got


def serve(wire, prefix):
    """Serves the guest until it closes. Each control frame announces a phase: 'S' that the guest sends so many frames, 'R'
    that it receives so many."""
    head = struct.calcsize(prefix)

    def framed(size):
        return struct.pack(prefix, size) + HEAD + bytes(size - len(HEAD))

    with contextlib.suppress(EOFError, OSError):
        while True:
            exactly(wire, head)
            what, count, size = struct.unpack_from("<cIH", exactly(wire, CONTROL), 14)
            if what not in (b"S", b"R"):
                print(f"frames: no control frame: {what!r}", file=sys.stderr)
                return
            if what == b"R":
                wire.sendall(framed(size) * count)
                continue
            left = count * (head + size)
            while left != 0:
                more = wire.recv(min(left, 1 << 20))
                if not more:
                    raise EOFError
                left -= len(more)
            wire.sendall(framed(CONTROL))


@contextlib.contextmanager
def link(which, memory=MEMORY):
    """Returns QEMU's arguments for a guest whose link ends here."""
    with contextlib.ExitStack() as stack:
        if which == "card":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="virtio-"))
            path = f"{folder}/wire"
            arguments = ["-netdev", f"stream,id=n,server=off,addr.type=unix,addr.path={path}", "-device", "virtio-net-pci,netdev=n"]
        else:
            vsock = stack.enter_context(backend.serve(CID))
            path, arguments = f"{vsock.path(CID)}_1024", vsock.arguments(CID, memory)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen()

        def accept():
            with contextlib.suppress(OSError):
                wire, _ = listener.accept()
                with wire:
                    if which == "vsock":
                        request = b""
                        while not request.endswith(b"\r\n\r\n"):
                            request += exactly(wire, 1)
                    serve(wire, PREFIX[which])

        threading.Thread(target=accept, daemon=True).start()
        yield arguments


def boot(image, which, frames, extra=(), errors=None):
    """Boots the guest once. Returns phase -> seconds."""
    with link(which) as arguments:
        append = f"frames={frames}" + (" net=vsock" if which == "vsock" else "")
        status, console = guestrun.boot(image, machine="pc", memory=MEMORY, append=append, extra=[*arguments, *extra], errors=errors)
    took = {int(line.split()[1]): int(line.split()[2]) / 1e9 for line in console.splitlines() if line.startswith("frames ")}
    if status != 0 or took.keys() != PHASES.keys():
        raise RuntimeError(f"the guest with frames ended with {status}:\n{console[-2000:]}")
    return took


def missing_linux(which):
    """Returns why Linux cannot run this benchmark here; empty if it can."""
    if not os.environ.get("LINUX_HOST") or not os.environ.get("QEMU_10"):
        return "LINUX_HOST or QEMU_10 is empty (tools/setup --print)"
    return "GVFORWARDER names no program: see bench/network.py" if which == "vsock" and not os.environ.get("GVFORWARDER") else ""


def boot_linux(which, frames):
    """The same for Linux."""
    made = peer.BUILD / "linux_frames"
    made.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", *peer.FLAGS, ROOT / "bench" / "linux_frames.c", "-o", made], check=True)
    files = {"/bin/linux_frames": made}
    modules = ("virtio_pci", "virtio_net")
    if which == "vsock":
        modules = (*linux_guest.MODULES, "tun")
        files |= {"/bin/gvforwarder": pathlib.Path(os.environ["GVFORWARDER"]), "/quiet/udhcpc": b"#!/bin/sh\nexit 0\n"}
    with link(which, LINUX_MEMORY) as arguments, tempfile.TemporaryDirectory() as folder:
        status, console = linux_host.boot(pathlib.Path(os.environ["LINUX_HOST"]), pathlib.Path(folder), os.environ["QEMU_10"],
                                          LINUX[which].replace("{frames}", str(frames)), (*modules, "af_packet"), files, arguments,
                                          LINUX_MEMORY)
    took = {int(line.split()[1]): int(line.split()[2]) / 1e9 for line in console.splitlines() if line.startswith("frames ")}
    if status != 0 or took.keys() != PHASES.keys():
        raise RuntimeError(f"Linux with frames ended with {status}:\n{console[-2000:]}")
    return took
