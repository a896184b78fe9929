#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""USB/IP against the real host's side: Linux with vhci_hcd, in an emulated machine (usbip.py).

usage: test_usbip.py [--stock] [-s] 7.2|10 [TREE]
  --stock  without our code: a disk of the kernel's own server, attached over TCP by the stock tools and over vsock by
            tools/usbip-vsock. This shows that the machine in which ours is tested works
  TREE     where the guests were built: without it, none is booted
  -s       shows the console as it comes
What it takes is in the environment: QEMU_7 or QEMU_10, LINUX_HOST_FULL, as tools/setup --print prints them; usbip,
socat, e2fsprogs.
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import argparse
import hashlib
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "qemu"), str(HERE.parent / "vsock")]
import backend  # noqa: E402
import inner  # noqa: E402
import linux_host  # noqa: E402
import matrix  # noqa: E402
import usbip  # noqa: E402

ROOT = HERE.parent.parent

# ---- the kernel's own server ----

SIZE = 8 << 20
# Of devices in the machine itself, so nothing is detached: vhci_hcd and the kernel's server would wait for each other
# without end.
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
        for way in ("over TCP", "over vsock"):  # in the controller's order
            found = re.search(f"{way}: (\\w+)", said)[1]
            self.assertIn(found, [hashlib.sha256(image).hexdigest() for image in images])
        self.assertRegex(said, r"port \d+: in use, super speed, \S+ 46f4:0001 QEMU USB HARDDRIVE, from vsock:1 3240 BUSID\n")
        self.assertRegex(said, r"the import of \S+: rejected with status \d")
        self.assertIn("the import of 9-9: rejected with status 4: no such device", said)
        self.assertIn("does not detach port 3: Invalid argument", said)
        self.assertRegex(said, r"1:3241: Connection (refused|reset)")


# ---- six devices, as a public bridge has them ----

# Three of high speed and three of SuperSpeed, over sockets whose other ends another program has passed to vhci_hcd.
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


# ---- a guest that is a stick and a serial port ----

CID = 4
NICE = "/usr/bin/nice"
DISK = 16 << 20
SECTOR = 512
FIRST = 2048  # sector of the one partition
# The guest's disk, on the kernel's vhost-vsock; the other end of its console returns what it receives.
EXTRA = ["-drive", "if=none,id=disk,format=raw,file=disk.img", "-device", "virtio-blk-pci,drive=disk",
         "-device", "virtio-serial-pci", "-chardev", "socket,id=line,path=/tmp/line,server=on,wait=off", "-device", "virtconsole,chardev=line"]
WRITE = """
name=$(disk)
until_true 'the partition' [ -b /dev/${name}1 ]
echo "partition of $(cat /sys/block/$name/${name}1/size) sectors"
quiet mke2fs -q -t ext4 -F /dev/${name}1
mkdir -p /mnt
mount -t ext4 /dev/${name}1 /mnt || exit 1
cp /bytes /mnt/bytes
mkdir /mnt/folder
seq 1 5000 >/mnt/folder/numbers
umount /mnt || exit 1
quiet e2fsck -f -n /dev/${name}1
echo "written and checked"
"""
COMPARE = """
name=$(disk)
until_true 'the partition' [ -b /dev/${name}1 ]
mount -t ext4 -o ro /dev/${name}1 /mnt || exit 1
cmp /bytes /mnt/bytes && seq 1 5000 | cmp - /mnt/folder/numbers && echo "read back"
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
cmp /dev/$name disk.img && echo "the image is what the stick says"
"""
# Reads the whole disk repeatedly until a read fails: at any speed of the machine, a read is in flight.
READ = "read_on() { while dd if=/dev/$name of=/dev/null bs=64k 2>/dev/null || exit; do echo 3 >/proc/sys/vm/drop_caches; done; }"
# By the stock tools through TCP, then by tools/usbip-vsock with the guest's own socket.
STEPS = [
    "socat TCP-LISTEN:3240,bind=127.0.0.1,fork,reuseaddr VSOCK-CONNECT:4:3240 3<&- 2>/dev/null &",
    "until_true 'socat' listening 3240",
    "usbip list -r 127.0.0.1 2>&1 | grep -o '1-[12]: .*'",
    "quiet usbip attach -r 127.0.0.1 -b 1-1; port=$(taken); attached $port 006; echo \"attached over TCP to port $port\"",
    WRITE,
    "quiet usbip detach -p $port; attached $port 004; no_disk; echo detached",
    "usbip-vsock attach 4 1-1 >attached || exit 1; port=$(sed 's/port //' attached); attached $port 006; echo \"attached over vsock to port $port\"",
    COMPARE,
    # The host ends in the middle of a read.
    READ, "(read_on) & reader=$!; sleep 0.3; usbip-vsock detach $port; wait $reader; attached $port 004; no_disk",
    "again() { usbip-vsock attach 4 1-1 >attached 2>&1; }; until_true 'the stick once more' again; attached $port 006; disk >/dev/null",
    "echo 'attached once more'",
    # The serial port.
    "socat UNIX-CONNECT:/tmp/line EXEC:cat 3<&- &",
    "usbip-vsock attach 4 1-2 >attached2 || exit 1; serial=$(sed 's/port //' attached2); attached $serial 006",
    "until_true 'the serial port' [ -c /dev/ttyACM0 ]; stty -F /dev/ttyACM0 raw -echo 115200; exec 5<>/dev/ttyACM0",
    "for n in $(seq 1 50); do echo \"line $n of what the serial port is to say again\"; done >&5; head -n 50 <&5 | tail -n 1; exec 5<&-",
    "usbip-vsock port",
    "usbip-vsock detach $serial; attached $serial 004",
    "usbip-vsock detach $port; attached $port 004; no_disk",
    "socat -u VSOCK-CONNECT:4:3241 -",
]
# Another guest is killed in the middle of a read by the kernel.
KILLED = [
    "usbip-vsock attach 4 1-1 >attached || exit 1; port=$(sed 's/port //' attached); attached $port 006; name=$(disk)",
    READ, "dmesg -c >/dev/null; (read_on) & reader=$!; sleep 0.3; kill -9 $guest",
    "attached $port 004; no_disk; wait $reader; echo \"the reader ends with $?\"",
    "dmesg | grep -o 'USB disconnect'",
]
FAILED = "trap '[ $? = 0 ] || tail -n 40 said complaints console' EXIT"
AFTER = f"""
dd if=disk.img of=partition bs={SECTOR} skip={FIRST} 2>/dev/null
quiet e2fsck -f -n partition
debugfs -R 'cat /bytes' partition 2>/dev/null | cmp - /bytes && echo 'the file is in the image'
"""


def partitioned(size):
    """A disk of random bytes with a table of one partition."""
    disk = bytearray(os.urandom(size))
    disk[446:510] = struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", FIRST, size // SECTOR - FIRST).ljust(64, b"\0")
    disk[510:512] = b"\x55\xaa"
    return bytes(disk)


def guests(tree):
    """The script for both guests, and its files."""
    image = tree / "examples/09_usbip"
    command = inner.command("/guest", image, os.environ[matrix.VARIABLES[OPTIONS.qemu]], "pc", 128, "host=stays",
                            [*backend.kernel_arguments(CID), *EXTRA])
    # it polls its devices, and shares one processor with the programs that they wait for
    command = [NICE, "-n", "19", *command]
    script = "\n".join([FAILED, inner.guest(1, command, "/disk", [("^serving", *STEPS)]), AFTER, inner.guest(2, command, "/disk", [("^serving", *KILLED)])])
    return script, {"/guest": image, "/disk": partitioned(DISK), "/bytes": os.urandom(1_000_003), **linux_host.qemu(QEMU), **linux_host.program(NICE)}


class Ours(unittest.TestCase):
    """One boot for all of it."""
    said = ""

    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(prefix="virtio-usbip-") as name:
            folder = pathlib.Path(name)
            script, files = ("", {})
            if OPTIONS.tree:
                script, files = guests(OPTIONS.tree)
            cls.status, cls.said = usbip.boot(folder, QEMU, inner.SCRIPT + script + PAIRS, (*inner.MODULES, "vhost_vsock"),
                                              server(folder) | files, inner.PROCESSOR, stream=STREAM)
        cls.told = inner.told(cls.said) if cls.status == 0 else {}

    def guest(self, number):
        if not OPTIONS.tree:
            self.skipTest("no guest was asked for")
        self.assertEqual(self.status, 0, self.said)
        return self.told[number]

    def test_stick(self):
        one = self.guest(1)
        self.assertEqual((inner.complaints(one), inner.status(one)), ([], 0), one["said"] + one["console"])
        for line in ("attached over TCP to port 15", f"partition of {DISK // SECTOR - FIRST} sectors", "written and checked", "detached",
                     "attached over vsock to port 15", "read back", "the image is what the stick says", "attached once more"):
            self.assertIn(f"{line}\n", one["said"])
        self.assertIn("the file is in the image\n", self.said)
        reads, writes, flushes = map(int, re.search(r"the disk: (\d+) reads, (\d+) writes, (\d+) flushes", one["console"]).groups())
        self.assertGreater(reads, DISK >> 20)
        self.assertGreater(writes, 3)
        self.assertGreater(flushes, 0)

    def test_serial_port(self):
        self.assertIn("line 50 of what the serial port is to say again\n", self.guest(1)["said"])
        self.assertRegex(self.guest(1)["said"], r"port 0: in use, high speed, \S+ 1209:0002 Console of a guest, from vsock:4 3240 1-2\n")

    def test_guest_killed(self):
        said = self.guest(2)["said"]
        self.assertRegex(said, r"the reader ends with 1\nUSB disconnect\n", self.said[-2000:])

    def test_host_ends_well(self):
        self.assertEqual(self.status, 0, self.said)

    def test_six_devices(self):
        """The kernel enumerates all, over TCP and over AF_UNIX, and each connection ends between two messages."""
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
    PARSER.add_argument("tree", nargs="?", type=pathlib.Path)
    OPTIONS = PARSER.parse_args()
    QEMU = os.environ.get(matrix.VARIABLES[OPTIONS.qemu])
    STREAM = sys.stdout if OPTIONS.show else None
    WHY = usbip.missing() or (None if QEMU else f"{matrix.VARIABLES[OPTIONS.qemu]} is empty, no QEMU {OPTIONS.qemu} on this machine")
    if WHY:
        sys.exit(matrix.skip(WHY))
    unittest.main(argv=[sys.argv[0], "Stock" if OPTIONS.stock else "Ours"], verbosity=2)
