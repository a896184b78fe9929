#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the text of a boot loader by part. An instruction belongs to the part whose source it was compiled from, so an inlined function
counts for its own part. The last row is a path through several parts: every function that a read of the disk can call while the device
runs, errors included.

usage: loader_text.py IMAGE    IMAGE is an ELF file for x86-64 with debug information
"""
import collections
import os
import re
import shutil
import subprocess
import sys

# The first of these that is in a source's path names its part.
PARTS = (("/include/virtio/bus/", "PCI discovery"),
         ("/include/virtio/transport/", "registers of the device"),
         ("/include/virtio/queue/", "rings"),
         ("/include/virtio/", "driver"),
         ("/examples/files/", "partition tables, FAT"),
         ("/examples/bootloader/entries", "boot entries"),
         ("/examples/bootloader/loading", "files into memory"),
         ("/examples/bootloader/main", "menu, messages"),
         ("/examples/bootloader/", "Linux's protocol"),
         ("/examples/boot/", "board, console, start"))
OTHER = "no source line"
CONSTANTS = "constants: tables, messages"
READ_PATH = "the block read path alone"
# Functions of the block driver where a read begins, and those that end the path: they take the device down. Mangled names have lengths.
DRIVER = "3blk6device"
ROOTS = ("submit_read", "wait_next", "kick", "next_completion")
LEFT_OUT = ("fall", "take_down", "reset")


def run(*command, **more):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True, **more).stdout


def instructions(image):
    """[(address, bytes, target of a call or jump or None)]."""
    listing = run("objdump", "-d", "-w", "--no-show-raw-insn", image)
    found = []
    for address, rest in re.findall(r"^\s+([0-9a-f]+):\t(.*)$", listing, re.M):
        target = re.match(r"(?:call|j\w+)\s+([0-9a-f]+) <", rest)
        found.append((int(address, 16), int(target[1], 16) if target else None))
    ends = [address for address, _ in found[1:]] + [found[-1][0] + 1]
    return [(address, min(end - address, 15), target) for (address, target), end in zip(found, ends)]


def frames(image, addresses):
    """For each address the stack of inlined functions, the innermost first: [(name, source file)]."""
    symbolizer = shutil.which("llvm-symbolizer") or "llvm-symbolizer-19"
    said = run(symbolizer, f"--obj={image}", "--inlines", "--functions=linkage", "--no-demangle", input="\n".join(map(hex, addresses)))
    for block in said.strip().split("\n\n"):
        lines = block.split("\n")
        yield [(name, os.path.normpath(place.rsplit(":", 2)[0])) for name, place in zip(lines[::2], lines[1::2])]


def part_of(path):
    return next((name for piece, name in PARTS if piece in path), OTHER)


def is_call_of(frame, names):
    """Returns whether the frame is of a function of the library with one of these names, which are mangled in it."""
    return "/include/virtio/" in frame[1] and any(f"{len(name)}{name}" in frame[0] for name in names)


def symbols(image):
    """[(address, bytes, name)] of all functions."""
    rows = (line.split() for line in run("nm", "-S", image).splitlines())
    return sorted((int(row[0], 16), int(row[1], 16), row[3]) for row in rows if len(row) == 4 and row[2] in "tTwW")


def count(image):
    """Returns {part: bytes}, the read path last."""
    code = instructions(image)
    stacks = list(frames(image, [address for address, _, _ in code]))
    out = collections.Counter({name: 0 for _, name in PARTS})
    for (_, size, _), stack in zip(code, stacks):
        out[part_of(stack[0][1])] += size
    for line in run("size", "-A", image).splitlines():
        if line.startswith((".rodata", ".data")):
            out[CONSTANTS] += int(line.split()[1])

    functions = symbols(image)
    begins = {address: (address, address + size) for address, size, _ in functions}
    by_address = {address: i for i, (address, _, _) in enumerate(code)}
    on_path, todo = set(), []
    for i, stack in enumerate(stacks):
        if any(is_call_of(frame, ROOTS) and DRIVER in frame[0] for frame in stack):
            todo.append(i)
    while todo:
        i = todo.pop()
        if i in on_path or any(is_call_of(frame, LEFT_OUT) for frame in stacks[i]):
            continue
        on_path.add(i)
        if code[i][2] in begins:
            begin, end = begins[code[i][2]]
            todo += [by_address[address] for address, _, _ in code[by_address[begin]:] if address < end] if begin in by_address else []
    out[READ_PATH] = sum(code[i][1] for i in on_path)
    return out


def table(counts):
    """Returns the lines of a table in Markdown."""
    rows = [(name, size) for name, size in counts.items() if size and name != READ_PATH]
    rows += [("all", sum(size for _, size in rows)), (READ_PATH, counts[READ_PATH])]
    return ["| part | bytes |", "|---|---:|", *(f"| {name} | {size} |" for name, size in rows)]


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    print("\n".join(table(count(arguments[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])
