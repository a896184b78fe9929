#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest ends its machine and reports its status without a device that passes one on: most monitors have none. It also
does so where an unassigned port reads as 0, as under KVM with libkrun and Cloud Hypervisor: isa-debug-exit's port then
looks as in a QEMU that is about to end, and an absent serial port looks like one that is never ready.

usage: test_leaving.py [TREE]    TREE is where the guests were built (default: where tools/test does); the commands come from the environment:
                                 QEMU_7 and QEMU_10
"""
import os
import pathlib
import shlex
import subprocess
import sys

import matrix

RNG = ["-device", "virtio-rng-pci"]


def zeros(*ports):
    """Returns arguments with which these ports read as 0."""
    devices = (["-chardev", f"null,id=n{port}", "-device", f"isa-debugcon,iobase={port:#x},readback=0,chardev=n{port}"] for port in ports)
    return [word for one in devices for word in one]


DEBUG_EXIT, BEHIND_IT, LINE_STATUS, SCRATCH = 0xf4, 0xf8, 0x3fd, 0x3ff
ZEROS = {
    "where the port of isa-debug-exit reads as 0": (["-serial", "stdio", *zeros(DEBUG_EXIT, BEHIND_IT)], "\nexit 1\n"),
    "without a serial port, where ports read as 0": (zeros(DEBUG_EXIT, BEHIND_IT, LINE_STATUS, SCRATCH), ""),
}


def main(arguments):
    tree = pathlib.Path(arguments[0]) if arguments else matrix.BUILDS["x86_64"]
    wrong = 0
    for version in ("7.2", "10"):
        qemu = os.environ.get(matrix.VARIABLES[version])
        if not qemu:
            return matrix.skip(f"{matrix.VARIABLES[version]} is empty, no QEMU {version} on this machine (tools/setup fetches it)")
        for machine in ("pc", "q35", "microvm,isa-serial=on,pcie=on,acpi=off"):
            for devices, status in ((RNG, 0), ([], 1)):
                if "microvm" in machine and devices:
                    continue  # no firmware places its BARs there
                made = [*shlex.split(qemu), "-machine", machine, "-accel", "tcg", "-nodefaults", "-no-reboot", "-display", "none",
                        "-serial", "stdio", "-kernel", str(tree / "examples/02_rng"), *devices]
                ended = subprocess.run(made, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=matrix.guestrun.HANG)
                well = ended.returncode == 0 and ended.stdout.endswith(f"\nexit {status}\n")
                print("ok   " if well else "WRONG", f"QEMU {version}, {machine}, status {status}")
                if not well:
                    print(ended.stdout, ended.stderr, f"QEMU's status {ended.returncode}", sep="\n")
                    wrong = 1
        for kind in ("pc", "microvm,acpi=off"):
            for where, (devices, said) in ZEROS.items():
                machine = f"{kind},isa-serial={'on' if said else 'off'}" if "microvm" in kind else kind
                made = [*shlex.split(qemu), "-machine", machine, "-accel", "tcg", "-nodefaults", "-no-reboot", "-display", "none",
                        "-kernel", str(tree / "examples/02_rng"), *devices]
                try:
                    ended = subprocess.run(made, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=matrix.guestrun.HANG)
                    # it has waited
                    well = ended.returncode == 0 and ended.stdout.endswith(said) and "ends nothing" not in ended.stdout
                    why = "" if well else f"status {ended.returncode}\n{ended.stdout}{ended.stderr}"
                except subprocess.TimeoutExpired:
                    why = "it never ends"
                print("WRONG" if why else "ok   ", f"QEMU {version}, {machine}, {where}", *([why] if why else []))
                wrong = wrong or bool(why)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
