# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix in which driver and device share a packed ring."""
import itertools


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module: Disk, Rng, Cell and so on."""
    for machine, variant, event_idx, indirect in itertools.product(("pc", "q35"), ("modern-only", "transitional"), (True, False),
                                                                  (True, False)):
        options = f"packed=on,event_idx={kit.switch(event_idx)},indirect_desc={kit.switch(indirect)}"
        ring = ["ring_packed", *(["event_idx"] if event_idx else []), *(["indirect_desc"] if indirect else [])]
        yield kit.Cell(f"{machine} {variant} packed blk+rng event_idx={kit.switch(event_idx)} indirect={kit.switch(indirect)}",
                       machine, variant, [kit.Disk(options=options, write=(1000, 257))], [kit.Rng(options)],
                       tell={"run": "disk,rng", "packed": 1, **kit.negotiated("modern", ring=ring)})
    for queue, indirect in ((4, 8), (5, 0), (100, 0), (256, 0)):
        ring = ("ring_packed", "event_idx", *(["indirect_desc"] if indirect else []))
        yield kit.Cell(f"pc packed blk driver-queue={queue}" + (f" driver-indirect={indirect}" if indirect else ""),
                       variant="modern-only", disks=[kit.Disk(options="packed=on", write=(77, 65))],
                       tell={"run": "disk", "packed": 1, "queue": queue, "indirect": indirect, "entries": queue, "requests": 300,
                             **kit.negotiated("modern", ring=ring)})
    for event_idx in (True, False):
        ring = ("ring_packed", *(["event_idx"] if event_idx else []))
        yield kit.Cell(f"pc packed blk 70000 requests: laps of 5, event_idx={kit.switch(event_idx)}", variant="modern-only",
                       disks=[kit.Disk(options=f"packed=on,event_idx={kit.switch(event_idx)}")],
                       tell={"run": "disk", "packed": 1, "queue": 5, "indirect": 0, "requests": 70000,
                             **kit.negotiated("modern", ring=ring)})
    for variant, options in (("modern-only", ""), ("legacy-only", "")):
        yield kit.Cell(f"pc {variant} blk without packed=on: refused by a driver that requires it", variant=variant,
                       disks=[kit.Disk(options=options)], tell={"run": "disk", "packed": 1, "refused": "unsupported"},
                       console=[r"refused: .*: the device lacks a feature that the driver needs; feature 34 "])
