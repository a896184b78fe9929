# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix about disks: requests beyond reading and writing, and what can happen to a disk from outside."""

SPARSE = "driver=raw,discard=unmap,file.driver=file,file.discard=unmap,file.filename={image}"


def extent_cells(kit):
    """Discard and write zeroes, looked for in the image afterwards."""
    def cell(name, variant, options="", block=1, **told):
        zero, unmap, drop, single = (800, 1000), (4000, 2000), (8192, 4096), (13000, 24)
        singles = tuple((single[0] + 2 * block * n, block) for n in range(single[1]))
        disk = kit.Disk(sectors=kit.SECTORS - 3, backend=SPARSE, options=options, zeroes=(zero, unmap, drop, *singles), holes=(drop,))
        words = {"zero": zero, "unmap": unmap, "drop": drop, "single": single}
        words = {key: value for word, (first, count) in words.items() for key, value in ((word, first), (f"{word}_count", count))}
        via = "legacy" if variant == "legacy-only" else "modern"
        return kit.Cell(f"pc {variant} blk: {name}", variant=variant, disks=[disk], tags="[BLK-11][BLK-18]",
                        tell={"run": "extents", **words, **told, **kit.negotiated(via, variant)})

    for variant in ("modern-only", "transitional", "legacy-only"):
        yield cell("discard and write zeroes are in the image", variant)
        yield cell("discard and write zeroes of 64 sectors at most are split", variant,
                   "max-discard-sectors=64,max-write-zeroes-sectors=64", max_sectors=64)
        yield cell("discard and write zeroes of 4096-byte blocks", variant, "logical_block_size=4096,physical_block_size=4096", 8)
    yield kit.Cell("pc blk: discard=off, write-zeroes=off: refused by name", disks=[kit.Disk(options="discard=off,write-zeroes=off")],
                   tell={"run": "no_extents", **kit.negotiated("modern", blk=tuple(set(kit.BLK) - {"discard", "write_zeroes"}))})


def fact_cells(kit):
    """What a disk says of itself, and the switch of its cache."""
    for via in ("modern", "legacy"):
        variant = f"{via}-only"
        yield kit.Cell(f"pc {via} blk: topology in sectors", variant=variant,
                       disks=[kit.Disk(sectors=kit.SECTORS - 3, options="logical_block_size=1024,physical_block_size=8192,"
                                                                        "min_io_size=16384,opt_io_size=65536")],
                       tell={"run": "topology", "block": 1024, "physical": 16, "smallest": 32, "best": 128,
                             **kit.negotiated(via, variant)})
        for options, wide in (("", 1), ("write-cache=off", 0)):
            yield kit.Cell(f"pc {via} blk: the write cache is switched off and on, {options or 'on'} at first", variant=variant,
                           disks=[kit.Disk(options=options, write=(300, 5))], tags="[BLK-16]",
                           tell={"run": "cache", "cached": wide, **kit.negotiated(via, variant)})


def cells(kit):
    """All of them; `kit` is what matrix.py has: Disk, Cell, negotiated and so on."""
    yield from extent_cells(kit)
    yield from fact_cells(kit)
