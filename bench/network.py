# SPDX-License-Identifier: MIT
"""examples/08_network beside Linux on the same QEMU, over the same link: one page of many MiB from the host to the guest, and one back, by
HTTP. The host takes the time. Ours is lwIP and polls; Linux has its own stack, busybox's wget and httpd, and sleeps.

Over vsock Linux has gvforwarder, which passes the frames of a tap on, as people use it. It is of gvproxy's source:
  CGO_ENABLED=0 go install github.com/containers/gvisor-tap-vsock/cmd/vm@v0.8.6
and GVFORWARDER names the program `vm` that this makes. Without it the figures over vsock are ours alone. frames.py has raw frames.
"""
import contextlib
import http.server
import os
import pathlib
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "tests/vsock", "tests/nested", "examples/08_network")]
import backend  # noqa: E402
import guestrun  # noqa: E402
import gvproxy  # noqa: E402
import host  # noqa: E402
import linux_guest  # noqa: E402
import linux_host  # noqa: E402

SIZE = 64 << 20
MEMORY = 256  # MiB
LINKS = {"card": "a virtio network card, QEMU's user network", "vsock": "gvproxy, over vsock"}
HOST_THERE = {"card": host.USER_NETWORK_HOST, "vsock": "192.168.127.254"}
BOUND = """#!/bin/sh
[ "$1" = bound ] && ip addr add $ip/24 dev $interface && ip route add default via $router
exit 0
"""
SCRIPT = """
ip link set lo up
{link}
udhcpc -q -n -i {interface} -s /bin/bound >/tmp/udhcpc 2>&1 || cat /tmp/udhcpc
wget -q -O /dev/null http://{host}:{port}/page
mkdir /www
head -c {size} /dev/zero >/www/data
httpd -p 80 -h /www
wget -q -O /dev/null http://{host}:{port}/fetch
"""
TAP = """
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
gvforwarder -preexisting=false -iface tap0 -url vsock://2:1024/connect >/tmp/forwarder 2>&1 &
until ip link show tap0 >/dev/null 2>&1; do sleep 0.1; done
ip link set tap0 up
"""


def missing():
    """Returns why this machine cannot run the benchmark; empty if it can."""
    for name in ("QEMU_10", "LINUX_HOST", "LWIP"):
        if not os.environ.get(name):
            return f"{name} is empty (on Debian 12 tools/setup fetches it)"
    return backend.missing() or gvproxy.missing()


class _Server(http.server.ThreadingHTTPServer):
    """Sends /page to the guest, and answers /fetch after /data has arrived from it; `took` has the seconds of both."""
    daemon_threads = True

    def __init__(self, port):
        self.guest_port, self.took = port, {}
        super().__init__(("127.0.0.1", 0), _Answer)


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        began = time.monotonic()
        if self.path == "/fetch":
            self.server.took["served"] = fetch(self.server.guest_port)
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE if self.path == "/page" else 0))
        self.end_headers()
        if self.path == "/page":
            block = bytes(1 << 20)
            for _ in range(SIZE >> 20):
                self.wfile.write(block)
            self.connection.shutdown(1)
            self.rfile.read()  # until the guest has closed: it has received all
            self.server.took["received"] = time.monotonic() - began

    def log_message(self, *_):
        pass


def fetch(port):
    """Returns the seconds of a transfer of /data from the guest."""
    began = time.monotonic()
    size = len(host.get(port, "/data"))
    if size != SIZE:
        raise RuntimeError(f"{size} bytes came from the guest, not {SIZE}")
    return time.monotonic() - began


@contextlib.contextmanager
def link(which):
    """Returns QEMU's arguments, and the port of this machine that is the guest's port 80 after `expose`."""
    port = host.free_port()
    if which == "card":
        yield host.card(port), port, lambda: None
    else:
        with backend.serve(host.CID) as vsock, gvproxy.serve(vsock.path(host.CID)) as network:
            yield vsock.arguments(host.CID, MEMORY), port, lambda: network.expose(f"127.0.0.1:{port}", "192.168.127.2:80")


def ours(which, image):
    """Returns the seconds: {"received": ..., "served": ...}."""
    with link(which) as (arguments, port, expose), _Server(port) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

        def visit():
            expose()
            server.took["served"] = fetch(port)
            host.get(port, "/end")

        append = (f"net={'virtio' if which == 'card' else which} url=http://{HOST_THERE[which]}:{server.server_port}/page length={SIZE} "
                  f"data={SIZE}")
        status, console = guestrun.boot(image, os.environ["QEMU_10"], "pc", MEMORY, append, extra=arguments,
                                        script=[("HTTP: serving at", visit)])
        server.shutdown()
        if status != 0:
            raise RuntimeError(f"our guest ended with {status}:\n{console[-2000:]}")
        return server.took


def linux(which):
    """The same for Linux; None without gvforwarder."""
    forwarder = os.environ.get("GVFORWARDER")
    if which == "vsock" and not forwarder:
        return None
    modules = ("virtio_pci", "virtio_net") if which == "card" else (*linux_guest.MODULES, "tun")
    files = {"/bin/bound": BOUND.encode()}
    if which == "vsock":
        files["/bin/gvforwarder"] = pathlib.Path(forwarder)
    with link(which) as (arguments, port, expose), _Server(port) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        expose()
        script = SCRIPT.format(link=TAP if which == "vsock" else "ip link set eth0 up", interface="tap0" if which == "vsock" else "eth0",
                               host=HOST_THERE[which], port=server.server_port, size=SIZE)
        status, console = linux_host.boot(pathlib.Path(os.environ["LINUX_HOST"]), pathlib.Path(folder), os.environ["QEMU_10"], script,
                                          (*modules, "af_packet"), files, arguments, MEMORY)
        server.shutdown()
        if status != 0 or len(server.took) != 2:
            raise RuntimeError(f"Linux ended with {status}:\n{console[-2000:]}")
        return server.took
