# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix whose guest is not entered by PVH: as a bzImage, which QEMU starts in real mode and whose
head continues by Linux's 32-bit entry; and from a disk with GRUB by both versions of Multiboot. The memory map is then
the BIOS's, and ACPI's root must be searched for (not by Multiboot 2)."""


def cells(m):
    """Returns all of them; `m` is matrix.py's module, for its types and tables."""
    for machine in ("pc", "q35"):
        yield m.Cell(f"{machine} blk+rng, the guest as a bzImage", machine, "modern-only", [m.Disk(write=(50, 60))], [m.Rng()],
                     tell={"run": "disk,rng", "via": "modern", **m.negotiated("modern")}, form="bzimage")
    yield m.Cell("q35 blk+rng, the guest as a bzImage, through ECAM found by MCFG", "q35", "modern-only", [m.Disk(write=(50, 60))], [m.Rng()],
                 tell={"run": "ecam,other_segment", "ecam": "0xb0000000", "buses": 256}, form="bzimage")
    yield m.Cell("pc blk+rng, the guest as a bzImage, -m 3G, BARs above 4 GiB", "pc", "modern-only", [m.Disk(write=(50, 60))], [m.Rng()],
                 ["-cpu", "max", "-device", "ivshmem-plain,memdev=big,addr=10", "-object", "memory-backend-ram,id=big,size=4G"],
                 tell={"run": "disk,rng", "via": "modern", **m.negotiated("modern")}, form="bzimage", memory=3072, long=True)
    yield m.Cell("pc example 02_rng as a bzImage", rngs=[m.Rng()], image="examples/02_rng", form="bzimage",
                 console=[r"\A(0x[0-9a-f]{1,2} ){32}\n\Z"])
    for number, (machine, disk) in enumerate((("pc", "ide-hd"), ("q35", "virtio-blk-pci"), ("pc", "virtio-blk-pci"), ("q35", "ide-hd"))):
        for protocol in ("multiboot1", "multiboot2"):
            usual = (number, protocol) in ((0, "multiboot1"), (1, "multiboot2"))
            yield m.Cell(f"{machine} blk+rng, the guest from GRUB on {disk} by {protocol}", machine, "modern-only",
                         [m.Disk(write=(50, 60))], [m.Rng()], form=f"grub {protocol}", boot_disk=disk, long=not usual,
                         tell={"run": "loader,disk,rng", "first_disk": int("virtio" in disk), "via": "modern", **m.negotiated("modern")},
                         console=[rf"^entered by Multiboot {protocol[-1]}$"])
    # By the tables that the loader has copied, and by those that must be searched for.
    for protocol in ("multiboot1", "multiboot2"):
        yield m.Cell(f"q35 blk+rng, the guest from GRUB by {protocol}, through ECAM found by MCFG", "q35", "modern-only",
                     [m.Disk(write=(50, 60))], [m.Rng()], form=f"grub {protocol}",
                     tell={"run": "ecam,other_segment", "ecam": "0xb0000000", "buses": 256}, long=protocol == "multiboot1")
