#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix under KVM: our guests directly on the processor, register accesses decoded by the kernel,
doorbells and interrupts passed through it. The Linux with KVM runs in an emulated machine (linux_host.py), one boot for
all cells.

usage: kvm.py --list [--more]      prints the tests' names
       kvm.py [--more] TEST        runs the cells of one, with --more all of them; what it takes is in the environment:
                                   QEMU_7, QEMU_10 and LINUX_HOST, as tools/setup --print gives them
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import argparse
import dataclasses
import hashlib
import os
import pathlib
import sys
import time

import inner
import linux_host
sys.path.insert(0, str(linux_host.ROOT / "tests" / "qemu"))
import guestrun  # noqa: E402
import matrix  # noqa: E402

EVERY_RING = [f"pc {variant} blk+rng event_idx={event_idx} indirect={indirect}"
              for variant in ("modern-only", "transitional", "legacy-only") for event_idx in ("on", "off") for indirect in ("on", "off")]
CELLS = [
    "pc modern-only example 01_blk",
    "pc legacy-only example 01_blk",
    "pc modern-only example 02_rng",
    "pc example 06_interrupts by MSI-X",
    "pc example 06_interrupts by interrupt line",
    *(f"pc {variant} blk+rng event_idx={switch} indirect={switch}" for variant, switch in (
        ("modern-only", "on"), ("modern-only", "off"), ("transitional", "on"), ("legacy-only", "on"))),
    "q35 modern-only packed blk+rng event_idx=on indirect=on",
    "microvm mmio version 2 blk+rng event_idx=on indirect=on",
    "microvm mmio version 1 blk+rng event_idx=on indirect=on",
]
MORE = [
    *(name for name in EVERY_RING if name not in CELLS),
    "pc transitional example 01_blk",
    "pc legacy-only example 02_rng",
    "q35 transitional blk+rng event_idx=on indirect=on",
    "q35 legacy-only blk+rng event_idx=off indirect=off",
    "q35 modern-only blk+rng through ECAM found by MCFG",
    "pc blk+rng page-per-vq=on,modern-pio-notify=on",
    "pc blk+rng through the configuration window, BARs moved above 4 GiB",
    "pc modern blk: reset, start again, hand over",
    "pc legacy blk: reset, start again, hand over",
    "pc transitional packed blk+rng event_idx=off indirect=off",
    "microvm mmio version 2 example 01_blk",
    *(f"pc {variant} blk: 3000 reads by {way}, asleep in between"
      for variant in ("modern-only", "legacy-only") for way in ("MSI-X", "interrupt line")),
]
TESTS = {f"nested, QEMU {qemu}: the matrix's guests under KVM": qemu for qemu in matrix.VARIABLES}
USUAL = list(TESTS)[:1]  # for a short run

SECTORS = 4 * 1024 + 3  # of a disk: an emulated processor computes each checksum


def small(cell):
    """A cell as it is run here."""
    if len(cell.disks) > 1 or cell.script or cell.processor != "x86_64":
        raise ValueError(f"{cell.name}: no place for this in the host")
    return dataclasses.replace(cell, disks=[dataclasses.replace(disk, sectors=SECTORS) for disk in cell.disks])


def wanted(version, more):
    """The cells as they are run here."""
    known = matrix.cells(version)
    return [small(known[name]) for name in CELLS + (MORE if more else [])]


def script_and_files(cells, qemu, tree):
    """The host's script after inner.SCRIPT, and its guests and disks."""
    script, files = [], {}
    for number, cell in enumerate(cells):
        image = f"/guests/{cell.image}"
        files[image] = tree / cell.image
        disk = ""
        if cell.disks:
            content = cell.disks[0].content()
            disk = f"/disks/{hashlib.sha256(content).hexdigest()[:16]}"
            files[disk] = content
        command = inner.command(image, tree / cell.image, qemu, cell.machine, cell.memory, cell.command_line(),
                                matrix.arguments_of(cell, ["disk.img"]))
        script.append(inner.guest(number, command, disk))
    return "".join(script), files


def judge(cell, told):
    """Returns a cell's errors, as lines; none if all is right."""
    wrong = inner.complaints(told)
    if wrong:
        return wrong
    wrong += matrix.complaints(cell, inner.status(told), told["console"])
    for disk in cell.disks:
        if told["disk"] != hashlib.sha256(disk.expected()).hexdigest():
            wrong.append(f"{disk.name}: not as it must be")
    return wrong


def report(cell, told, wrong):
    facts = ["accelerator KVM" if '"enabled": true' in told["control.out"] else "no KVM", f"QEMU's status {told['status'] or 'none'}"]
    facts += [f"disk {told['disk'][:16]}"] if told["disk"] else []
    print("WRONG" if wrong else "ok   ", f"{cell.name} ({', '.join(facts)})")
    for line in [*told["console"].splitlines(), *told["complaints"].splitlines()]:
        print("      |", line)
    for line in wrong:
        print("      WRONG:", line)


def report_all(cells, status, console):
    """Prints the results of the cells from the host's record; returns the exit status."""
    told, failures = inner.told(console), 0
    for number, cell in enumerate(cells):
        wrong = judge(cell, told[number])
        report(cell, told[number], wrong)
        failures += bool(wrong)
    print(f"{len(cells)} cells, {failures} wrong; the host's status {status}")
    if failures or status != 0:
        print("The host's console:", *console.splitlines()[-40:], sep="\n")
        return 1
    return 0


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--more", action="store_true")
    parser.add_argument("test", nargs="?", choices=TESTS, metavar="TEST")
    parser.add_argument("--tree", type=pathlib.Path, help="where the guests were built (default: where tools/test does)",
                        default=matrix.BUILDS["x86_64"])
    options = parser.parse_args(arguments)
    if options.list:
        print(*(TESTS if options.more else USUAL), sep="\n")
        return 0
    if not options.test:
        parser.error("no test; --list names them")

    version = TESTS[options.test]
    why = inner.missing(version)
    if why:
        return matrix.skip(why)
    qemu, linux = os.environ[matrix.VARIABLES[version]], pathlib.Path(os.environ["LINUX_HOST"])

    cells = wanted(version, options.more)
    with matrix.folder_for(options.tree, f"kvm-{version}") as (folder, wrong):
        script, files = script_and_files(cells, qemu, options.tree)
        began = time.monotonic()
        status, console = inner.boot(linux, folder, qemu, inner.SCRIPT + script, len(cells), files=files)
        took = time.monotonic() - began
        status = report_all(cells, status, console)
        print(f"{took:.1f} s")
        if status:
            wrong.append("reported")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
