# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix about disks: requests besides reading and writing, and external events."""

SPARSE = "driver=raw,discard=unmap,file.driver=file,file.discard=unmap,file.filename={image}"


def extent_cells(kit):
    """Discard and write zeroes, checked in the image afterwards."""
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
    yield kit.Cell("pc blk: discard=off, write-zeroes=off: refused with an error", disks=[kit.Disk(options="discard=off,write-zeroes=off")],
                   tell={"run": "no_extents", **kit.negotiated("modern", blk=tuple(set(kit.BLK) - {"discard", "write_zeroes"}))})


def vast_cells(kit):
    """One call for 4 GiB, on a host that takes less than 2 GiB in a request. The buffer is the guest's memory above 4
    GiB; with a null device it is not accessed, and the host needs no such memory."""
    size, at, backend = 4 << 30, 4 << 30, "memory-backend-ram,id=vast,size=8G,reserve=off"
    for processor, name, variant in (("x86_64", "pc", "legacy-only"), ("x86_64", "pc", "modern-only"), ("aarch64", "virt", "modern-only"),
                                     ("riscv64", "virt", "modern-only")):
        via = "legacy" if variant == "legacy-only" else "modern"
        told = {"run": "vast", "size": size, "at": at, "via": via, **kit.negotiated(via, variant)}
        # pages of 1 GiB: the start code maps memory above 4 GiB with them
        pages = ["-cpu", "qemu64,+pdpe1gb"] if name == "pc" else []
        machine = {"machine": f"{name},memory-backend=vast", "memory": 8 << 10, "variant": variant, "processor": processor,
                   "extra": [*pages, "-object", backend]}
        yield kit.Cell(f"{kit.named(name, processor)} {variant} blk: 4 GiB in one call", tell=told, long=processor == "riscv64",
                       disks=[kit.Disk(backend=f"driver=null-co,size={size + 4096}")], **machine)
        if name == "pc":
            yield kit.Cell(f"{name} {variant} blk: 4 GiB of a file in one call, each GiB in its place", long=True,
                           tell={**told, "marked": 1}, disks=[kit.Sparse(sectors=size // 512)], **machine)


def fact_cells(kit):
    """A disk's own properties, and the switch of its cache."""
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


def engine_cells(kit):
    """Requests of every kind, as many as the queue holds."""
    for variant, told, options in (("modern-only", {}, ""), ("legacy-only", {}, ""), ("transitional", {}, "event_idx=off"),
                                   ("modern-only", {"queue": 16, "indirect": 0}, "queue-size=16,indirect_desc=off")):
        via = "legacy" if variant == "legacy-only" else "modern"
        drop = (10000, 3000)
        disk = kit.Disk(write=(1000, 257), options=options, zeroes=(drop,))
        yield kit.Cell(f"pc {variant} blk: reads, writes, flushes, serials, zeroes and discards at full depth {options}".rstrip(),
                       variant=variant, disks=[disk], console=["^mixed: 4000 requests, "],
                       tell={"run": "mixed", "requests": 4000, "drop": drop[0], "drop_count": drop[1], "via": via})


def event_cells(kit):
    """External events of a disk."""
    for variant in ("modern-only", "transitional", "legacy-only"):
        via = "legacy" if variant == "legacy-only" else "modern"
        told = {"via": via, **kit.negotiated(via, variant)}
        grown, shrunk = kit.SECTORS + 3000, kit.SECTORS + 1000
        sizes = [("block_resize", {"node_name": "disk", "size": 512 * sectors}) for sectors in (grown, shrunk)]
        yield kit.Cell(f"pc {variant} blk: resized while it is read", variant=variant, disks=[kit.Disk(resized=shrunk)],
                       tags="[BLK-05][BLK-06]", tell={"run": "resize", "grown": grown, "shrunk": shrunk, **told},
                       script=[("^reading$", sizes[0]), ("^reading more$", sizes[1])],
                       console=[rf"^resized to {grown} ", rf"^resized to {shrunk} "])
        # Only the stop ends these transfers.
        pause = [step for n in range(3) for step in ((rf"^transferring {n}$", *([kit.LET_GO] if n == 2 else []), ("stop", {})),
                                                     ("event STOP", ("cont", {})), ("event RESUME",))]
        yield kit.Cell(f"pc {variant} blk: the machine is stopped in mid-transfer, and continues", variant=variant,
                       disks=[kit.Disk(write=(2000, 64), backend=kit.HELD)], tell={"run": "stopped", "rounds": 6, "stops": 3, **told},
                       script=pause, extra=kit.HOLD)
        yield kit.Cell(f"pc {variant} blk: the machine is reset in mid-transfer, and starts again", variant=variant,
                       disks=[kit.Disk(write=(2000, 64), backend=kit.HELD)], tell={"run": "reset_midway", **told},
                       console=["^second life$"], tags="[INIT-01]", extra=["-object", "throttle-group,id=held"],
                       # Machines of the matrix end at a reset; this one is configured otherwise. The disk keeps the
                       # requests that it then holds: they must be released before later requests can run.
                       script=[("^hold it$", kit.HOLD_NOW, b"!"),
                               ("^transferring 2$", kit.LET_GO, ("set-action", {"reboot": "reset"}), ("system_reset", {})),
                               ("event RESET",)])
    for via, bad in ((via, bad) for via in ("modern", "legacy") for bad in ("read", "write", "flush")):
        variant = f"{via}-only"
        where = "" if bad == "flush" else ",file.inject-error.0.sector=44"  # QEMU itself reads the first sector
        backend = ("driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={image},file.inject-error.0.event=none,"
                   f"file.inject-error.0.iotype={bad},file.inject-error.0.once=on,file.inject-error.0.errno=5{where}")
        yield kit.Cell(f"pc {via} blk: one {bad} fails, and the disk recovers", variant=variant,
                       disks=[kit.Disk(backend=backend, write=(2000, 64))],
                       tell={"run": "recovers", "bad": bad, **kit.negotiated(via, variant)})


def vhost_user_cells(kit):
    """A disk in another process, which accesses the rings itself: modern and split only."""
    shared = ["-object", "memory-backend-memfd,id=shared,size=128M,share=on"]
    drop = (10000, 3000)
    for machine in ("pc", "q35"):
        disk = kit.Disk(vhost_user=True, serial="vhost_user_blk", write=(1000, 257), zeroes=(drop,))
        yield kit.Cell(f"{machine} vhost-user-blk: reads, writes and requests of every kind", f"{machine},memory-backend=shared",
                       "modern-only", [disk], extra=shared,
                       tell={"run": "disk,mixed", "via": "modern", "requests": 4000, "drop": drop[0], "drop_count": drop[1],
                             **kit.negotiated("modern", blk=("size_max", *kit.BLK))})


def example_cells(kit):
    for variant in ("modern-only", "transitional", "legacy-only"):
        for machine in ("pc", "q35"):
            yield kit.Cell(f"{machine} {variant} example 05_blk_batched", machine, variant, [kit.Disk(copied=(0, 2048, 2048))],
                           image="examples/05_blk_batched", console=[r"\A\Z"])
    yield kit.Cell("pc example 05_blk_batched with a disk too small", disks=[kit.Disk(sectors=2048)], status=1,
                   image="examples/05_blk_batched", console=[r"\Acopy: it exceeds the device"])


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module: Disk, Cell, negotiated and so on."""
    yield from extent_cells(kit)
    yield from vast_cells(kit)
    yield from fact_cells(kit)
    yield from engine_cells(kit)
    yield from event_cells(kit)
    yield from vhost_user_cells(kit)
    yield from example_cells(kit)
