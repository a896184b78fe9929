# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix in which the guest sleeps until the disk interrupts, or polls although interrupts are
available. No tick wakes it: after one lost wake-up the cell ends by its time-out."""

GUEST = "tests/qemu/qemu_interrupts"
SOME, FEW = r"[1-9]\d*", r"\d{1,2}"
READS = 3000
# So slow that the guest is asleep before its request ends: a fast disk often completes before the guest can request an
# interrupt.
SLOW = "driver=throttle,throttle-group=slow,file.driver=raw,file.file.driver=file,file.file.filename={image}"


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module: Disk, Cell and so on."""
    for machine in ("pc", "q35"):
        for variant, via in ((v, way) for v in ("modern-only", "transitional", "legacy-only") for way in ("msix", "line")):
            for wait, count in (("sleep", SOME), ("poll", FEW)):
                if wait == "poll" and variant == "transitional":
                    continue  # the transitional disk is driven through the modern registers
                told = {"via": via, "wait": wait, "requests": READS, **({"vectors": 2} if via == "msix" else {})}
                yield kit.Cell(f"{machine} {variant} blk: {READS} reads by {'MSI-X' if via == 'msix' else 'interrupt line'}, "
                               + ("asleep in between" if wait == "sleep" else "polled: interrupts stay away"),
                               machine, variant, [kit.Disk(options="" if via == "msix" else "vectors=0")], tell=told, image=GUEST,
                               tags="[PCI-31]" if via == "msix" else "",
                               console=[f"^one by one: {READS} reads, {count} interrupts$",
                                        f"^eight in flight: {READS} reads, {count} interrupts, 0 unclaimed$"])
        for variant, via in ((v, way) for v in ("modern-only", "legacy-only") for way in ("msix", "line")):
            shrunk = kit.SECTORS - 3000
            teller = "a message" if via == "msix" else "the interrupt line"
            yield kit.Cell(f"{machine} {variant} blk: asleep until {teller} reports its new size", machine, variant,
                           [kit.Disk(options="" if via == "msix" else "vectors=0", resized=shrunk)], image=GUEST,
                           tell={"via": via, "wait": "resize", "shrunk": shrunk, **({"vectors": 2} if via == "msix" else {})},
                           script=[("^asleep$", ("block_resize", {"node_name": "disk", "size": 512 * shrunk}))],
                           # On the line, QEMU also sets the queue's bit.
                           console=[f"^resized: 1 for the configuration, {int(via == 'line')} for the queue, 0 unclaimed$"])
        for options, way in (("", "MSI-X"), (",vectors=0", "interrupt line")):
            yield kit.Cell(f"{machine} example 06_interrupts by {way}", machine, disks=[kit.Disk(options=options.lstrip(","), backend=SLOW)],
                           extra=["-object", "throttle-group,id=slow,x-iops-total=300"], image="examples/06_interrupts",
                           console=[rf"\Amodern PCI, {way}\n64 reads one after the other: {SOME} interrupts\n"
                                    rf"256 reads, eight in flight: {SOME} interrupts\n\Z"])
