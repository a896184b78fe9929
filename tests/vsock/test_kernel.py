#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo's guest, examples/04_vsock_server, examples/08_network and a firmware in C on the kernel's vhost-vsock, in a
Linux that is itself a guest: the command that the demo prints, a web client through socat, a network by gvproxy and by
a tap, as on a machine with these, and a closed port.

usage: test_kernel.py 7.2|10 TREE
  TREE  where the guests were built
What it takes is in the environment: QEMU_7 or QEMU_10, LINUX_HOST, GVPROXY, as tools/setup --print prints them; socat
and mtools.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/net", "tests/vsock", "tests/nested", "tests/qemu", "examples/demo")]
import host  # noqa: E402
import inner  # noqa: E402
import gvproxy  # noqa: E402
import linux_host  # noqa: E402
import matrix  # noqa: E402
import test_network  # noqa: E402
import test_server  # noqa: E402
import vsock  # noqa: E402

CID = 4
DISK = ["-drive", "if=none,id=disk,format=raw,file=disk.img,readonly=on", "-device", "virtio-blk-pci,drive=disk"]


PAGE = os.urandom(2_000_003)
DATA = test_network.pattern(3_000_001)


def files():
    """The host's files: programs with their libraries, and a page."""
    socat = shutil.which("socat")
    return {**linux_host.program(socat), "/bin/socat": pathlib.Path(socat).resolve(), **linux_host.program(os.environ[gvproxy.VARIABLE]),
            "/www/page": PAGE, "/bin/held": HELD.encode(),
            "/etc/resolv.conf": b"nameserver 127.0.0.1\n", "/etc/hosts": b""}  # without which gvproxy ends


HELLO = f"Hello from inside the guest, CID {CID}: I have read 2 of my disk's 2 MiB, and you are visitor"
RESET = "the network, reset in mid-transfer"
WHOLE = test_server.pattern("kernel", 8_000_001)
BEFORE = "ip link set lo up"  # in the host
# Through its second socket gvproxy receives the order to forward a port of the host to the guest's port 80.
NETWORK = """
httpd -p 127.0.0.1:8081 -h /www
{gvproxy} -listen vsock://:1024 -listen unix:///tmp/gvproxy.sock -ssh-port -1 >gvproxy.out 2>&1 3<&- &
until [ -S /tmp/gvproxy.sock ]; do kill -0 $! || {{ cat gvproxy.out; kill $guest; break; }}; sleep 0.05; done
"""
EXPOSED = '{"local":"127.0.0.1:8090","remote":"192.168.127.2:80","protocol":"tcp"}'
EXPOSE = (f"printf 'POST /services/forwarder/expose HTTP/1.0\\r\\nContent-Length: {len(EXPOSED)}\\r\\n\\r\\n{EXPOSED}' | "
          "socat -t 60 - UNIX-CONNECT:/tmp/gvproxy.sock | grep -q ' 200 ' || echo 'gvproxy has not exposed the port'")
# A server of one page that sends the rest of it once /tmp/go exists, or the guest has ended.
HELD = f"""#!/bin/sh
read line
printf 'HTTP/1.0 200 OK\\r\\nContent-Length: {len(PAGE)}\\r\\n\\r\\n'
head -c 1500000 /www/page
until [ -e /tmp/go ] || ! kill -0 $guest; do sleep 0.05; done
tail -c +1500001 /www/page
"""
SERVE_HELD = "export guest; socat TCP-LISTEN:8083,bind=127.0.0.1,fork,reuseaddr EXEC:/bin/held 3<&- 2>/dev/null &"


def guest(name, tree, image, append, disk, *steps):
    return vsock.Guest(name, tree / "examples" / image, append, cid=CID, disk=disk, steps=[steps],
                       extra=[*DISK, "-device", "virtio-rng-pci"])


def demo(tree):
    command = host.kernel_vsock(CID).command
    return guest("the demo", tree, "demo", "stay=yes", os.urandom(2 << 20),
                 "^Done; still", command, command, f"socat -u VSOCK-CONNECT:{CID}:{host.ENDING_PORT} -")


def server(tree):
    with tempfile.TemporaryDirectory(prefix="virtio-kernel-") as name:
        folder = pathlib.Path(name)
        (folder / "files").mkdir()
        (folder / "files" / "a long name").write_bytes(WHOLE)
        test_server.make_image(folder / "disk.img", folder / "files", 40, "-F", "-c", "1")
        disk = (folder / "disk.img").read_bytes()
    get = "wget -q -O - http://127.0.0.1:8080/a%20long%20name | sha256sum"
    return guest("the server", tree, "04_vsock_server", "", disk,
                 "^serving", "socat TCP-LISTEN:8080,bind=127.0.0.1,fork,reuseaddr VSOCK-CONNECT:4:80 3<&- 2>/dev/null &",
                 "until netstat -ltn | grep -q :8080 || ! kill -0 $guest 2>/dev/null; do sleep 0.05; done",
                 get, "wget -q -O - http://127.0.0.1:8080/a%20long%20name | head -c 100000 | wc -c", get,
                 f"socat -u VSOCK-CONNECT:{CID}:{test_server.STOP} -")


def network(tree):
    append = f"net=vsock url=http://192.168.127.254:8081/page length={len(PAGE)} sha256={test_server.sha256(PAGE)} stall=60"
    begin = NETWORK.format(gvproxy=os.environ[gvproxy.VARIABLE])
    return vsock.Guest("the network", tree / "examples/08_network", append, cid=CID,
                       steps=[("^08_network|DHCP|link", begin), ("^HTTP: serving at", EXPOSE, "wget -q -O - http://127.0.0.1:8090/",
                                                                  "wget -q -O /dev/null http://127.0.0.1:8090/end")])


def network_reset(tree):
    """The machine is reset in mid-transfer: this host's back end continues (vhost-device-vsock 0.3.0 ends its thread).
    gvproxy still runs from the previous guest."""
    append = f"net=vsock url=http://192.168.127.254:8083/page length={len(PAGE)} sha256={test_server.sha256(PAGE)} stall=60"
    return vsock.Guest(RESET, tree / "examples/08_network", append, cid=CID, steps=[
        ("^08_network|DHCP|link", SERVE_HELD),
        ("  1 MiB of", {"execute": "set-action", "arguments": {"reboot": "reset"}}, {"execute": "system_reset"}, "touch /tmp/go"),
        ("^HTTP: serving at", "wget -q -O /dev/null http://127.0.0.1:8090/end")])


TAP = """
ip addr add 10.9.0.1/24 dev tap0
ip link set tap0 up
httpd -p 10.9.0.1:8082 -h /www
printf 'interface tap0\\nstart 10.9.0.2\\nend 10.9.0.2\\noption subnet 255.255.255.0\\noption router 10.9.0.1\\nlease_file /tmp/leases\\n' >udhcpd.conf
: >/tmp/leases
udhcpd -f udhcpd.conf >/dev/null 2>&1 3<&- &
"""


def card(tree):
    """A network card on a tap: this kernel leaves checksums to the other end and accepts packets without them, which no
    back end without privileges does."""
    append = f"net=virtio url=http://10.9.0.1:8082/page length={len(PAGE)} sha256={test_server.sha256(PAGE)} data={len(DATA)} stall=60"
    return vsock.Guest("the card", tree / "examples/08_network", append, cid=CID,
                       extra=["-netdev", "tap,id=tap,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=tap,romfile="],
                       steps=[("^link: a virtio", TAP), ("^HTTP: serving at", "wget -q -O - http://10.9.0.2/data | sha256sum",
                                                         "wget -q -O /dev/null http://10.9.0.2/end")])


def firmware(tree):
    """A firmware in C, for which this host rejects a connection to a closed port. vhost-device-vsock does not
    answer."""
    return vsock.Guest("the firmware", tree / "tests/qemu/qemu_c_faults", "run=closed_port", cid=CID)


def guests(tree):
    return [demo(tree), server(tree), network(tree), network_reset(tree), card(tree), firmware(tree)]


def missing(version):
    """Returns why this cannot run here, or None."""
    return next((why for why in (inner.missing(version), gvproxy.missing(), *(
        None if shutil.which(program) else f"no {program} on this machine" for program in ("socat", "mformat"))) if why), None)


class Kernel(unittest.TestCase):
    told = None  # of the guests, by their names

    def said_by_host(self, name):
        self.assertEqual(([], []), (self.told[""].wrong, self.told[name].wrong), self.told[""].console[-2000:])
        self.assertEqual(self.told[name].status, 0, self.told[name].console)
        return self.told[name].said

    def test_demo(self):
        self.assertEqual(self.said_by_host("the demo"), f"{HELLO} 1.\n{HELLO} 2.\n")

    def test_network(self):
        said = self.said_by_host("the network")
        self.assertRegex(said, r"^Hello from a guest without an operating system, at 192\.168\.127\.2, [^\n]*\n$")
        self.assertRegex(self.told["the network"].console, rf"\nHTTP: fetched {len(PAGE)} bytes, SHA-256 [0-9a-f]{{64}}, as expected\n")

    def test_network_reset(self):
        self.said_by_host(RESET)
        console = self.told[RESET].console
        self.assertEqual(console.count("DHCP: asking"), 2)
        self.assertEqual(console.count("HTTP: fetched"), 1)
        self.assertRegex(console, rf"\nHTTP: fetched {len(PAGE)} bytes, SHA-256 [0-9a-f]{{64}}, as expected\n")

    def test_card(self):
        self.assertEqual(self.said_by_host("the card"), f"{test_server.sha256(DATA)}  -\n")
        console = self.told["the card"].console
        for line in ("link: computes the checksums of what is sent", "link: checks those of what is received"):
            self.assertIn(f"{line}\n", console)
        self.assertRegex(console, rf"\nHTTP: fetched {len(PAGE)} bytes, SHA-256 [0-9a-f]{{64}}, as expected\n")

    def test_firmware(self):
        self.assertEqual(self.said_by_host("the firmware"), "")
        self.assertIn("closed_port: as it must be\n", self.told["the firmware"].console)

    def test_server(self):
        whole = f"{test_server.sha256(WHOLE)}  -\n"
        self.assertEqual(self.said_by_host("the server"), f"{whole}100000\n{whole}")


def report(told, stream=None):
    """Prints the results of the guests; returns the exit status."""
    Kernel.told = told
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Kernel)
    return 0 if unittest.TextTestRunner(stream, verbosity=2).run(suite).wasSuccessful() else 1


if __name__ == "__main__":
    VERSION, TREE = sys.argv[1], pathlib.Path(sys.argv[2])
    WHY = missing(VERSION)
    if WHY:
        sys.exit(matrix.skip(WHY))
    with tempfile.TemporaryDirectory(prefix="virtio-kernel-") as FOLDER:
        TOLD = vsock.run(os.environ["LINUX_HOST"], os.environ[matrix.VARIABLES[VERSION]], FOLDER, guests(TREE), BEFORE, files())
    sys.exit(report(TOLD))
