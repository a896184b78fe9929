# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix on virt, 64-bit Arm and RISC-V: PCI through ECAM, and the library places every BAR."""
import itertools
import types

import image_place

VARIANTS = {"modern-only": "modern PCI", "transitional": "modern PCI", "legacy-only": "legacy PCI"}
SBI = ["-bios", "default"]  # OpenSBI in machine mode, and the guest in supervisor mode; without it there is no firmware


def maker(m, processor, short=()):
    """Makes cells on virt; with `short` all cells except those with these names are long."""
    def cell(what, variant, *devices, machine="virt", **more):
        name = f"{variant} {what}".strip()
        return m.Cell(f"{m.named(machine, processor)} {name}", machine, variant or "modern-only", [one for one in devices if isinstance(one, m.Disk)],
                      [one for one in devices if isinstance(one, m.Rng)], processor=processor, long=bool(short) and name not in short, **more)
    return cell


# Machine and library are the same on RISC-V: each run boots only cells that depend on the processor, --long boots all.
SHORT = {"modern-only blk+rng event_idx=on indirect=on", "transitional blk+rng event_idx=off indirect=off",
         "legacy-only blk+rng event_idx=on indirect=on", "modern-only blk+rng: every function has its verdict",
         "modern-only example 01_blk", "legacy-only example 01_blk", "modern-only blk+rng behind OpenSBI",
         "modern-only example 01_blk behind OpenSBI", "rng in slot 5: its pin raises the interrupt in the tree",
         "modern-only blk+rng, the image at a page of its own choice"}


def cells(m):
    """Returns all of them; `m` is matrix.py's module, for its types and tables."""
    for processor, short in (("aarch64", ()), ("riscv64", SHORT)):
        yield from bus_cells(m, maker(m, processor, short), processor)
        yield from places(m, maker(m, processor, short), processor)
    yield from arm_places(m, maker(m, "aarch64"))
    yield from firmware(m, maker(m, "riscv64", SHORT))


def bus_cells(m, cell, processor):
    for variant, event_idx, indirect in itertools.product(VARIANTS, (True, False), (True, False)):
        via = "legacy" if variant == "legacy-only" else "modern"
        options = f"event_idx={m.switch(event_idx)},indirect_desc={m.switch(indirect)}"
        ring = [*(["event_idx"] if event_idx else []), *(["indirect_desc"] if indirect else [])]
        yield cell(f"blk+rng event_idx={m.switch(event_idx)} indirect={m.switch(indirect)}", variant,
                   m.Disk(options=options, write=(1000, 257)), m.Rng(options),
                   tell={"run": "disk,rng", "via": via, **m.negotiated(via, variant, ring)})
    for variant, through in VARIANTS.items():
        via = "legacy" if variant == "legacy-only" else "modern"
        usual = m.negotiated(via, variant)
        yield cell("blk: reset, start again, hand over", variant, m.Disk(write=(300, 99)), tell={"run": "life", **usual})
        if processor == "aarch64":
            yield cell("blk+rng, configuration space below 4 GiB", variant, m.Disk(write=(50, 60)), m.Rng(), machine="virt,highmem=off",
                       tell={"run": "disk,rng", **usual})
        msi = {"aarch64": "virt", "riscv64": "virt,aia=aplic-imsic"}[processor]  # the machine that accepts MSI
        yield cell("blk: MSI-X is on", variant, m.Disk(), machine=msi, tell={"run": "msix", "via": via, **usual})
        yield cell("blk: a BAR without address is named, then assigned", variant, m.Disk(), tell={"run": "unassigned"})
        device_id = {"modern-only": "104"}.get(variant, "100")
        yield cell("blk+rng: every function has its verdict", variant, m.Disk(options="addr=4"), m.Rng("addr=5"),
                   tell={"run": "list"}, functions={
                       "00:00.0 1b36:0008": "no device, no interface: not a virtio device",
                       f"00:04.0 1af4:{device_id}{2 if variant == 'modern-only' else 1}": f"block, {through}: usable",
                       f"00:05.0 1af4:{device_id}{4 if variant == 'modern-only' else 5}": f"entropy, {through}: usable"})
        yield cell("example 01_blk", variant, m.Disk(flips=True), image="examples/01_blk", console=[r"\A\Z"])
        yield cell("example 02_rng", variant, m.Rng(), image="examples/02_rng", console=[r"\A(0x[0-9a-f]{1,2} ){32}\n\Z"])
    yield cell("example 10_clock: there is no control device", "", image="examples/10_clock", status=1,
               console=[r"\Ano control device: there is no such device"])
    yield cell("blk+rng behind root ports", "modern-only", m.Disk(options="bus=port1", write=(50, 60)), m.Rng("bus=port2"),
               extra=["-device", "pcie-root-port,id=port1,chassis=1,addr=4", "-device", "pcie-root-port,id=port2,chassis=2,addr=5"],
               tell={"run": "disk,rng", **m.negotiated("modern")})
    # QEMU 7.2 has none for RISC-V
    largest = {"aarch64": ("-cpu max, ", ["-cpu", "max"]), "riscv64": ("", [])}[processor]
    yield cell(f"blk+rng, {largest[0]}4 GiB of memory", "modern-only", m.Disk(write=(50, 60)), m.Rng(), memory=4096,
               extra=largest[1], tell={"run": "disk,rng", **m.negotiated("modern")})
    yield m.Cell(f"{m.named('virt', processor)} without devices: not_found", "virt", tell={"run": "list,absent", "error": "not_found"},
                 processor=processor, long=processor != "aarch64",
                 functions={"00:00.0 1b36:0008": "no device, no interface: not a virtio device"})


def firmware(m, cell):
    """The same images after OpenSBI, which prints much on the console, with one processor and with several."""
    for variant in VARIANTS:
        via = "legacy" if variant == "legacy-only" else "modern"
        yield cell("blk+rng behind OpenSBI", variant, m.Disk(write=(50, 60)), m.Rng(), extra=SBI, console=["^OpenSBI v", "^block through"],
                   tell={"run": "disk,rng", **m.negotiated(via, variant)})
        yield cell("example 01_blk behind OpenSBI", variant, m.Disk(flips=True), image="examples/01_blk", extra=SBI, console=["^OpenSBI v"])
        yield cell("example 02_rng behind OpenSBI", variant, m.Rng(), image="examples/02_rng", extra=SBI,
                   console=[r"^(0x[0-9a-f]{1,2} ){32}\n\Z"])
    yield fault(cell, ", behind OpenSBI", extra=SBI)
    yield both(m, cell, "the image at a page of its own choice, behind OpenSBI", extra=SBI, place=image_place.Place(0x8234_5000))
    for name, bios in (("without firmware", []), ("behind OpenSBI", SBI)):
        yield cell(f"blk+rng on one of four processors, {name}", "modern-only", m.Disk(write=(50, 60)), m.Rng(), extra=["-smp", "4", *bios],
                   tell={"run": "disk,rng", **m.negotiated("modern")})


# Of the machine: the start of its memory, an address out of reach, a device whose registers read as 0 where a 16550
# reports that it is ready; and the slots in which an entropy device raises which interrupts, and the places of the
# tree's nodes.
FACTS = {
    "aarch64": types.SimpleNamespace(memory=0x4000_0000, beyond=0x1_0000_0000_0000, silent="/pl031@9010000", flags=", level",
                                     console="PL011 at 0x9000000 0x1000", slots=32,
                                     interrupts=((5, 36, "virt", "0x4010000000 0x10000000"), (10, 37, "virt,highmem=off", "0x3f000000 0x1000000")),
                                     windows=("ports 0x0 at 0x3eff0000 0x10000", "window 0x10000000 at 0x10000000 0x2eff0000")),
    "riscv64": types.SimpleNamespace(memory=0x8000_0000, beyond=0x100_0000_0000_0000, silent="/flash@20000000", flags="",
                                     console="16550 at 0x10000000 0x100", slots=8,
                                     interrupts=((5, 33, "virt", "0x30000000 0x10000000"), (10, 34, "virt", "0x30000000 0x10000000")),
                                     windows=("ports 0x0 at 0x3000000 0x10000", "window 0x40000000 at 0x40000000 0x40000000",
                                              "window 0x400000000 at 0x400000000 0x400000000")),
}


def both(m, cell, what, *, run="disk,rng", **more):
    return cell(f"blk+rng, {what}", "modern-only", m.Disk(write=(50, 60)), m.Rng(), tell={"run": run, **m.negotiated("modern")},
                # names, by addresses in data
                console=["^block through modern PCI, ring", "^entropy through modern PCI, ring"], **more)


def places(m, cell, processor):
    """One image at any load address, on a machine whose tree differs from it, and interrupts as the tree describes
    them."""
    facts = FACTS[processor]
    yield both(m, cell, "the image at a page of its own choice", place=image_place.Place(facts.memory + 0x234_5000))
    yield both(m, cell, "the image beyond 4 GiB", memory=4096, place=image_place.Place(0x1_2000_1000))
    far = f"/pcie@{facts.beyond:x}"  # before the machine's own: fdtput inserts it there
    yield cell("example 02_rng, behind a PCI host that the processor does not reach", "", m.Rng(), image="examples/02_rng",
               place=image_place.Place(edits=(("-p", "-t", "s", "{}", far, "compatible", "pci-host-ecam-generic"),
                                              ("-t", "x", "{}", far, "linux,pci-domain", "7"),
                                              ("-t", "x", "{}", far, "reg", f"{facts.beyond >> 32:x}", "0", "0", "100000"))),
               console=[rf"\APCI host at {facts.beyond:#x}: the processor does not reach its configuration space\n(0x[0-9a-f]{{1,2}} ){{32}}\n\Z"])
    yield cell("example 02_rng, with a console that is never ready", "", m.Rng(), image="examples/02_rng", console=[r"\A\Z"],
               place=image_place.Place(edits=(("-t", "s", "{}", facts.silent, "compatible", "ns16550a"),
                                              ("-t", "s", "{}", "/chosen", "stdout-path", facts.silent))))
    for slot, line, machine, config in facts.interrupts:
        yield cell(f"rng in slot {slot}: its pin raises the interrupt in the tree", "", m.Rng(f"vectors=0,addr={slot:x}"),
                   machine=machine, tell={"run": "interrupt"}, image="tests/qemu/qemu_tree",
                   console=[f"^memory {facts.memory:#x} 0x8000000$", f"^console {facts.console}$", rf"^ECAM buses 0 to \d+ at {config}$",
                            *(f"^{window}$" for window in facts.windows), f"^slots {facts.slots}$",
                            rf"^slot {slot} pin 1: interrupt {line}{facts.flags}\nraised, and is gone$"])
    yield fault(cell)


def fault(cell, what="", **more):
    return cell(f"an access to an unassigned address ends the guest, which prints the address{what}", "", tell={"run": "fault"}, status=125,
                image="tests/qemu/qemu_tree", console=[r"^exception \d+ at 0x[0-9a-f]+ .*\baddress 0x2000000000$"], **more)


def arm_places(m, cell):
    """Other exception levels at entry, and other places of memory."""
    yield both(m, cell, "all memory and the image beyond 2 GiB, as on crosvm", memory=2048,
               place=image_place.Place(0x8080_0000, image_place.memory(0x8000_0000, 0x4000_0000), 0xbfe0_0000))
    for machine in ("virt,virtualization=on", "virt,secure=on"):
        yield both(m, cell, "entered as this machine does it", machine=machine)
    yield m.Cell("virt mmio version 2 blk+rng, all memory and the image beyond 2 GiB", "virt", "mmio version 2", [m.Disk(write=(50, 60))],
                 [m.Rng()], image="tests/qemu/qemu_mmio_guest", processor="aarch64", memory=2048,
                 tell={"run": "disk,rng", **m.negotiated("modern", "modern-only")},
                 place=image_place.Place(0x9000_0000, image_place.memory(0x8000_0000, 0x4000_0000), 0x8800_0000))
    yield m.Cell("npcm845-evb: a 16550 of wide registers, memory from 0", "npcm845-evb", "modern-only", extra=["-cpu", "cortex-a35", "-smp", "4"],
                 memory=1024, image="examples/02_rng", status=1, processor="aarch64", only=("10",), place=image_place.Place(source="npcm845"),
                 console=[r"\Ano rng: there is no such device.*\n  no virtio device: 0 other functions or empty slots\n\Z"])
    yield from restricted(m)


def restricted(m):
    """Devices that the tree restricts to a pool, and that offer ACCESS_PLATFORM: they receive no other addresses, by
    programs without code for pools. One pool has its place, the guest places the other."""
    pools = {"a pool at its place": (("reg", "0", "46000000", "0", "400000"),),
             "a pool that the guest places": (("size", "0", "e00000"), ("alignment", "0", "200000"))}
    told = {"run": "disk,rng", **m.negotiated("modern", more=("access_platform",))}
    on = "iommu_platform=on"
    for name, place in pools.items():
        pci = image_place.Place(edits=image_place.pool("/pcie@10000000", *place))
        yield m.Cell(f"virt blk+rng iommu_platform=on, {name}", "virt", "modern-only", [m.Disk(options=on, write=(50, 600))], [m.Rng(on)],
                     tell=told, processor="aarch64", place=pci, tags="[FEAT-11][FEAT-12]")
        yield m.Cell(f"virt example 01_blk iommu_platform=on, {name}", "virt", "modern-only", [m.Disk(options=on, flips=True)],
                     image="examples/01_blk", processor="aarch64", place=pci, console=[r"\A\Z"])
    yield m.Cell("virt mmio version 2 blk+rng iommu_platform=on, a slot has a pool", "virt", "mmio version 2", [m.Disk(options=on, write=(50, 60))],
                 [m.Rng(on)], image="tests/qemu/qemu_mmio_guest", processor="aarch64",
                 tell={"run": "disk,rng", **m.negotiated("modern", "modern-only", more=("access_platform",))},
                 place=image_place.Place(edits=image_place.pool("/virtio_mmio@a003e00", *place)))
    yield m.Cell("virt lsvirtio iommu_platform=on: every device works in a pool", "virt", "modern-only", [m.Disk(options=on)], [m.Rng(on)],
                 image="examples/lsvirtio", processor="aarch64", place=image_place.Place(edits=image_place.pool("/pcie@10000000", *place)),
                 extra=[word for device in ("virtio-balloon-pci", "virtio-serial-pci", "virtio-net-pci,netdev=net,romfile=")
                        for word in ("-device", f"{device},{m.VARIANTS['modern-only']},{on}")]
                 + ["-device", "virtconsole,chardev=port", "-chardev", "null,id=port", "-netdev", "user,id=net"],
                 console=["^  dma_pool: 0x47200000, 0xe00000 bytes$", "^  bound: 5$", "^end complete$"])
    small = image_place.Place(edits=image_place.pool("/pcie@10000000", ("reg", "0", "46000000", "0", "20000")))
    yield m.Cell("virt example 01_blk iommu_platform=on, a pool that is too small", "virt", "modern-only", [m.Disk(options=on)], status=1,
                 image="examples/01_blk", processor="aarch64", place=small,
                 console=[r"\Athe pool of devices: the driver's DMA storage or ring is too small.*\nstart: the device cannot address this memory"])
