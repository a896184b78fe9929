#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our guests on Alioth, a monitor that is not QEMU, under KVM: its PCI, its devices, its two ways to enter a kernel.
The Linux with KVM runs in an emulated machine (linux_host.py), one boot for all.

usage: alioth.py [--tree TREE]    what it takes is in the environment: ALIOTH, QEMU_7 and LINUX_HOST, as tools/setup
--print prints them
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import argparse
import dataclasses
import hashlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

import inner
import linux_host
sys.path.insert(0, str(linux_host.ROOT / "tests" / "qemu"))
import guestrun  # noqa: E402
import matrix  # noqa: E402
import lsvirtio_cells  # noqa: E402

DISK = matrix.Disk(write=(50, 60), sectors=4 * 1024 + 3, serial="virtio-blk-0")  # Alioth's own name for its first disk
ENTROPY = ["--entropy"]
BLK = ["--blk", "file,path=disk.img"]


@dataclasses.dataclass
class Guest:
    name: str
    image: str
    arguments: list  # of Alioth
    append: str = ""
    disk: object = None      # returns the disk's expected content at the end; none: the guest has no disk
    form: str = "pvh"
    status: int = 0
    console: list = dataclasses.field(default_factory=list)  # patterns that the console must match
    report: object = None    # a check of lsvirtio's, see lsvirtio_cells.py


def told(words):
    """The command line for the matrix's guest with DISK."""
    return matrix.Cell("", disks=[DISK], tell=words).command_line()


def guests():
    reads = {"run": "disk,rng", "via": "modern"}
    yield Guest("block, entropy", "tests/qemu/qemu_guest", [*BLK, *ENTROPY], told(reads), disk=DISK.expected)
    yield Guest("block, entropy, as a bzImage", "tests/qemu/qemu_guest", [*BLK, *ENTROPY], told(reads), disk=DISK.expected, form="bzimage")
    yield Guest("block, entropy, on packed rings", "tests/qemu/qemu_guest", [*BLK, *ENTROPY], told(reads | {"packed": 1}), disk=DISK.expected)
    yield Guest("lsvirtio: block, entropy, a file system", "examples/lsvirtio",
                [*BLK, *ENTROPY, "--fs", "dir,tag=shared,path=/root,dax_window=64M"], "json=1", report=reported,
                disk=DISK.content)
    yield Guest("the machine has no disk", "examples/01_blk", ENTROPY, status=1,
                console=[r"\Ano disk: there is no such device.*\n(.*\n)*  00:01\.0 1af4:1044  entropy device, modern PCI: usable\n"])


def reported(objects):
    """lsvirtio's expected report of Alioth: modern functions without an interrupt pin or a configuration window, rings
    that may be packed, a disk with one configuration field, shared memory in the file system's second BAR."""
    def function(ids, structures, device):
        def bars(found):
            return found[0]["kind"] == "32-bit memory" and found[0]["bytes"] == 0x4000

        def has_structures(found):
            return {"common configuration", "notification", "ISR", *structures} == {one["structure"] for one in found}
        return {"ids": ids, "verdict": "usable", "bars": bars, "capabilities": has_structures,
                "interrupt": lambda found: "pin" not in found and found["msix_vectors"] >= 2,
                "device": {"interface": "modern", "features": {"EVENT_IDX", "VERSION_1", "RING_PACKED"}} | device}

    def bound(**more):
        return {"check": {"verdict": "bound", "accepted": {"RING_PACKED"}, "outcome": "ok"} | more}

    def only_capacity(found):
        wanted = lsvirtio_cells.fields("capacity", differing=None, capacity=f"{DISK.sectors} sectors of 512 bytes")
        return len(found) == 1 and wanted(found)

    shared = lsvirtio_cells.fields("tag", differing=None, tag="shared", num_request_queues="1")
    devices = {
        "block": function("1af4:1042", ["device configuration"], {
            "type_number": 2, "queues": [256], "policy": "by_field", "configuration": only_capacity})
        | bound(first_bytes=matrix.pattern(DISK.seed, 0, 1)[:16].hex()),
        "entropy": function("1af4:1044", [], {"type_number": 4, "queues": [256], "configuration": []})
        | bound(bytes=lambda drawn: len(drawn) == 64 and len(set(drawn)) > 4),
        "file system": function("1af4:105a", ["device configuration", "shared memory"], {
            "type_number": 26, "queues": [256, 256, 256], "policy": "by_field", "configuration": shared})}
    yield from lsvirtio_cells.expect(lsvirtio_cells.x86() | {"hypervisor": "KVMKVMKVM"}, devices)(objects)
    windows = [(c["bar"], c["id"], c["length"]) for one in objects for c in one.get("capabilities", ()) if c["type"] == 8]
    if windows != [(2, 0, 64 << 20)]:
        yield f"shared memory: {windows}"


# A guest's monitor needs a terminal for input: the host's second serial port, without any input.
SCRIPT = """
run() {
  number=$1 seconds=$2 disk=$3
  shift 3
  [ -z "$disk" ] || cp "$disk" disk.img
  timeout $seconds "$@" </dev/ttyS1 >console 2>complaints
  status=$?
  for file in console complaints; do base64 $file | sed "s/^/$number $file /"; done
  [ -z "$disk" ] || sha256sum disk.img | sed "s/^/$number disk /"
  echo "$number status $status"
}
"""


def script_and_files(all_guests, tree, folder):
    files = linux_host.program(os.environ["ALIOTH"], {})
    script = [SCRIPT]
    for number, guest in enumerate(all_guests):
        image, here = f"/guests/{number}", tree / guest.image
        if guest.form == "bzimage":
            subprocess.run([matrix.BOOT_IMAGE, guest.form, here, folder / str(number)], check=True)
            here = folder / str(number)
        files[image] = here
        if guest.disk:
            files["/disks/disk"] = DISK.content()
        command = [os.environ["ALIOTH"], "-l", "warn", "boot", "--memory", "size=256M", {"pvh": "--pvh", "bzimage": "-k"}[guest.form],
                   image, *(["-c", guest.append] if guest.append else []), *guest.arguments]
        script.append(f"run {number} {inner.GUEST_TIME} {'/disks/disk' if guest.disk else repr('')} {shlex.join(command)}\n")
    return "".join(script), files


def judge(guest, one, monitor):
    """Returns a guest's errors, as lines; none if all is right."""
    if not one["status"]:
        yield "the host did not come to its end"
        return
    if one["status"] != "0":
        yield f"{monitor}'s status is {one['status']}"
    left = re.search(r"^exit (\d+)\n\Z", one["console"], re.M)
    if not left or int(left[1]) != guest.status:
        yield f"status {left[1] if left else 'none'}, want {guest.status}"
    if "ends nothing" in one["console"]:
        yield "the guest has waited for a port that ends its machine, which this monitor does not have"
    yield from (f"console does not match {text}" for text in guest.console if not re.search(text, one["console"], re.M))
    if guest.report:
        yield from lsvirtio_cells.complaints(guest.report, one["console"])
    if guest.disk and one["disk"] != hashlib.sha256(guest.disk()).hexdigest():
        yield "the disk is not as it must be"


def main(arguments, about, monitor, all_guests, script_and_files):
    """Runs a monitor's script: returns the exit status. `about` is its docstring."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=pathlib.Path, help="where the guests were built (default: where tools/test does)",
                        default=matrix.BUILDS["x86_64"])
    options = parser.parse_args(arguments)
    why = inner.missing("7.2")
    if not why and not os.environ.get(monitor.upper()):
        why = f"{monitor.upper()} is empty, no such monitor on this machine (on Debian 12 tools/setup builds it)"
    if why:
        return matrix.skip(why)
    return run(monitor, list(all_guests), script_and_files, options.tree)


def run(monitor, all_guests, script_and_files, tree):
    """Boots the Linux that runs this monitor with each of the guests, and prints the results: returns the exit
    status."""
    with matrix.folder_for(tree, monitor) as (folder, wrong):
        script, files = script_and_files(all_guests, tree, folder)
        began = time.monotonic()
        status, console = linux_host.boot(pathlib.Path(os.environ["LINUX_HOST"]), folder, os.environ["QEMU_7"], script, inner.MODULES, files,
                                          [*inner.PROCESSOR, "-serial", "null"], 768,
                                          inner.HOST_TIME[0] + inner.HOST_TIME[1] * len(all_guests))
        one = inner.told(console)
        for number, guest in enumerate(all_guests):
            lines = list(judge(guest, one[number], monitor))
            print("WRONG" if lines else "ok   ", guest.name)
            print(*(f"      | {line}" for line in (one[number]["console"] + one[number]["complaints"]).splitlines()), sep="\n")
            print(*(f"      WRONG: {line}" for line in lines), sep="\n")
            wrong += lines
        if status != 0:
            wrong.append(f"the host's status is {status}")
            print(wrong[-1], *console.splitlines()[-40:], sep="\n")
        print(f"{time.monotonic() - began:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], __doc__, "Alioth", guests(), script_and_files))
