# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix about the place of a device's registers: BARs that the guest cannot access, I/O BARs,
several capabilities of a kind, distances between doorbells, and PCI Express devices without the Express capability."""

# 4 GiB of 32-bit memory: the firmware then moves every 64-bit BAR above 4 GiB.
BIG_NEIGHBOUR = ["-object", "memory-backend-ram,id=shared,size=4G,share=on", "-device", "ivshmem-plain,memdev=shared"]


def window_cells(m):
    """Registers out of reach, through the window in configuration space. The guest can access only 4 GiB."""
    told = {"run": "window_disk,window_rng", **m.negotiated("modern")}

    def far(name, machine="pc", variant="modern-only", options="", tell=None, **more):
        return m.Cell(name, machine, variant, [m.Disk(options=options, write=(50, 60))], [m.Rng(options)],
                      tell=told | (tell or {}), **more)

    for machine in ("pc", "q35"):
        yield far(f"{machine} blk+rng through the configuration window, BARs above 4 GiB by the firmware", machine,
                  extra=BIG_NEIGHBOUR)
        yield far(f"{machine} blk+rng through the configuration window, BARs moved above 4 GiB", machine, "transitional",
                  tell={"bar_at": "0x4000000000"})
        yield m.Cell(f"{machine} transitional blk, its BAR moved above 4 GiB and no window: driven through its ports", machine,
                     disks=[m.Disk()], tell={"run": "fallback_disk", "bar_at": "0x4000000000"})
        # The firmware of QEMU 7.2 keeps BARs below 4 GiB, however much memory there is.
        yield far(f"{machine} blk+rng through the configuration window, -m 6G", machine, only=("10",), memory=6144)
    yield far("pc blk+rng through the configuration window, page-per-vq=on", options="page-per-vq=on", extra=BIG_NEIGHBOUR)
    # QEMU's window requires the number of the BAR; the doorbells' ports are within reach and need no window.
    yield far("pc blk+rng through the configuration window, modern-pio-notify=on", options="modern-pio-notify=on",
              extra=BIG_NEIGHBOUR)


def far_cells(m):
    for machine in ("pc", "q35"):
        # Where no firmware places them: at the last address of the processor, or of the half of the address space with
        # physical addresses.
        for bits, pages, usual in ((40, "-", False), (46, "-", machine == "pc"), (46, "+", False), (47, "+", machine == "q35"), (52, "-", False)):
            end = 1 << min(bits, 47)
            yield m.Cell(f"{machine} modern-only blk, its BAR at the end of {bits} address bits, {pages}pdpe1gb", machine,
                         "modern-only", [m.Disk(write=(50, 60))], extra=["-cpu", f"max,phys-bits={bits},{pages}pdpe1gb"],
                         tell={"run": "move_bar,disk,map_ends" + (",map_is_full" if bits > 45 else ""), "bar_at": hex(end - 0x4000),
                               "end": hex(end), "via": "modern", **m.negotiated("modern")},
                         console=[rf"^BAR 4: {end - 0x4000:#x} to {end - 1:#x}$"], long=not usual)
        yield m.Cell(f"{machine} modern-only blk, its BAR beyond the half of the address space: reported", machine, "modern-only",
                     [m.Disk(options="addr=9")], extra=["-cpu", "max,phys-bits=52"],
                     tell={"run": "move_bar,list", "bar_at": hex(1 << 47)}, long=machine == "q35",
                     console=[r"^function 00:09\.0 1af4:1042 block, no interface: a BAR lies where it cannot be accessed$"])


def layout_cells(m):
    both = {"run": "layout,disk,rng", **m.negotiated("modern")}

    def offered(name, options, tell, machine="pc", **more):
        return m.Cell(name, machine, "transitional", [m.Disk(options=options, write=(50, 60))], [m.Rng(options)],
                      tell=both | tell, **more)

    yield offered("pc blk+rng page-per-vq=on", "page-per-vq=on", {"bars": 0x10, "multiplier": 4096, "notify": 0x400000})
    # Both notification structures are usable; the first in the list is the one with ports.
    yield offered("pc blk+rng modern-pio-notify=on", "modern-pio-notify=on", {"bars": 0x14, "multiplier": 0, "notify": 4},
                  tags="[PCI-08]")
    yield offered("pc blk+rng page-per-vq=on,modern-pio-notify=on", "page-per-vq=on,modern-pio-notify=on",
                  {"bars": 0x14, "multiplier": 0, "notify": 4}, tags="[PCI-08]")


def express_cells(m):
    ports = ["-device", "pcie-root-port,id=port1,chassis=1,addr=4", "-device", "pcie-root-port,id=port2,chassis=2,addr=5"]
    for hidden in (False, True):
        options = ",x-disable-pcie=on" if hidden else ""
        for bus, extra in {"a root port": ports, "the root bus": []}.items():
            place = ["bus=port1", "bus=port2"] if extra else ["addr=4", "addr=5"]
            yield m.Cell(f"q35 blk+rng on {bus}{options.replace(',', ', ')}", "q35", "modern-only",
                         [m.Disk(options=place[0] + options, write=(50, 60))], [m.Rng(place[1] + options)], extra=extra,
                         # On the root bus QEMU shows no such capability in any case.
                         tell={"run": "express,disk,rng", "express": int(bool(extra) and not hidden), "via": "modern",
                               **m.negotiated("modern")})


def root_cells(m):
    """Disks on buses that no bridge connects to bus 0."""
    for processor, name in (("x86_64", ""), ("i386", "i386 ")):
        for machine, where, bus, extra in (
                ("pc", "a pxb", "far,addr=1", ["-device", "pxb,id=far,bus_nr=0x80"]),
                ("q35", "a root port of a pxb-pcie", "port1",
                 ["-device", "pxb-pcie,id=far,bus_nr=0x80", "-device", "pcie-root-port,id=port1,bus=far,chassis=7"]),
                ("q35", "a bridge of the second of two pxb-pcie", "bridge,addr=3",
                 ["-device", "pxb-pcie,id=near,bus_nr=0x20,bus=pcie.0", "-device", "pxb-pcie,id=far,bus_nr=0xc0,bus=pcie.0",
                  "-device", "pcie-pci-bridge,id=bridge,bus=far"])):
            yield m.Cell(f"{name}{machine} example 01_blk, the disk on {where}", machine, "modern-only",
                         [m.Disk(options=f"bus={bus}", flips=True)], extra=extra, image="examples/01_blk", processor=processor,
                         console=[r"\A\Z"])


def ecam_cells(m):
    """Configuration space in memory, at the address in the firmware's tables."""
    for variant in ("modern-only", "transitional"):
        yield m.Cell(f"q35 {variant} blk+rng through ECAM found by MCFG", "q35", variant, [m.Disk(write=(50, 60))], [m.Rng()],
                     tell={"run": "ecam,other_segment", "ecam": "0xb0000000", "buses": 256})
    # A root port's bus is in the same space.
    yield m.Cell("q35 blk+rng behind a root port through ECAM found by MCFG", "q35", "modern-only",
                 [m.Disk(options="bus=port1", write=(50, 60))], [m.Rng()],
                 extra=["-device", "pcie-root-port,id=port1,chassis=1,addr=4"],
                 tell={"run": "ecam", "ecam": "0xb0000000", "buses": 256})
    yield m.Cell("pc has no MCFG: not_found", tell={"run": "no_ecam"})
    # Its root is of revision 2, with the wide table of tables.
    yield m.Cell("microvm has no MCFG: not_found", "microvm,pcie=on,acpi=on,isa-serial=on", tell={"run": "no_ecam"})


def cells(m):
    """Returns all of them; `m` is matrix.py's module, for its types and tables."""
    yield from window_cells(m)
    yield from far_cells(m)
    yield from layout_cells(m)
    yield from express_cells(m)
    yield from root_cells(m)
    yield from ecam_cells(m)
