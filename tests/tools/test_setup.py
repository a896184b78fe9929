#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/setup takes the newest QEMU if it is available, and continues without it otherwise: apt and dpkg are stand-ins
here, all other parts are present already."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETUP = ROOT / "tools/setup"
sys.path.insert(0, str(ROOT / "tests/qemu"))
sys.dont_write_bytecode = True
import matrix  # noqa: E402

SCRIPT = SETUP.read_text()
PACKAGES = re.findall(r'^ *(?:echo ")?(?:demo|test) (\S+) ', SCRIPT, re.M)
LWIP = "lwip-" + re.search(r"^lwip_version=([^+]+)", SCRIPT, re.M)[1]
ALIOTH = re.search(r"^alioth=(\S+)", SCRIPT, re.M)[1]
CATCH2_S390X = re.search(r"^catch2_s390x=(\S+)", SCRIPT, re.M)[1]
LIBFDT = re.search(r"^libfdt=(\S+)", SCRIPT, re.M)[1]
LIBKRUN = re.search(r"^libkrun=(\S+)", SCRIPT, re.M)[1]
CONAN = re.search(r"^conan=(\S+)", SCRIPT, re.M)[1]
VSOCK = re.search(r"^vhost_device_vsock=(\S+)", SCRIPT, re.M)[1]

# The output of `dpkg-deb -x`. The loader reports that it is a QEMU, whatever it runs.
UNPACKED = """#!/bin/sh
[ "$1" = -f ] && { echo "libfoo1 (>= 1), qemu-system-common, zlib1g"; exit; }
mkdir -p "$3/usr/bin" "$3/usr/share/qemu" "$3/usr/share/seabios" "$3/usr/lib/here/qemu"
touch "$3/usr/bin/qemu-system-x86_64" "$3/usr/lib/here/libfoo.so.1"
printf '%s\\n' '#!/bin/sh' '[ "$3" = --list ] && echo "libfoo.so.1 => $2/libfoo.so.1 (0x1)" || echo "QEMU emulator version {version}"' \\
  >"$3/usr/lib/here/ld-linux.so.2"
chmod +x "$3/usr/lib/here/ld-linux.so.2"
"""
APT = """#!/bin/sh
case "$*" in
  *" update") {update} ;;
  *--simulate*) printf 'Inst %s (1 unstable)\\n' libfoo1 systemd zlib1g ;;
  *" download "*) for one; do case $one in */unstable) touch "${{one%/*}}_1.deb" ;; esac; done ;;
esac
"""


BOOKWORM = "VERSION_CODENAME=bookworm\n" in pathlib.Path("/etc/os-release").read_text()


@unittest.skipUnless(BOOKWORM, "tools/setup unpacks packages aside on Debian 12 only")
class Newest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="virtio-setup-")
        self.addCleanup(folder.cleanup)
        self.bin, self.deps = pathlib.Path(folder.name, "bin"), pathlib.Path(folder.name, "deps")
        for name in ("catch2-3/usr", CATCH2_S390X, "linux", "linux-aarch64", "linux-full", "linux-new", LIBFDT, LWIP):
            (self.deps / name).mkdir(parents=True)
        for file in ("qemu-10/usr/bin/qemu-system-x86_64", "qemu-10-arm/usr/bin/qemu-system-aarch64", "qemu-10-riscv/usr/bin/qemu-system-riscv64",
                     f"{VSOCK}/bin/vhost-device-vsock", "gvproxy/usr/bin/gvproxy", f"{ALIOTH}/bin/alioth", f"{LIBKRUN}/libkrun.so.1",
                     f"{CONAN}/bin/conan"):
            self.program(self.deps / file, "#!/bin/sh\n")
        for name in ("x86_64", "aarch64", "riscv64"):
            self.program(self.bin / f"qemu-system-{name}", "#!/bin/sh\necho 'QEMU emulator version 7.2.0'\n")
        self.program(self.bin / "dpkg", "#!/bin/sh\necho amd64\n")
        self.program(self.bin / "dpkg-query", "#!/bin/sh\n" + "".join(f"echo installed {name}\n" for name in PACKAGES))
        self.unstable("11.1.3")

    def program(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def unstable(self, version="", update=":"):
        self.program(self.bin / "apt-get", APT.format(update=update))
        self.program(self.bin / "dpkg-deb", UNPACKED.replace("{version}", version))

    def run_setup(self, *arguments):
        environment = {key: value for key, value in os.environ.items() if key != "CI"}
        environment |= {"VIRTIO_DEPS": str(self.deps), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        done = subprocess.run([SETUP, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual([path for path in self.deps.glob(".setup.*")], [])
        return done.stdout

    def told(self):
        return re.search(r"^QEMU_11=(.*)$", self.run_setup("--print"), re.M)[1]

    def test_it_is_there(self):
        self.run_setup("--yes")
        self.assertRegex(self.told(), r"^'env QEMU_MODULE_DIR=\S+ \S+/ld-linux\.so\.2 --library-path \S+ \S+/bin/qemu-system-x86_64 -L ")
        self.assertTrue((self.deps / "qemu-11/lib/libfoo.so.1").exists())
        self.assertEqual(self.run_setup(), "")  # permanently

    def test_out_of_reach(self):
        self.unstable(update="echo 'E: Failed to fetch InRelease'; exit 100")
        *_, last = self.run_setup("--yes").splitlines()
        self.assertRegex(last, "^setup: continues without QEMU 11, whose tests are skipped: "
                         "(E: Failed to fetch InRelease|setup: no apt source)")
        self.assertEqual(self.told(), "''")
        self.assertEqual(self.run_setup(), "")  # not again immediately
        os.utime(self.deps / "qemu-11-absent", (0, 0))
        self.assertIn("QEMU 11", self.run_setup())
        self.unstable("12.0.0")
        self.run_setup("--yes")
        self.assertNotEqual(self.told(), "''")

    def test_too_old(self):
        self.unstable("10.2.0")
        self.assertIn("setup: continues without QEMU 11, whose tests are skipped: E: QEMU there is version 10", self.run_setup("--yes"))
        self.assertEqual(self.told(), "''")

    def test_it_does_not_start(self):
        self.unstable("none")
        self.assertIn("E: QEMU there is version unknown", self.run_setup("--yes"))
        self.assertEqual(self.told(), "''")

    def test_nobody_to_ask(self):
        self.assertIn("no terminal to ask on", self.run_setup())
        self.assertEqual(self.told(), "''")

    def test_the_systems_own(self):
        self.program(self.bin / "qemu-system-x86_64", "#!/bin/sh\necho 'QEMU emulator version 11.0.0'\n")
        self.assertEqual(self.told(), "'qemu-system-x86_64'")


class Cells(unittest.TestCase):
    """An absent part is a failure if all are required, except for this one."""

    def test_skipped(self):
        name = "q35 modern-only example 01_blk, 6 GiB of memory"
        for version, required, status in (("10", "1", 1), ("10", "0", 77), ("11", "1", 77), ("11", "0", 77)):
            environment = os.environ | {"QEMU_10": "", "QEMU_11": "", "VIRTIO_TEST_REQUIRE_ALL": required}
            done = subprocess.run([sys.executable, ROOT / "tests/qemu/matrix.py", "--qemu", version, name], env=environment,
                                  stdout=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, status)
            self.assertIn(f"QEMU_{version} is empty", done.stdout)

    def test_which(self):
        here, memory = set(matrix.cells("11")), {cell.name for cell in matrix.memory_cells.cells(matrix)}
        self.assertLessEqual(memory, here)
        # A feature that is new with a device type is tested on it, too; a feature that every cell tests is not tested a
        # third time.
        self.assertTrue(all(re.search("balloon|console|lsvirtio|scsi", name) for name in here - memory), here - memory)
        self.assertLess(len(here), len(matrix.cells("10")) // 10)


if __name__ == "__main__":
    unittest.main(verbosity=2)
