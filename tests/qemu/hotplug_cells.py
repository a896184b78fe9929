# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix in which a disk is plugged into the running machine and unplugged again, twice."""


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module: Disk, Cell and so on."""
    port = ["-device", "pcie-root-port,id=port1,chassis=1,addr=4"]
    native = ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", *port]
    for name, machine, bus, extra, told, variants in (
            ("pc, ejected through ACPI", "pc", "pci.0", [], {"acpi": 0xae00}, ("modern-only", "transitional", "legacy-only")),
            ("q35 root port, ejected through ACPI", "q35", "port1", port, {"acpi": 0xcc0}, ("modern-only",)),
            ("q35 root port, ejected through its slot", "q35", "port1", native, {}, ("modern-only",))):
        for variant in variants:
            disk = kit.Disk(plugged=True)
            plug = ("device_add", {"driver": "virtio-blk-pci", "id": "hot", "bus": bus, "drive": disk.name,
                                   "disable-legacy": "on" if variant == "modern-only" else "off",
                                   "disable-modern": variant == "legacy-only"})
            unplug = ("in use", ("device_del", {"id": "hot"}))
            rounds = [("round 0: waiting", plug), unplug, ("event DEVICE_DELETED",), ("round 1: waiting", plug), unplug]
            yield kit.Cell(f"{name}, {variant} blk is plugged and unplugged", machine, variant, [disk], extra=extra, tell=told,
                           image="tests/qemu/qemu_hotplug", script=rounds,
                           console=[r"found: a BAR has no address assigned\nin use\nlet go\ngone\n(.*\n)+"
                                    r"found: a BAR has no address assigned\nin use\nlet go\ngone"])
