#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A guest for x86-64 is entered by PVH, as a bzImage and by both versions of Multiboot; GRUB's disk is once an IDE disk
and once a virtio disk. Each loader reports the same about the same machine, and passes the command line unchanged. QEMU
reads Multiboot 1's header too: it is in the file for GRUB, and not in the ELF file, which QEMU would then reject.

usage: test_entries.py [TREE]    TREE is where the guests were built (default: where tools/test does). The commands come
from the environment: QEMU_7 and QEMU_10
Status 77: a part is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1).
"""
import pathlib
import sys

import matrix

ENTRIES = {"": "PVH", "bzimage": "Linux", "multiboot": "Multiboot 1", "grub multiboot1": "Multiboot 1", "grub multiboot2": "Multiboot 2"}
DISKS = {"pc": "ide-hd", "q35": "virtio-blk-pci"}
WORDS = "run=loader say=\x7e,!#*()[]{}<>;&$?"  # unchanged, although a shell would interpret them


def complaints(told):
    """Yields the errors in the guest's reports, by entry."""
    maps, tables = {}, {}
    for form, (status, console) in told.items():
        lines = console.splitlines()
        if status != 0:
            yield f"by {ENTRIES[form]} ({form}): status {status}"
        if f"entered by {ENTRIES[form]}" not in lines:
            yield f"not entered by {ENTRIES[form]}"
        # QEMU's Multiboot puts the file's name first
        if not any(line.startswith("cell: ") and line.endswith(WORDS) for line in lines):
            yield f"by {ENTRIES[form]}: another command line"
        maps[form] = sorted(line for line in lines if line.startswith("memory "))
        tables[form] = [line for line in lines if "ACPI: " in line]
    for form, found in maps.items():
        if found != maps[""]:
            yield f"the memory map of {ENTRIES[form]} is not that of PVH"
        if tables[form] != tables[""]:
            yield f"the tables of {ENTRIES[form]} are not those of PVH"
    if not any(line.endswith(": usable") for line in maps[""]) or not tables[""]:
        yield "there is no memory, or no table"


def main(arguments):
    tree = pathlib.Path(arguments[0]) if arguments else matrix.BUILDS["x86_64"]
    if why := matrix.why_no_grub():
        return matrix.skip(why)
    any_wrong = False
    for version in ("7.2", "10"):
        cell = matrix.Cell("")
        if why := matrix.missing(cell, version):
            return matrix.skip(why)
        for machine, disk in DISKS.items():
            with matrix.folder_for(tree, f"entries {version} {machine}") as (folder, wrong):
                images = {form: matrix.make_form(form, tree / cell.image, folder, WORDS) if form else tree / cell.image for form in ENTRIES}
                # A BIOS keeps memory for its own driver, so the disk is present with every loader.
                beside = ["-blockdev", f"driver=raw,node-name=disk,file.driver=file,file.filename={images['grub multiboot1']}",
                          "-device", f"{disk},drive=disk"]
                told = {}
                for form, image in images.items():
                    of_disk = {"disk": disk} if form.startswith("grub") else {"append": WORDS, "extra": beside}
                    told[form] = matrix.guestrun.boot(image, matrix.qemu_for(cell, version), machine, 3072, **of_disk)
                wrong += complaints(told)
                print("WRONG" if wrong else "ok   ", f"QEMU {version}, {machine}, GRUB on {disk}")
                for form, (_, console) in told.items() if wrong else ():
                    print(f"by {ENTRIES[form]}:", *(f"      | {line}" for line in console.splitlines()), sep="\n")
                print(*(f"      WRONG: {line}" for line in wrong), sep="\n", end="")
                any_wrong = any_wrong or bool(wrong)
    return 1 if any_wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
