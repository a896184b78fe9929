#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How fast a disk is read over USB/IP: from our guest, examples/09_usbip, against Linux's own server with QEMU's USB disk, on the same
image. The client is one Linux with vhci_hcd, which attaches each in turn over TCP on this machine and reads with `dd`. Our guest is
behind vhost-device-vsock and tools/usbip-vsock bridge, Linux's server behind QEMU's user network. All three machines are emulated, so
what counts is the ratio.

usage: usb_disk.py [--megabytes N] [--pairs N] [--tree TREE] 7.2|10
What it takes is in the environment: QEMU_7 or QEMU_10, VHOST_DEVICE_VSOCK, LINUX_HOST_FULL, as tools/setup --print gives them; usbip.
Status 77: something is not there.
"""
import argparse
import contextlib
import io
import os
import pathlib
import re
import socket
import statistics
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/vsock", "tests/nested", "tests/qemu", "examples/09_usbip")]
import backend  # noqa: E402
import guestrun  # noqa: E402
import host  # noqa: E402
import matrix  # noqa: E402
import usbip  # noqa: E402

CID = 4
PATIENCE = 3600  # seconds: the limit of a machine
UP = "ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up\n"
# Linux's server: exports until a client connects to the second port.
SERVER = UP + usbip.EXPORT + """
echo "serving $busids"
nc -l -p 3241 </dev/null
exit 0
"""
ONCE = """
once() {{  # name, TCP port, bus id
  quiet usbip --tcp-port $2 attach -r 10.0.2.2 -b $3
  port=$(taken)
  attached $port 006
  name=$(disk)
  begin=$(cut -d' ' -f1 /proc/uptime)
  dd if=/dev/$name of=/dev/null bs=1M count={megabytes} iflag=direct 2>/dev/null || exit 1
  echo "read $1 $begin $(cut -d' ' -f1 /proc/uptime)"
  quiet usbip detach -p $port
  attached $port 004
  no_disk
}}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


class Told(io.StringIO):
    """The console of Linux's server, from which the bus id is read."""

    def __init__(self):
        super().__init__()
        self.text, self.busid, self.come = "", "", threading.Event()

    def write(self, text):
        self.text += text
        found = re.search(r"^@ serving (\S+)\r?\n", self.text, re.M)
        if found or "host: ended" in self.text:
            self.busid = found[1] if found else ""
            self.come.set()
        return len(text)


@contextlib.contextmanager
def linux_server(folder, qemu, image):
    """Provides the TCP port and the bus id of the image by Linux's own server."""
    port, stop, told = free_port(), free_port(), Told()
    folder.mkdir()
    extra = ["-netdev", f"user,id=network,hostfwd=tcp:127.0.0.1:{port}-:3240,hostfwd=tcp:127.0.0.1:{stop}-:3241",
             "-device", "virtio-net-pci,netdev=network,romfile=", *usbip.exported(f"{image},snapshot=on")]
    thread = threading.Thread(target=lambda: usbip.boot(folder, qemu, SERVER, (*usbip.NETWORK, *usbip.EXPORTS), extra=extra, memory=512,
                                                        timeout=PATIENCE, stream=told))
    thread.start()
    try:
        if not told.come.wait(guestrun.HANG) or not told.busid:
            raise RuntimeError(f"Linux's server did not come up:\n{told.text[-2000:]}")
        yield port, told.busid
    finally:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", stop), 5).close()
        thread.join()


@contextlib.contextmanager
def our_server(qemu, tree, image):
    """The same for the library's guest."""
    with backend.serve(CID) as vsock:
        serving = threading.Event()
        drive = ["-drive", f"if=none,id=disk,format=raw,snapshot=on,file={image}", "-device", "virtio-blk-pci,drive=disk"]
        thread = threading.Thread(target=lambda: guestrun.boot(tree / "examples/09_usbip", qemu, "pc", append="host=stays", timeout=PATIENCE,
                                                               extra=[*vsock.arguments(CID), *drive], script=[("^serving", serving.set)]))
        thread.start()
        try:
            if not serving.wait(guestrun.HANG):
                raise RuntimeError("our guest does not serve")
            vsock.wait_for_queues(CID)
            with host.bridge(vsock.path(CID)) as port:
                yield port, "1-1"
        finally:
            with contextlib.suppress(OSError):
                vsock.connect(CID, 3241).close()
            thread.join()


def measure(options, qemu, folder):
    """Returns megabytes a second of each read: {"ours": [...], "linux": [...]}."""
    image = folder / "disk.img"
    with image.open("wb") as file:
        for _ in range(options.megabytes):
            file.write(os.urandom(1 << 20))
    with linux_server(folder / "server", qemu, image) as theirs, our_server(qemu, options.tree, image) as ours:
        script = UP + ONCE.format(megabytes=options.megabytes)
        for pair in range(options.pairs):
            both = [("ours", *ours), ("linux", *theirs)]
            for name, port, busid in both if pair % 2 == 0 else both[::-1]:
                script += f"once {name} {port} {busid}\n"
        (folder / "client").mkdir()
        status, said = usbip.boot(folder / "client", qemu, script, usbip.NETWORK, extra=host.NETWORK, timeout=PATIENCE,
                                  stream=sys.stderr if options.show else None)
    if status != 0:
        raise RuntimeError(f"the client ended with {status}:\n{said[-2000:]}")
    found = {"ours": [], "linux": []}
    for name, begin, end in re.findall(r"^read (\w+) (\S+) (\S+)$", said, re.M):
        found[name].append(options.megabytes / (float(end) - float(begin)))
    return found


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tree", type=pathlib.Path, default=matrix.BUILDS["x86_64"])
    parser.add_argument("--show", action="store_true", help="the client's console")
    parser.add_argument("qemu", choices=matrix.VARIABLES)
    options = parser.parse_args(arguments)
    qemu = os.environ.get(matrix.VARIABLES[options.qemu])
    why = backend.missing() or usbip.missing() or ("" if qemu else f"no QEMU {options.qemu} on this machine")
    if why:
        return matrix.skip(why)
    with tempfile.TemporaryDirectory(prefix="virtio-bench-") as name:
        found = measure(options, qemu, pathlib.Path(name))
    ratios = [mine / its for mine, its in zip(found["ours"], found["linux"])]
    for name, values in found.items():
        print(f"{name:6}", *(f"{value:8.2f}" for value in values), "MB/s")
    print("ratio ", *(f"{value:8.2f}" for value in ratios))
    print(f"median ratio {statistics.median(ratios):.2f} over {len(ratios)} pairs of {options.megabytes} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
