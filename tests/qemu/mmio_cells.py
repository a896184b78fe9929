# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix on machines whose devices are in MMIO slots: both versions, with the drivers that PCI's cells use."""
import itertools

MACHINES = {"microvm": ("microvm,isa-serial=on", "x86_64"), "virt": ("virt", "aarch64")}
GUEST = "tests/qemu/qemu_mmio_guest"


def ring_cells(m):
    """Every combination of ring features, disk and entropy in one boot."""
    for (machine, (options, processor)), version, event_idx, indirect in itertools.product(
            MACHINES.items(), (1, 2), (True, False), (True, False)):
        via = "legacy" if version == 1 else "modern"
        switches = f"event_idx={m.switch(event_idx)},indirect_desc={m.switch(indirect)}"
        ring = [*(["event_idx"] if event_idx else []), *(["indirect_desc"] if indirect else [])]
        yield m.Cell(f"{machine} mmio version {version} blk+rng event_idx={m.switch(event_idx)} indirect={m.switch(indirect)}",
                     options, f"mmio version {version}", [m.Disk(options=switches, write=(1000, 257))], [m.Rng(switches)],
                     image=GUEST, processor=processor,
                     tell={"run": "disk,rng", "via": via, **m.negotiated(via, f"{via}-only", ring=ring)},
                     tags="[MMIO-04][MMIO-29]" + ("[SPLITL-02][LEGACY-04]" if version == 1 else ""))


def cells_of(m, machine, options, processor, version):
    via, other = ("legacy", "modern") if version == 1 else ("modern", "legacy")
    usual = m.negotiated(via, f"{via}-only")

    def cell(what, *devices, tell=None, image=GUEST, **more):
        return m.Cell(f"{machine} mmio version {version} {what}", options, f"mmio version {version}",
                      [one for one in devices if isinstance(one, m.Disk)], [one for one in devices if isinstance(one, m.Rng)],
                      image=image, processor=processor, tell=tell or {}, **more)

    yield cell("blk driver-queue=4 device-queue=1024: the driver's size", m.Disk(options="queue-size=1024", write=(77, 65)),
               tell={"run": "disk", "queue": 4, "indirect": 0, "entries": 4, "requests": 300,
                     **m.negotiated(via, f"{via}-only", ring=("event_idx",))})
    yield cell("blk 70000 requests: indices wrap", m.Disk(), tell={"run": "disk", "requests": 70000, **usual})
    yield cell("blk: reset, start again, hand over", m.Disk(write=(300, 99)), tell={"run": "life", **usual})
    yield cell("rng: reset, start again, hand over", m.Rng(), tell={"run": "rng_life", **usual})
    if version == 2:  # QEMU offers RING_RESET here too, and has no register for it: the queue just goes on
        yield cell("rng queue_reset=on: a reset of its queue that does nothing is noticed", m.Rng("queue_reset=on"),
                   tell={"run": "restart_split", "restart": "device_misbehaved"})
    yield cell("blk: the device takes longer than the guest waits", m.Disk(backend=m.HELD), extra=m.HOLD, script=m.OUTWAITED,
               tags="[SHUTDOWN-02]",
               tell={"run": "patience", "patience": 20000, **usual})
    yield cell("blk: storage too small or misaligned", m.Disk(), tell={"run": "bad_storage", **usual})
    yield cell("blk: not a driver for an entropy device", m.Disk(), m.Rng(), tell={"run": "wrong_type"})
    # The first device on the command line has the last slot.
    yield cell("two disks: the one with the serial",
               m.Disk(name="other", serial="7", seed=0x77, sectors=m.SECTORS - 1001), m.Disk(), tell={"run": "by_serial"})
    yield cell(f"blk+rng with the {via} transport", m.Disk(write=(5, 3)), m.Rng(),
               tell={"run": "disk,rng", "transport": via, "via": via, **usual})
    yield cell(f"blk+rng with the {other} transport: refused", m.Disk(), m.Rng(), tags="[MMIO-08]" if version == 1 else "",
               tell={"run": "disk,rng", "transport": other, "refused": "unsupported"},
               console=[f"refused: .*: {via} device, and only {other} ones are wanted"])
    yield cell("without devices: every slot is empty", tell={"run": "list,absent", "error": "not_found"}, tags="[MMIO-11]", slots={})
    yield cell("every slot has its verdict", m.Disk(), m.Rng(), extra=["-device", "virtio-balloon-device"], tell={"run": "list"},
               slots=dict.fromkeys(("block", "entropy", "balloon"), "legacy MMIO" if version == 1 else "MMIO"))
    yield cell("example 01_blk", m.Disk(flips=True), image="examples/01_blk_mmio", console=[r"\A\Z"])
    yield cell("example 02_rng", m.Rng(), image="examples/02_rng_mmio", console=[r"\A(0x[0-9a-f]{1,2} ){32}\n\Z"])


def cells(m):
    """All of them; `m` is the matrix, for its types and tables."""
    yield from ring_cells(m)
    for (machine, (options, processor)), version in itertools.product(MACHINES.items(), (1, 2)):
        yield from cells_of(m, machine, options, processor, version)
