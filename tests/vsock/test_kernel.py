#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo's guest and examples/04_vsock_server on the kernel's vhost-vsock, in a Linux that is a guest itself: the command that
the demo prints, and a web client through socat, as on a machine that has /dev/vhost-vsock.

usage: test_kernel.py 7.2|10 TREE [unittest's arguments]
  TREE  where the guests were built
What it takes is in the environment: QEMU_7 or QEMU_10, LINUX_HOST, as tools/setup --print gives them; socat and mtools.
Status 77: something is not there (1 with VIRTIO_TEST_REQUIRE_ALL=1).
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
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/vsock", "tests/nested", "tests/qemu", "examples/demo")]
import host  # noqa: E402
import matrix  # noqa: E402
import test_server  # noqa: E402
import vsock  # noqa: E402

CID = 4
DISK = ["-drive", "if=none,id=disk,format=raw,file=disk.img,readonly=on", "-device", "virtio-blk-pci,drive=disk"]


def socat():
    """The program and its libraries, for the host."""
    program = shutil.which("socat")
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout)
    return {"/bin/socat": pathlib.Path(program).resolve(), **{name: pathlib.Path(name).resolve() for name in libraries}}


class Kernel(unittest.TestCase):
    def run_guest(self, image, append, disk, steps, before=""):
        with tempfile.TemporaryDirectory(prefix="virtio-kernel-") as folder:
            guest = vsock.Guest("it", TREE / "examples" / image, append, cid=CID, disk=disk, steps=[steps],
                                extra=[*DISK, "-device", "virtio-rng-pci"])
            told = vsock.run(os.environ["LINUX_HOST"], QEMU, folder, [guest], before, socat())
        self.assertEqual(([], []), (told[""].wrong, told["it"].wrong))
        self.assertEqual(told["it"].status, 0, told["it"].console)
        return told["it"].said

    def test_demo(self):
        command = host.kernel_vsock(CID).command
        said = self.run_guest("demo", "stay=yes", os.urandom(2 << 20),
                              ("^Done; still", command, command, f"socat -u VSOCK-CONNECT:{CID}:{host.ENDING_PORT} -"))
        hello = f"Hello from inside the guest, CID {CID}: I have read 2 of my disk's 2 MiB, and you are visitor"
        self.assertEqual(said, f"{hello} 1.\n{hello} 2.\n")

    def test_server(self):
        with tempfile.TemporaryDirectory(prefix="virtio-kernel-") as name:
            folder = pathlib.Path(name)
            (folder / "files").mkdir()
            (folder / "files" / "a long name").write_bytes(test_server.pattern("kernel", 8_000_001))
            test_server.make_image(folder / "disk.img", folder / "files", 40, "-F", "-c", "1")
            disk = (folder / "disk.img").read_bytes()
        get = "wget -q -O - http://127.0.0.1:8080/a%20long%20name | sha256sum"
        said = self.run_guest("04_vsock_server", "", disk, (
            "^serving", "socat TCP-LISTEN:8080,bind=127.0.0.1,fork,reuseaddr VSOCK-CONNECT:4:80 3<&- 2>/dev/null &",
            "until netstat -ltn | grep -q :8080; do sleep 0.05; done",
            get, "wget -q -O - http://127.0.0.1:8080/a%20long%20name | head -c 100000 | wc -c", get,
            f"socat -u VSOCK-CONNECT:{CID}:{test_server.STOP} -"), before="ip link set lo up")
        whole = f"{test_server.sha256(test_server.pattern('kernel', 8_000_001))}  -\n"
        self.assertEqual(said, f"{whole}100000\n{whole}")


if __name__ == "__main__":
    VERSION = sys.argv.pop(1)
    TREE = pathlib.Path(sys.argv.pop(1))
    QEMU = os.environ.get(matrix.VARIABLES[VERSION])
    for why in ("" if QEMU else f"no QEMU {VERSION} on this machine",
                "" if os.environ.get("LINUX_HOST") else "no Linux to be the host",
                *(f"no {program} on this machine" for program in ("socat", "mformat") if not shutil.which(program))):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(verbosity=2)
