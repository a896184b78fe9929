#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest ends its machine, and says with which status, where there is no device that passes one on: most monitors have none.

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
                    continue  # where no firmware places its BARs
                made = [*shlex.split(qemu), "-machine", machine, "-accel", "tcg", "-nodefaults", "-no-reboot", "-display", "none",
                        "-serial", "stdio", "-kernel", str(tree / "examples/02_rng"), *devices]
                ended = subprocess.run(made, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=matrix.guestrun.HANG)
                well = ended.returncode == 0 and ended.stdout.endswith(f"\nexit {status}\n")
                print("ok   " if well else "WRONG", f"QEMU {version}, {machine}, status {status}")
                if not well:
                    print(ended.stdout, ended.stderr, f"QEMU's status {ended.returncode}", sep="\n")
                    wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
