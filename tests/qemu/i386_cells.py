# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix for the 32-bit guest: the same programs, on a processor without 64 bits and SSE, and BARs
that the firmware placed out of its reach."""
from register_cells import BIG_NEIGHBOUR

OLD_PROCESSOR = ["-cpu", "pentium2"]


def cells(m):
    """Returns all of them; `m` is matrix.py's module, for its types and tables."""
    both = {"run": "disk,rng"}

    def cell(name, machine, variant, tell, options="", image="tests/qemu/qemu_guest", disk=None, extra=(), **more):
        disks = [disk or m.Disk(options=options, write=(1000, 257))]
        return m.Cell(f"i386 {name}", machine, variant, disks, [m.Rng(options)], [*OLD_PROCESSOR, *extra], tell=tell, image=image,
                      processor="i386", **more)

    for machine in ("pc", "q35"):
        for variant in ("modern-only", "transitional", "legacy-only"):
            via = "legacy" if variant == "legacy-only" else "modern"
            yield cell(f"{machine} {variant} blk+rng", machine, variant, both | {"via": via} | m.negotiated(via, variant))
        for event_idx in (True, False):
            ring = ["event_idx", "indirect_desc"] if event_idx else []
            yield cell(f"{machine} blk+rng, BARs above 4 GiB, through the configuration window" + ("" if event_idx else ", ring features off"),
                       machine, "modern-only", {"run": "above,disk,rng", "via": "modern", **m.negotiated("modern", ring=ring)},
                       "" if event_idx else "event_idx=off,indirect_desc=off", extra=BIG_NEIGHBOUR)
        for variant in ("modern-only", "transitional", "legacy-only"):
            yield m.Cell(f"i386 {machine} {variant} example 01_blk", machine, variant, [m.Disk(flips=True)], [], OLD_PROCESSOR,
                         image="examples/01_blk", processor="i386", console=[r"\A\Z"])
        yield m.Cell(f"i386 {machine} example 01_blk, BARs above 4 GiB", machine, "modern-only", [m.Disk(flips=True)], [],
                     [*OLD_PROCESSOR, *BIG_NEIGHBOUR], image="examples/01_blk", processor="i386", console=[r"\A\Z"])
        yield m.Cell(f"i386 {machine} example 02_rng, BARs above 4 GiB", machine, "modern-only", [], [m.Rng()],
                     [*OLD_PROCESSOR, *BIG_NEIGHBOUR], image="examples/02_rng", processor="i386",
                     console=[r"\A(0x[0-9a-f]{1,2} ){32}\n\Z"])
        yield m.Cell(f"i386 {machine} example 10_clock: there is no control device", machine, "modern-only", [], [], OLD_PROCESSOR,
                     image="examples/10_clock", processor="i386", status=1, console=[r"\Ano control device: there is no such device"])
        # A board without the window: the program's message must be enough to fix it.
        yield m.Cell(f"i386 {machine} example 01_blk, BARs above 4 GiB, on a board with less reach: the message has the place and the remedy", machine,
                     "modern-only", [m.Disk()], [], [*OLD_PROCESSOR, *BIG_NEIGHBOUR], image="tests/qemu/qemu_narrow", processor="i386",
                     status=1, console=[
                         r"\Astart: the device or the platform does not support this\n  block device: a BAR lies where it cannot be accessed\n"
                         r"    BAR 4: 0x4000 bytes, at 0x[1-9a-f][0-9a-f]{8,}\n    capability: common configuration\n"
                         r"    what to do: map the BAR and raise the board's reach, or put pci::windowed around the host\n\Z"])
        yield m.Cell(f"i386 {machine} example c_firmware, BARs above 4 GiB, on a board with less reach: the message has the place and the remedy",
                     machine, "modern-only", [m.Disk()], [], [*OLD_PROCESSOR, *BIG_NEIGHBOUR], image="tests/qemu/qemu_narrow_c",
                     processor="i386", status=1, console=[
                         r"^disk: the device or the platform does not support this\n"
                         r"block \(type 2\): a BAR lies where it cannot be accessed\n  BAR 4: 0x4000 bytes, at 0x[1-9a-f][0-9a-f]{8,}\n"
                         r"  what to do: map the BAR and raise the board's reach, or put pci::windowed around the host\n"])
    # The boot loader's case: a 64-bit processor in 32-bit mode, with memory above 4 GiB.
    yield m.Cell("i386 pc blk+rng on a 64-bit processor, -m 6G", "pc", "modern-only", [m.Disk(write=(1000, 257))], [m.Rng()],
                 tell={"run": "above,disk,rng", "via": "modern", **m.negotiated("modern")}, processor="i386", memory=6144,
                 only=("10",))
    far = {"machine": "pc", "variant": "modern-only", "extra": BIG_NEIGHBOUR}
    features = m.negotiated("modern")
    yield cell("pc blk, BARs above 4 GiB, 70000 requests: indices wrap", disk=m.Disk(),
               tell={"run": "above,disk", "requests": 70000, **features}, **far)
    yield cell("pc blk, BARs above 4 GiB: reset, start again, hand over", disk=m.Disk(write=(300, 99)),
               tell={"run": "above,life", **features}, **far)
    yield cell("pc blk, BARs above 4 GiB: the device takes longer than the guest waits",
               disk=m.Disk(backend=m.HELD), script=m.OUTWAITED, tell={"run": "above,patience", "patience": 20000, **features},
               **far | {"extra": [*BIG_NEIGHBOUR, *m.HOLD]})
    yield cell("pc blk+rng modern-pio-notify=on, BARs above 4 GiB: doorbells are ports nevertheless",
               options="modern-pio-notify=on",
               tell={"run": "above,layout,disk,rng", "bars": 0x14, "multiplier": 0, "notify": 4, **features}, **far)
    yield cell("q35 blk+rng transitional, behind a PCI bridge", "q35", "transitional",
               {"run": "disk,rng", "via": "modern", **features}, "", disk=m.Disk(options="bus=bridge,addr=3", write=(1000, 257)),
               extra=["-device", "pcie-pci-bridge,id=bridge"])
