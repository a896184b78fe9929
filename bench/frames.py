# SPDX-License-Identifier: MIT
"""The host's side of bench/guest/frames.cpp: the other end of a link's wire, which counts the frames that come, or sends some."""
import contextlib
import pathlib
import socket
import struct
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/vsock")]
import backend  # noqa: E402
import guestrun  # noqa: E402

CID, MEMORY = 4, 256
# With the marker in front of it: what is done, and the frames' size.
PHASES = {20: ("sent", 64), 22: ("received", 64), 30: ("sent", 1500), 32: ("received", 1500)}
PREFIX = {"card": ">I", "vsock": "<H"}  # of a frame, on QEMU's stream and on hyperkit's
CONTROL = 64


def exactly(wire, count):
    got = b""
    while len(got) < count:
        more = wire.recv(count - len(got))
        if not more:
            raise EOFError
        got += more
    return got


def serve(wire, prefix):
    """Until the guest closes: each control frame tells what follows, 'S' that so many frames come, 'R' that as many are wanted."""
    head = struct.calcsize(prefix)

    def framed(size):
        return struct.pack(prefix, size) + bytes(size)

    with contextlib.suppress(EOFError, OSError):
        while True:
            exactly(wire, head)
            what, count, size = struct.unpack_from("<cIH", exactly(wire, CONTROL), 14)
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
def link(which):
    """QEMU's arguments for a guest whose link leads here."""
    with contextlib.ExitStack() as stack:
        if which == "card":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="virtio-"))
            path = f"{folder}/wire"
            arguments = ["-netdev", f"stream,id=n,server=off,addr.type=unix,addr.path={path}", "-device", "virtio-net-pci,netdev=n"]
        else:
            vsock = stack.enter_context(backend.serve(CID))
            path, arguments = f"{vsock.path(CID)}_1024", vsock.arguments(CID, MEMORY)
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
    """One boot of the guest: phase -> seconds."""
    with link(which) as arguments:
        append = f"frames={frames}" + (" net=vsock" if which == "vsock" else "")
        status, console = guestrun.boot(image, machine="pc", memory=MEMORY, append=append, extra=[*arguments, *extra], errors=errors)
    took = {int(line.split()[1]): int(line.split()[2]) / 1e9 for line in console.splitlines() if line.startswith("frames ")}
    if status != 0 or took.keys() != PHASES.keys():
        raise RuntimeError(f"the guest with frames ended with {status}:\n{console[-2000:]}")
    return took
