# SPDX-License-Identifier: MIT
"""Runs in the emulated machine (usbip.py): passes vhci_hcd one end of a pair of sockets for each device of usbip_serve,
which has the other end. Only URBs are exchanged there: no import takes place.

usage: usbip_pairs.py SERVE tcp|unix DEVICE...     (DEVICE: INDEX:SPEED, the speed by vhci_hcd's number)
Prints `port PORT` for each. The programs continue after this one ends.
"""
import importlib.machinery
import socket
import subprocess
import sys

tool = importlib.machinery.SourcelessFileLoader("usbip_vsock", "/usbip-vsock.pyc").load_module()


def pair(kind):
    if kind == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    for one in (ours, theirs):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def main(serve, kind, *devices):
    vhci = tool.Vhci()
    for one in devices:
        index, speed = map(int, one.split(":"))
        ours, theirs = pair(kind)
        with ours, theirs, open(f"/tmp/serve-{kind}-{index}", "w") as output:
            subprocess.Popen([serve, "--fd", str(theirs.fileno()), "--bridge", "--device", str(index)], pass_fds=[theirs.fileno()],
                             stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            device = tool.Device("", "", 1, index + 1, speed, 0, 0, 0, (0, 0, 0), 1, 1, 1)
            print("port", vhci.attach(ours, device), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
