#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""USB/IP against the real host's side: Linux with vhci_hcd, in an emulated machine (usbip.py).

usage: test_usbip.py [--stock] [-s] 7.2|10
  --stock  without our code: a disk of the kernel's own server, taken over TCP by the stock tools and over vsock by tools/usbip-vsock.
           What this shows is that the machine in which ours is tried is well
  -s       shows the console as it comes
What it takes is in the environment: QEMU_7 or QEMU_10, LINUX_HOST_FULL, as tools/setup --print gives them; usbip, socat, e2fsprogs.
Status 77: something is not there (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import argparse
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "qemu")]
import linux_host  # noqa: E402
import matrix  # noqa: E402
import usbip  # noqa: E402

ROOT = HERE.parent.parent

# ---- the kernel's own server ----

SIZE = 8 << 20
# Of devices in the machine itself, so nothing is detached: vhci_hcd and the kernel's server would wait for each other for ever.
STOCK = usbip.EXPORT + f"""
set -- $busids
usbip list -r 127.0.0.1 2>&1 | grep -o "$1: .*"
quiet usbip attach -r 127.0.0.1 -b $1
port=$(taken)
attached $port 006
name=$(disk)
usbip port 2>&1 | grep "^Port $port: <Port in Use>"
echo "over TCP: $(dd if=/dev/$name bs=1M 2>/dev/null | sha256sum)"
socat VSOCK-LISTEN:3240,fork TCP:127.0.0.1:3240 &
is_served() {{ usbip-vsock list 1 >listed 2>&1; }}
until_true 'the list over vsock' is_served
sed "s/^$2/BUSID/" listed
usbip-vsock attach 1 $2 >attached || exit 1
port=$(sed 's/port //' attached)
attached $port 006
other() {{ [ $(cat /sys/block/sd*/size | grep -vc '^0') = 2 ]; }}
until_true 'a second disk' other
name=$(ls /sys/block | grep '^sd' | grep -v $name)
echo "over vsock: $(dd if=/dev/$name bs=1M 2>/dev/null | sha256sum)"
usbip-vsock port | sed "s/$2/BUSID/"
usbip-vsock attach 1 $2
usbip-vsock attach 1 9-9
usbip-vsock detach 3
usbip-vsock --timeout 3 list 1:3241
exit 0
"""


class Stock(unittest.TestCase):
    def test_it(self):
        images = [os.urandom(SIZE), os.urandom(SIZE)]
        with tempfile.TemporaryDirectory(prefix="virtio-usbip-") as name:
            folder = pathlib.Path(name)
            files = [folder / "0", folder / "1"]
            for file, image in zip(files, images):
                file.write_bytes(image)
            status, said = usbip.boot(folder, QEMU, STOCK, (*usbip.EXPORTS, "vsock_loopback"), extra=usbip.exported(*files), stream=STREAM)
        self.assertEqual(status, 0, said)
        self.assertRegex(said, r"Port \d+: <Port in Use> at Super Speed")
        self.assertIn("BUSID: 46f4:0001, super speed\n", said)
        for way in ("over TCP", "over vsock"):  # in whichever order the controller found them
            found = re.search(f"{way}: (\\w+)", said)[1]
            self.assertIn(found, [hashlib.sha256(image).hexdigest() for image in images])
        self.assertRegex(said, r"port \d+: in use, super speed, \S+ 46f4:0001 QEMU USB HARDDRIVE, from vsock:1 3240 BUSID\n")
        self.assertRegex(said, r"the import of \S+: refused with status \d")
        self.assertIn("the import of 9-9: refused with status 1: not available", said)
        self.assertIn("does not detach port 3: Invalid argument", said)
        self.assertRegex(said, r"1:3241: Connection (refused|reset)")


# ---- six devices, as a bridge of the field had them ----

# Three of high speed and three of SuperSpeed, over sockets whose other ends vhci_hcd has been given by somebody else.
PAIRS = f"""
for kind in tcp unix; do
  python /pairs.py /serve $kind 0:3 1:3 2:3 3:5 4:5 5:5 >ports || {{ cat ports; exit 1; }}
  ports=$(sed 's/port //' ports)
  for port in $ports; do attached $port 006; done
  cat {usbip.VHCI}/status | sed -n "/ 006 /s/^\\(..\\)  0*/\\1 $kind 0/p"
  for port in $ports; do echo $port >{usbip.VHCI}/detach; attached $port 004; done
  left() {{ [ $(cat /tmp/serve-$kind-* | grep -c connection) = 6 ]; }}
  until_true 'the end of all six' left
  sed "s/^/$kind: /" /tmp/serve-$kind-*
done
"""


def server(folder):
    """The program of tests/usbip that serves six devices, with its libraries, for the host."""
    source = ROOT / "tests/usbip/serve.cpp"
    compiler = os.environ.get("CXX") or "clang++"
    subprocess.run([compiler, "-std=c++20", "-O1", "-I", ROOT / "include", source, "-o", folder / "serve"], check=True)
    return {**linux_host.program(str(folder / "serve")), "/serve": folder / "serve", "/pairs.py": HERE / "usbip_pairs.py"}


class Ours(unittest.TestCase):
    """One boot for all of it."""
    said = ""

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(prefix="virtio-usbip-") as name:
            folder = pathlib.Path(name)
            cls.status, cls.said = usbip.boot(folder, QEMU, PAIRS, more=server(folder), stream=STREAM)

    def test_host_ends_well(self):
        self.assertEqual(self.status, 0, self.said)

    def test_six_devices(self):
        """The kernel enumerates all of them, over TCP and over AF_UNIX, and each connection ends between two messages."""
        for kind in ("tcp", "unix"):
            states = re.findall(rf"^([hs]s) {kind} \d+ (\d+) (\d+) 0001000([1-6]) ", self.said, re.M)
            self.assertEqual(states, [("hs", "006", "003", one) for one in "123"] + [("ss", "006", "005", one) for one in "456"], self.said)
            ended = re.findall(rf"^{kind}: connection 1: (.*) \(", self.said, re.M)
            self.assertEqual(ended, ["the peer closed the connection between two messages"] * 6, self.said)


if __name__ == "__main__":
    PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    PARSER.add_argument("--stock", action="store_true")
    PARSER.add_argument("-s", dest="show", action="store_true")
    PARSER.add_argument("qemu", choices=matrix.VARIABLES)
    OPTIONS = PARSER.parse_args()
    QEMU = os.environ.get(matrix.VARIABLES[OPTIONS.qemu])
    STREAM = sys.stdout if OPTIONS.show else None
    WHY = usbip.missing() or (None if QEMU else f"{matrix.VARIABLES[OPTIONS.qemu]} is empty, no QEMU {OPTIONS.qemu} on this machine")
    if WHY:
        sys.exit(matrix.skip(WHY))
    unittest.main(argv=[sys.argv[0], "Stock" if OPTIONS.stock else "Ours"], verbosity=2)
