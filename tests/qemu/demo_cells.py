# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix that boot the demo: it binds every device for which it has a driver, and names it. The cell
with a socket device is in tests/demo/check, which has one to offer."""

KINDS = ("block", "entropy", "balloon", "console", "network")
DEVICES = {"balloon": ["-device", "virtio-balloon-{bus}{options}"], "console": ["-device", "virtio-serial-{bus},max_ports=1{options}"],
           "network": ["-netdev", "hubport,id=net,hubid=0", "-device", "virtio-net-{bus},netdev=net{options}"]}
SETS = (KINDS, ("block", "entropy"), ("block", "entropy", "balloon"), ("block", "entropy", "console"), ("block", "entropy", "network"),
        ("balloon", "console"), ("network",), ())


def cells(m):
    """Returns all of them; `m` is matrix.py's module, for its types and tables."""
    for machine, variant, processor in (("pc", "modern-only", "x86_64"), ("q35", "transitional", "x86_64"), ("pc", "legacy-only", "x86_64"),
                                        ("microvm,isa-serial=on,acpi=off", "mmio version 2", "x86_64"),
                                        ("microvm,isa-serial=on", "mmio version 1", "x86_64"), ("virt", "modern-only", "aarch64"),
                                        ("virt", "modern-only", "riscv64"), ("virt", "mmio version 2", "riscv64")):
        for kinds in SETS:
            mmio = variant.startswith("mmio")
            options = f",{m.VARIANTS[variant]}" if m.VARIANTS[variant] else ""
            extra = [word.format(bus=m.bus_of(variant), options=options) for kind in kinds if kind in DEVICES for word in DEVICES[kind]]
            extra = [f"{word},romfile=" if "virtio-net-pci" in word else word for word in extra]
            bound = "".join(f" {kind}" for kind in kinds)
            why = [] if "block" in kinds else ["^FAILED: no disk was bound$"]
            yield m.Cell(f"{m.named(machine.split(',')[0], processor)} {variant} demo, offered {', '.join(kinds) or 'nothing'}", machine, variant,
                         [m.Disk(sectors=4099)] if "block" in kinds else [], [m.Rng()] if "entropy" in kinds else [], extra,
                         image="examples/demo_mmio" if mmio else "examples/demo", processor=processor, status=0 if "block" in kinds else 10,
                         console=[rf"^Bound:{bound}$", *why, *(rf"bound as {kind} device through " for kind in kinds)],
                         long=processor == "riscv64" or
                         (kinds not in ((), ("balloon", "console")) if machine == "pc" and variant == "modern-only" else kinds != KINDS))
