#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/uefi on OVMF and AAVMF: it reads disks and draws entropy by the library's drivers, and the firmware's own
drivers are connected again afterwards.

usage: test_devices.py QEMU PROCESSOR TREE [unittest's arguments]
QEMU is 7.2 or 10, PROCESSOR x86_64 or aarch64. TREE is where the guests were built.
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
import machine  # noqa: E402
import matrix  # noqa: E402

# The disk from which the firmware starts the program; then name, device, and how the device is driven. OVMF connects
# its driver to those with a bootindex.
BOOT = {"7.2": "virtio-blk-pci", "10": "virtio-blk-pci,disable-legacy=on,packed=on"}
DISKS = (("modern", "virtio-blk-pci,disable-legacy=on,packed=on,iommu_platform=on", "modern PCI"),
         ("transitional", "virtio-blk-pci,disable-legacy=off,disable-modern=off,bootindex=1", "modern PCI"),
         ("legacy", "virtio-blk-pci,disable-legacy=off,disable-modern=on,bootindex=2", "legacy PCI"))
MACHINE = {("x86_64", "7.2"): "pc"}
MEMORY = {("aarch64", "10"): 6144}  # AAVMF then allocates above 4 GiB
BYTES = 65536


def checksum(content):
    total = 0
    for one in content[:BYTES]:
        total = (total * 31 + one) & 0xffffffff
    return total


class Devices(unittest.TestCase):
    maxDiff = None

    def test_build_by_hand(self):
        """The command of docs/uefi.md, once."""
        if (VERSION, PROCESSOR) != ("10", "x86_64") or not shutil.which("clang++"):
            self.skipTest("another test runs it" if shutil.which("clang++") else "no clang++ on this machine")
        root = pathlib.Path(__file__).resolve().parents[2]
        command = re.search(r"^    (clang\+\+ .*?)\n\n", (root / "docs/uefi.md").read_text(), re.M | re.S)[1]
        with tempfile.TemporaryDirectory(prefix="virtio-uefi-") as folder:
            made = pathlib.Path(folder, "BOOTX64.EFI")
            done = subprocess.run(command.replace("build/BOOTX64.EFI", str(made)), shell=True, cwd=root, text=True,
                                  capture_output=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertEqual(made.read_bytes()[:2], b"MZ")

    def test_devices(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="virtio-uefi-"))
        self.addCleanup(shutil.rmtree, folder)
        image = folder / "boot.img"
        program = (TREE / "examples/uefi.efi").read_bytes()
        machine.disk_image.make_loader_partition(image, folder, {machine.BOOT_FILE[PROCESSOR]: program})
        expected = [["block", f"{image.stat().st_size // 512} sectors, modern PCI, sum {checksum(image.read_bytes())}",
                     "the firmware's driver was there and is there"]]
        devices = []
        for n, (name, device, via) in enumerate((*DISKS, ("unit", None, "modern PCI"))):
            file = folder / name
            file.write_bytes(os.urandom((n + 1) << 20))
            devices += ["-blockdev", f"driver=raw,node-name={name},file.driver=file,file.filename={file}"]
            devices += ["-device", f"{device},drive={name}"] if device else ["-device", "virtio-scsi-pci"]
            devices += [] if device else ["-device", f"scsi-hd,drive={name}"]
            report = f"{(n + 1) << 11} sectors, {via}, sum {checksum(file.read_bytes())}"
            driver = "the firmware's driver was "
            driver += "there and is there" if device and "bootindex" in device else "not there and is not there"
            expected.append(["block", report, driver] if device else ["scsi", report])
        status, console = machine.boot(VERSION, PROCESSOR, image, [*devices, "-device", "virtio-rng-pci"],
                                       disk=BOOT[VERSION], machine=MACHINE.get((PROCESSOR, VERSION)),
                                       memory=MEMORY.get((PROCESSOR, VERSION), 256),
                                       script=[(r"^exit \d+\r*\n", ("quit", {}))])
        lines = [line for line in console.split("\n") if line]
        starts = [n for n, line in enumerate(lines) if re.fullmatch(r"[\w ]+ \d+:\d+\.\d", line)]
        said = [[re.sub(r" \d+:.*", "", lines[n]),
                 *(line.strip() for line in lines[n + 1:end] if line.startswith("  "))]
                for n, end in zip(starts, [*starts[1:], len(lines)])]
        entropy = said.pop() if said else []
        self.assertEqual(said, expected, console)
        self.assertEqual(entropy[0], "entropy", console)
        drawn = re.fullmatch(r"16 bytes:((?: \d+){16})", entropy[1])
        self.assertTrue(drawn and len(set(drawn[1].split())) > 4, console)
        self.assertIn("\nexit 0\n", console)


if __name__ == "__main__":
    VERSION, PROCESSOR, TREE = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    for why in (machine.missing(VERSION, PROCESSOR),
                *("" if shutil.which(program) else f"no {program} on this machine" for program in ("sfdisk", "mformat"))):
        if why:
            sys.exit(matrix.skip(why))
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
