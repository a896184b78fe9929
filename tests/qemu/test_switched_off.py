#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest switches its machine off and restarts it by its firmware, or by the device in the device tree: on 64-bit Arm
by PSCI, without semihosting, so that no status is passed on and its last line reports it; on RISC-V by SBI, and
restarts by the test finisher too.

usage: test_switched_off.py PROCESSOR [TREE]    TREE is where the guests were built (default: where tools/test does); the commands come from
                                                the environment: QEMU_7_AARCH64, QEMU_10_AARCH64 and those with _RISCV64
"""
import io
import os
import pathlib
import shlex
import subprocess
import sys

import matrix

BY_FINISHER = "switched off by the test finisher"
# Machine, further arguments, the guest's line about how it leaves.
MACHINES = {
    "aarch64": [(machine, ["-cpu", "cortex-a72"], f"PSCI by {conduit}") for machine, conduit in (
        ("virt", "HVC"), ("virt,virtualization=on", "SMC"), ("virt,secure=on,virtualization=on", "SMC"), ("virt,highmem=off", "HVC"))],
    "riscv64": [("virt", ["-bios", "default"], "switched off by SBI"), ("virt", ["-bios", "none"], BY_FINISHER)],
}
LEAVE = {"aarch64": ("run=leave", "\nexit 3\n"), "riscv64": ("run=off", "\noff\n")}  # and its last line


def leave(processor, qemu, machine, extra, how, image):
    """Returns the errors in how it leaves; a guest that restarts instead never ends."""
    told, last = LEAVE[processor]
    ended = subprocess.run([*shlex.split(qemu), "-machine", machine, *extra, "-accel", "tcg", "-nodefaults", "-display", "none",
                            "-serial", "stdio", "-kernel", str(image), "-append", told], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, timeout=matrix.guestrun.HANG)
    console = ended.stdout.replace("\r\n", "\n")
    well = ended.returncode == 0 and console.endswith(last) and f"{how}\n" in console
    return "" if well else f"{console}{ended.stderr}QEMU's status {ended.returncode}"


def reset(processor, qemu, machine, extra, how, image):
    errors = io.StringIO()
    _, console = matrix.guestrun.boot(image, qemu, machine, append="run=reset", extra=extra, errors=errors)
    console = console.replace("\r\n", "\n")
    well = "(guest-reset)" in errors.getvalue() and f"{how}\n" in console and console.endswith("\nreset\n")
    return "" if well else console + errors.getvalue()


def main(processor, *arguments):
    tree = pathlib.Path(arguments[0]) if arguments else matrix.BUILDS[processor]
    wrong = 0
    for version in ("7.2", "10"):
        variable = matrix.VARIABLES[version] + matrix.SUFFIXES[processor]
        qemu = os.environ.get(variable)
        if not qemu:
            return matrix.skip(f"{variable} is empty, no QEMU {version} on this machine (tools/setup fetches it)")
        for machine, extra, how in MACHINES[processor]:
            # every other guest leaves by it, with a status
            for what in (reset,) if how == BY_FINISHER else (leave, reset):
                failure = what(processor, qemu, machine, extra, how, tree / "tests/qemu/qemu_tree")
                print("WRONG" if failure else "ok   ", f"QEMU {version}, {machine}, {what.__name__}: {how}")
                if failure:
                    print(failure)
                    wrong = 1
    return wrong


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
