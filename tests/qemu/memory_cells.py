# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix on machines with much memory. From 3 GiB on, firmware places 64-bit BARs above 4 GiB, and
with a processor of more address bits, beyond what the start code has mapped. The place depends on the firmware's
version, so these cells also run on the newest QEMU."""
import functools

SIZES = {"512 MiB": 512, "3 GiB": 3072, "6 GiB": 6144}  # a guest that uses little takes little from the host


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module: Disk, Cell and so on."""
    cell = functools.partial(kit.Cell, only=tuple(kit.VARIABLES))
    for machine in ("pc", "q35"):
        for number, (size, memory) in enumerate(SIZES.items()):
            for variant in ("modern-only", "transitional", "legacy-only"):
                yield cell(f"{machine} {variant} example 01_blk, {size} of memory", machine, variant, [kit.Disk(flips=True)],
                           image="examples/01_blk", memory=memory, console=[r"\A\Z"])
            variant = ("legacy-only", "modern-only", "transitional")[number]
            yield cell(f"{machine} {variant} example 02_rng, {size} of memory", machine, variant, [], [kit.Rng()],
                       image="examples/02_rng", memory=memory, console=[r"\A(0x[0-9a-f]{1,2} ){32}\n\Z"])
            yield cell(f"{machine} modern-only demo, {size} of memory", machine, "modern-only", [kit.Disk()], [kit.Rng()],
                       image="examples/demo", memory=memory, console=[r"block device", r"sha256|SHA-256"])
            # A kernel whose pointers are not physical addresses. It flips a bit each time it has reached the disk.
            ways = "through ports: {0}\n" + ("no MCFG\n" if machine == "pc" else "through memory: {0}\n")
            for variant, via in (("modern-only", "modern"), ("transitional", "modern"), ("legacy-only", "legacy")):
                yield cell(f"{machine} {variant} example higher_half, {size} of memory", machine, variant,
                           [kit.Disk(flips=machine == "pc")], [kit.Rng()], image="examples/higher_half", memory=memory,
                           console=[r"\A" + ways.format(via) + r"\Z"])
        # QEMU 10's firmware places the BARs at 56 TiB, which takes page tables of two or three levels.
        for pages in ("+", "-"):
            yield cell(f"{machine} modern-only example 01_blk, 46 address bits, {pages}pdpe1gb", machine, "modern-only",
                       [kit.Disk(flips=True)], extra=["-cpu", f"max,phys-bits=46,{pages}pdpe1gb"], image="examples/01_blk",
                       memory=6144, console=[r"\A\Z"])
