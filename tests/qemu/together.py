#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the cells of the QEMU matrix in batches: one process for up to 24 of them, and one boot for several cells that
differ only in their devices. Such a boot has the devices of all its cells; the guest receives one cell after the other
and marks the start and end of each. A cell that fails, hangs or ends the machine ends the boot, and only that cell
fails: later cells run in the next boot.

usage: together.py --list [--long] [--qemu 7.2|10|11] [--processor aarch64]
                                     prints the batches, each followed by its cells: image, drivers, name
       together.py [--qemu 7.2|10|11] [--processor aarch64] BATCH     runs one and leaves each cell's result for result.sh
The status is 0 whatever the results: each cell has its own.
"""
import argparse
import contextlib
import dataclasses
import io
import os
import pathlib
import re
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
sys.dont_write_bytecode = True
import i386_cells  # noqa: E402
import matrix  # noqa: E402
import results  # noqa: E402
from matrix import guestrun  # noqa: E402

# ---- which cells go together ----

GUESTS = ("tests/qemu/qemu_guest", "tests/qemu/qemu_mmio_guest")
# The guest's words for the given devices: it neither searches for others nor moves any.
WORDS = {"disk", "rng", "life", "rng_life", "rng_slow", "read_only", "large_blocks", "extents", "no_extents", "topology", "cache",
         "mixed", "bad_sectors"}
FEW_SLOTS = 4                # in one boot: a cell may use two of a machine's eight MMIO slots
USUALLY = 12                 # other machines have about thirty
LONGEST_LINE = 3500          # of a guest's command line; the loader has 4096 bytes for it
BATCH = 24
SLOW_BATCH = 4
LONG = "long cells"  # batches that are listed only with --long


def is_slow(cell):
    """Whether it takes a second or more: it waits for a slow disk or for the host, or counts past 65536."""
    return bool(cell.script) or "throttle-group" in " ".join(cell.extra) or counts_far(cell)


def counts_far(cell):
    return any(cell.tell.get(word, 0) >= 60000 for word in ("requests", "rng_requests"))


def key(cell):
    """Returns what cells must have in common to share a boot; None if a cell needs its own."""
    shares = (cell.image in GUESTS and set(cell.tell.get("run", "").split(",")) <= WORDS and not is_slow(cell)
              and cell.extra in ([], i386_cells.OLD_PROCESSOR) and cell.status == 0 and cell.functions is None and cell.slots is None
              and cell.beside is None and not cell.form and cell.place is None
              and len(cell.disks) <= 1 and len(cell.rngs) <= 1
              and not any(disk.vhost_user or disk.plugged or disk.resized or "bus=" in disk.options for disk in cell.disks))
    return (cell.machine, cell.memory, cell.image, *cell.extra, *matrix.GLOBALS.get(cell.variant, [])) if shares else None


def has_few_slots(cell):
    return cell.variant.startswith("mmio") and (cell.machine.startswith("microvm") or cell.processor == "riscv64")


def boots(cells):
    """Returns the cells as lists, each for one boot; cells that share no boot are in the first list."""
    open_ones, made = {}, []
    for cell in cells:
        kind = key(cell)
        if kind is None:
            made.append([cell])
            continue
        mates = open_ones.get(kind)
        most = FEW_SLOTS if has_few_slots(cell) else USUALLY
        if mates is None or len(mates) == most or len(command_line(place([*mates, cell]))) > LONGEST_LINE:
            open_ones[kind] = mates = []
            made.append(mates)
        mates.append(cell)
    return made


def batches(version, processor):
    """Returns the cells of a processor: {batch's name: a list of cells for each of its boots}."""
    cells = [cell for cell in matrix.cells(version).values() if cell.processor == processor]
    made = {}
    for most, what, chosen in ((SLOW_BATCH, "slow cells", lambda cell: is_slow(cell) and not cell.long),
                               (BATCH, "cells", lambda cell: not is_slow(cell) and not cell.long),
                               (SLOW_BATCH, LONG, lambda cell: cell.long)):
        parts = [[]]
        for boot in boots([cell for cell in cells if chosen(cell)]):
            if parts[-1] and sum(map(len, parts[-1])) + len(boot) > most:
                parts.append([])
            parts[-1].append(boot)
        made |= {f"boot qemu {version} {processor}: {what} {number}": part for number, part in enumerate(parts, 1) if part}
    return made


def drivers(cell):
    """Returns the drivers that a cell tests: those of its devices, or the one of an example without devices."""
    return [name for name, devices in (("blk", cell.disks), ("rng", cell.rngs), ("balloon", ()), ("console", ()), ("net", ()), ("scsi", ()))
            if devices or re.search(rf"(examples/.*|qemu)_{name}", cell.image)]


def kinds(cells):
    """Returns each cell with the words by which tools/test --changed may choose it: its drivers, and "variation" if an
    earlier cell has the same transport and ring and the guest does the same: they differ in the machine, in sizes or in
    features. Of slow cells one is enough for all transports, and those that count past 65536 are all variations. Words
    with commas, or -."""
    seen = set()
    for cell in cells:
        if cell.variant.startswith("mmio") or is_slow(cell):
            transport = "" if is_slow(cell) else cell.variant
        else:
            transport = "legacy" if "legacy" in (cell.variant.partition("-")[0], cell.tell.get("via")) else "modern"
        told = tuple((word, value if isinstance(value, str) and not value.startswith("0x") else "") for word, value in cell.tell.items())
        script = re.sub(r"\d+", "", str(cell.script))
        kind = (cell.image, transport, told, script, "packed" in cell.name, is_slow(cell), cell.status, "refused" in cell.name,
                len(cell.disks), len(cell.rngs), cell.form)
        yield cell, ",".join([*drivers(cell), *(["variation"] if kind in seen or counts_far(cell) else [])]) or "-"
        seen.add(kind)


def test_name(version, cell):
    """Returns its name in ctest."""
    return f"qemu {version} {cell.name}"


# ---- one boot for several ----

def place(cells):
    """Returns the cells as they are in one machine: their devices have unique names, and the guest receives the names
    of each cell's devices."""
    disks, rngs, placed = sum(len(cell.disks) for cell in cells), sum(len(cell.rngs) for cell in cells), []
    first_disk = first_rng = 0
    for number, cell in enumerate(cells, 1):
        # The first device on the command line has the first place on a PCI bus, and the last slot; on RISC-V the tree
        # lists that slot first.
        ahead = ((disks - first_disk - len(cell.disks), rngs - first_rng - len(cell.rngs))
                 if cell.variant.startswith("mmio") and cell.processor != "riscv64" else (first_disk, first_rng))
        placed.append(dataclasses.replace(
            cell, disks=[dataclasses.replace(disk, name=f"{disk.name}{number}") for disk in cell.disks],
            rngs=[dataclasses.replace(rng, name=f"{rng.name}{number}") for rng in cell.rngs],
            tell=cell.tell | {"first_disk": ahead[0], "first_rng": ahead[1]}))
        first_disk += len(cell.disks)
        first_rng += len(cell.rngs)
    return placed


def command_line(placed):
    return "|".join(cell.command_line() for cell in placed)


def split(console):
    """Returns the console's text of each started cell: [(its text, whether it ended)]."""
    found, text = [], None
    for line in console.splitlines(keepends=True):
        if line == f"cell {len(found) + 1} begins\n" and text is None:
            text = ""
        elif line == f"cell {len(found) + 1} ends\n" and text is not None:
            found.append((text, True))
            text = None
        elif text is not None:
            text += line
    return found if text is None else [*found, (text, False)]


def boot_once(cells, version, tree, boot):
    """Boots several cells once: returns {cell's name: (status, output)} for all that ended, and the one that did not.
    Empty if the boot did not reach the first."""
    placed, told = place(cells), {}
    with matrix.folder_for(tree, f"{version} {cells[0].name} and others") as (folder, failed):
        extra, images = list(matrix.GLOBALS.get(cells[0].variant, [])) + list(cells[0].extra), []
        for cell in placed:
            images.append([folder / f"{disk.name}.img" for disk in cell.disks])
            for disk, image in zip(cell.disks, images[-1]):
                disk.create(image)
                extra += disk.arguments(image, cell.variant)
            for rng in cell.rngs:
                extra += rng.arguments(cell.variant)
        errors, began = io.StringIO(), time.monotonic()
        status, console = boot(tree / cells[0].image, matrix.qemu_for(cells[0], version), cells[0].machine, cells[0].memory,
                               command_line(placed), extra=extra, errors=errors)
        took = time.monotonic() - began
        said = split(console.replace("\r\n", "\n"))
        if not said:
            failed.append(errors.getvalue())
            return {}
        if len(said) < len(cells) and said[-1][1]:  # the next one was about to start
            said.append(("", False))
        for number, (text, ended) in enumerate(said):
            blamed = not ended or (status != 0 and number + 1 == len(cells))  # no later cell can be the cause
            with contextlib.redirect_stdout(io.StringIO()) as output:
                print(f"cell {number + 1} of {len(cells)} in one boot")
                wrong = matrix.report(cells[number], images[number], status if blamed else 0, text, took)
                if blamed:
                    print(errors.getvalue(), end="")
                if not ended and status == 0:
                    wrong.append("the guest ended in the middle of this cell")
                if wrong:
                    print("QEMU's further arguments:", *extra)
                for line in wrong:
                    print("WRONG:", line)
            failed += wrong
            told[cells[number].name] = 1 if wrong else 0, output.getvalue()
    return told


def run(boots_wanted, version, tree, tell, boot=guestrun.boot):
    """Runs lists of cells that share a boot each, and calls tell(cell, status, output) for every one; returns the
    number of boots."""
    count, waiting = 0, [list(cells) for cells in boots_wanted]
    while waiting:
        cells = waiting.pop(0)
        count += 1
        try:
            if len(cells) == 1 or matrix.missing(cells[0], version):
                with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(output):
                    status = matrix.run_alone(cells[0], version, tree)
                told = {cells[0].name: (status, output.getvalue())}
            else:
                told = boot_once(cells, version, tree, boot)
        except Exception:  # the host's error: assigned to this cell if only this cell can be the cause
            told = {cells[0].name: (1, f"WRONG: {traceback.format_exc()}")} if len(cells) == 1 else {}
        for cell in cells:
            if cell.name in told:
                tell(cell, *told[cell.name])
        rest = [cell for cell in cells if cell.name not in told]
        waiting = ([rest] if told else [[cell] for cell in rest]) + waiting if rest else waiting
    return count


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--qemu", choices=matrix.VARIABLES, default="7.2")
    parser.add_argument("--processor", choices=matrix.BUILDS, default="x86_64")
    parser.add_argument("--tree", type=pathlib.Path, help="where the guests were built (default: where tools/test does)")
    parser.add_argument("batch", nargs="?")
    options = parser.parse_args(arguments)

    known = batches(options.qemu, options.processor)
    if options.list:
        told = {cell.name: words for cell, words in kinds(cell for parts in known.values() for cells in parts for cell in cells)}
        for name, parts in known.items():
            if LONG in name and not options.long:
                continue
            print(name)
            for cell in (cell for cells in parts for cell in cells):
                print(f"  {cell.image} {told[cell.name]} {test_name(options.qemu, cell)}")
        return 0
    if options.batch not in known:
        parser.error(f"no batch {options.batch!r}; --list names them")
    tree = options.tree or matrix.BUILDS[options.processor]
    wanted = known[options.batch]
    if chosen := os.environ.get("VIRTIO_TEST_CHOSEN"):
        names = set(pathlib.Path(chosen).read_text().splitlines())
        wanted = [cells for cells in ([one for one in cells if test_name(options.qemu, one) in names] for cells in wanted) if cells]
    for cells in wanted:
        for cell in cells:
            results.forget(tree, test_name(options.qemu, cell))
    counts = {}

    def tell(cell, status, output):
        results.store(tree, test_name(options.qemu, cell), status, output)
        counts[status] = counts.get(status, 0) + 1

    count = run(wanted, options.qemu, tree, tell)
    print(f"{sum(counts.values())} cells in {count} boots, {counts.get(1, 0)} wrong, {counts.get(matrix.SKIPPED, 0)} skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
