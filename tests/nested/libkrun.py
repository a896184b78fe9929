#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our guests on libkrun, a monitor without PCI and ACPI devices, under KVM: its entry by Linux's 64-bit boot protocol,
its MMIO slots by words of the command line. It is a library; krun.c is the program. The Linux with KVM runs in an
emulated machine (linux_host.py), one boot for all.

usage: libkrun.py [--tree TREE]    what it takes is in the environment: LIBKRUN, QEMU_7 and LINUX_HOST, as tools/setup
--print prints them
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import alioth
import inner
import linux_host
from alioth import Guest, matrix
sys.path.insert(0, str(linux_host.ROOT / "tests" / "qemu"))
import lsvirtio_cells  # noqa: E402

# libkrun derives a disk's serial from its file's numbers, which are known once the file exists
IDENTITY = "made-of-the-file"
DISK = matrix.Disk(write=(50, 60), sectors=4 * 1024 + 3, serial=IDENTITY)


NO_PCI = re.compile("^none: no function behind ports")


def reported(objects):
    """lsvirtio's expected report of libkrun: slots of 4 KiB from the words, no PCI."""
    def slot(device, check):
        return {"verdict": "usable", "device": {"interface": "mmio version 2"} | device, "check": {"verdict": "bound", "outcome": "ok"} | check}
    fields = lsvirtio_cells.fields
    machine = {key: wanted for key, wanted in lsvirtio_cells.x86("Linux", NO_PCI).items() if key != "rsdp"}
    yield from lsvirtio_cells.expect(
        machine | {"rsdp_missing": lambda words: "no ACPI" in words, "hypervisor": "KVMKVMKVM"}, {
            "block": slot({"type_number": 2, "configuration": lambda found: fields("capacity", differing=None, capacity=f"{DISK.sectors} sectors of 512 bytes")(
                found)}, {"first_bytes": matrix.pattern(DISK.seed, 0, 1)[:16].hex()}),
            "entropy": slot({"type_number": 4}, {"bytes": lambda drawn: len(drawn) == 64 and len(set(drawn)) > 4}),
            "balloon": slot({"type_number": 5}, {})})(objects)


def guests():
    told = matrix.Cell("", disks=[DISK], tell={"run": "list,disk,rng", "via": "modern"}).command_line()
    yield Guest("block, entropy", "tests/qemu/qemu_mmio_guest", [], told, disk=DISK.expected,
                console=[r"^cell: .* virtio_mmio\.device=4K@0xd0000000:\d+ virtio_mmio\.device=4K@0xd0001000:\d+"])
    yield Guest("lsvirtio", "examples/lsvirtio", [], "json=1", report=reported, disk=DISK.content)
    yield Guest("the demo binds all that is offered", "examples/demo_mmio", [], "demo=1", disk=DISK.content,
                console=["^Bound: block entropy balloon$", rf"^  SHA-256 {hashlib.sha256(DISK.content()).hexdigest()}$"])
    yield Guest("the machine has no disk", "examples/01_blk_mmio", [], status=1,
                console=[r"\Ano disk: there is no such device.*\n(.*\n)*  slot \d  entropy device, MMIO: usable\n"])


SCRIPT = f"""
run() {{
  number=$1 seconds=$2 disk=$3 program=$4 image=$5 words=$6
  [ -z "$disk" ] || cp "$disk" disk.img
  [ -z "$disk" ] || words=$(echo "$words" | sed "s/{IDENTITY}/$(stat -c '%d' disk.img)0$(stat -c '%i' disk.img)/")
  timeout $seconds $program $image "$words" ${{disk:+disk.img}} >console 2>complaints
  status=$?
  for file in console complaints; do base64 $file | sed "s/^/$number $file /"; done
  [ -z "$disk" ] || sha256sum disk.img | sed "s/^/$number disk /"
  echo "$number status $status"
}}
"""


def script_and_files(all_guests, tree, folder):
    library = pathlib.Path(os.environ["LIBKRUN"])
    program = folder.resolve() / "krun"
    subprocess.run([shutil.which("gcc") or "cc", "-Wall", "-Wextra", "-Werror", "-O1", str(pathlib.Path(__file__).with_name("krun.c")), "-o",
                    program, library, f"-Wl,-rpath,{library.parent}"], check=True)
    files = linux_host.program(program, {})
    script = [SCRIPT]
    for number, guest in enumerate(all_guests):
        image = f"/guests/{number}"
        files |= {image: tree / guest.image} | ({"/disks/disk": DISK.content()} if guest.disk else {})
        script.append(shlex.join(["run", str(number), str(inner.GUEST_TIME), "/disks/disk" if guest.disk else "", str(program), image,
                                  guest.append]) + "\n")
    return "".join(script), files


if __name__ == "__main__":
    sys.exit(alioth.main(sys.argv[1:], __doc__, "libkrun", guests(), script_and_files))
