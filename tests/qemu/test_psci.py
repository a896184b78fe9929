#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest on 64-bit Arm switches its machine off and starts it anew by PSCI, by the instruction that the device tree names, where nothing
passes a status on: then its last line says it.

usage: test_psci.py [TREE]    TREE is where the guests were built (default: where tools/test does); the commands come from the environment:
                              QEMU_7_AARCH64 and QEMU_10_AARCH64
"""
import io
import os
import pathlib
import shlex
import subprocess
import sys

import matrix

MACHINES = {"virt": "HVC", "virt,virtualization=on": "SMC", "virt,secure=on,virtualization=on": "SMC", "virt,highmem=off": "HVC"}


def leave(qemu, machine, image):
    """What is wrong with how it leaves; one that starts anew instead never ends."""
    ended = subprocess.run([*shlex.split(qemu), "-machine", machine, "-cpu", "cortex-a72", "-accel", "tcg", "-nodefaults", "-display", "none",
                            "-serial", "stdio", "-kernel", str(image), "-append", "run=leave"], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=matrix.guestrun.HANG)
    well = ended.returncode == 0 and ended.stdout.endswith("\nexit 3\n") and f"PSCI by {MACHINES[machine]}\n" in ended.stdout
    return "" if well else f"{ended.stdout}{ended.stderr}QEMU's status {ended.returncode}"


def reset(qemu, machine, image):
    errors = io.StringIO()
    _, console = matrix.guestrun.boot(image, qemu, machine, append="run=reset", errors=errors)
    well = "(guest-reset)" in errors.getvalue() and f"PSCI by {MACHINES[machine]}\n" in console and console.endswith("\nreset\n")
    return "" if well else console + errors.getvalue()


def main(arguments):
    tree = pathlib.Path(arguments[0]) if arguments else matrix.BUILDS["aarch64"]
    wrong = 0
    for version in ("7.2", "10"):
        variable = matrix.VARIABLES[version] + matrix.SUFFIXES["aarch64"]
        qemu = os.environ.get(variable)
        if not qemu:
            return matrix.skip(f"{variable} is empty, no QEMU {version} on this machine (tools/setup fetches it)")
        for machine, conduit in MACHINES.items():
            for what in (leave, reset):
                failure = what(qemu, machine, tree / "tests/qemu/qemu_tree")
                print("WRONG" if failure else "ok   ", f"QEMU {version}, {machine}, {what.__name__} by {MACHINES[machine]}")
                if failure:
                    print(failure)
                    wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
