# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix on machines with devices in MMIO slots: both versions, with the drivers of PCI's cells."""
import contextlib
import functools
import itertools
import pathlib
import struct
import tempfile
import types

MACHINES = {"microvm": ("microvm,isa-serial=on", "x86_64"), "virt": ("virt", "aarch64"), "riscv64 virt": ("virt", "riscv64")}
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
                     image=GUEST, processor=processor, long=processor == "riscv64",
                     tell={"run": "disk,rng", "via": via, **m.negotiated(via, f"{via}-only", ring=ring)},
                     tags="[MMIO-04][MMIO-29]" + ("[SPLITL-02][LEGACY-04]" if version == 1 else ""))


def cells_of(m, machine, options, processor, version):
    via, other = ("legacy", "modern") if version == 1 else ("modern", "legacy")
    usual = m.negotiated(via, f"{via}-only")

    def cell(what, *devices, tell=None, image=GUEST, **more):
        # examples show that the slots are found; the rest is as elsewhere
        long = processor == "riscv64" and not what.startswith("example")
        return m.Cell(f"{machine} mmio version {version} {what}", options, f"mmio version {version}",
                      [one for one in devices if isinstance(one, m.Disk)], [one for one in devices if isinstance(one, m.Rng)],
                      image=image, processor=processor, tell=tell or {}, long=long, **more)

    yield cell("blk driver-queue=4 device-queue=1024: the driver's size", m.Disk(options="queue-size=1024", write=(77, 65)),
               tell={"run": "disk", "queue": 4, "indirect": 0, "entries": 4, "requests": 300,
                     **m.negotiated(via, f"{via}-only", ring=("event_idx",))})
    yield cell("blk 70000 requests: indices wrap", m.Disk(), tell={"run": "disk", "requests": 70000, **usual})
    yield cell("blk: reset, start again, hand over", m.Disk(write=(300, 99)), tell={"run": "life", **usual})
    yield cell("rng: reset, start again, hand over", m.Rng(), tell={"run": "rng_life", **usual})
    if version == 2:  # QEMU offers RING_RESET here too, without a register for it: the queue continues
        yield cell("rng queue_reset=on: a reset of its queue that does nothing is detected", m.Rng("queue_reset=on"),
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
               console=[f"refused: .*: {via} device, but the transport is for {other} ones only"])
    yield cell("without devices: every slot is empty", tell={"run": "list,absent", "error": "not_found"}, tags="[MMIO-11]", slots={})
    yield cell("every slot has its verdict", m.Disk(), m.Rng(), extra=["-device", "virtio-balloon-device"], tell={"run": "list"},
               slots=dict.fromkeys(("block", "entropy", "balloon"), "legacy MMIO" if version == 1 else "MMIO"))
    yield cell("example 01_blk", m.Disk(flips=True), image="examples/01_blk_mmio", console=[r"\A\Z"])
    yield cell("example 02_rng", m.Rng(), image="examples/02_rng_mmio", console=[r"\A(0x[0-9a-f]{1,2} ){32}\n\Z"])
    yield cell("example 10_clock: there is no control device", m.Rng(), image="examples/10_clock_mmio", status=1,
               console=[r"\Ano control device: there is no such device.*\n  slot \d+  entropy device, .*MMIO: usable\n\Z"])


NO_ACPI = "microvm,isa-serial=on,acpi=off"
FIRST, SECOND = 0xfeb00e00, 0xfeb00c00  # the slots of QEMU's first and second device


def tree(slots):
    """A device tree (Devicetree Specification 0.4, 5) with these slots, and a disabled one."""
    strings = b"#address-cells\0#size-cells\0compatible\0reg\0status\0"

    def node(name, *inside):
        return struct.pack(">I", 1) + (name.encode() + b"\0").ljust(len(name) // 4 * 4 + 4, b"\0") + b"".join(inside) + struct.pack(">I", 2)

    def has(name, value):
        return struct.pack(">3I", 3, len(value), strings.index(name.encode() + b"\0")) + value.ljust(-(-len(value) // 4) * 4, b"\0")

    def slot(base, *more):
        return node(f"virtio_mmio@{base:x}", has("compatible", b"virtio,mmio\0"), has("reg", struct.pack(">2Q", base, 0x200)), *more)

    two = struct.pack(">I", 2)
    structure = node("", has("#address-cells", two), has("#size-cells", two), slot(SECOND, has("status", b"disabled\0")),
                     *map(slot, slots)) + struct.pack(">I", 9)
    at = 56  # after the header and the end of the reserved memory's list
    return struct.pack(">10I", 0xd00dfeed, at + len(structure) + len(strings), at, at + len(structure), 40, 17, 16, 0, len(strings),
                       len(structure)) + bytes(16) + structure + strings


@contextlib.contextmanager
def given_tree(slots):
    """The data that a loader of Linux kernels passes (setup_data, type 2)."""
    with tempfile.TemporaryDirectory(prefix="virtio-tree-") as folder:
        file = pathlib.Path(folder, "tree")
        file.write_bytes(tree(slots))
        yield types.SimpleNamespace(arguments=["-dtb", str(file)], complaints=lambda: [])


def place_cells(m):
    """The places of slots: by words of the command line, which QEMU appends without ACPI, and by trees."""
    def cell(what, *, machine=NO_ACPI, version=2, tell=None, **more):
        return m.Cell(f"microvm mmio version {version} {what}", machine, f"mmio version {version}", [m.Disk(write=(50, 60))], [m.Rng()],
                      image=GUEST, tell={"run": "list,disk,rng", **(tell or {})}, **more)

    both = dict.fromkeys(("block", "entropy"), "MMIO")
    disk, rng = ("slot {} " + what + ", MMIO: usable" for what in ("block", "entropy"))
    yield cell("blk+rng, slots by words of the command line", slots=both,
               console=[rf"^cell: .* virtio_mmio\.device=512@{FIRST:#x}:12 virtio_mmio\.device=512@{SECOND:#x}:11$",
                        f"^function {disk.format(0)}\nfunction {rng.format(1)}$"])
    yield cell("blk+rng, slots by words of the command line", version=1, slots=dict.fromkeys(both, "legacy MMIO"), long=True)
    words = {"virtio_mmio.device": f"512@{SECOND:#x}:11:3", "virtio-mmio.device": f"0x200@{FIRST}:12"}
    yield cell("blk+rng, words in other forms, and no more by QEMU", machine=f"{NO_ACPI},auto-kernel-cmdline=off", tell=words, slots=both,
               console=[f"^function {rng.format(0)}\nfunction {disk.format(1)}$"])
    for what, word, problem in (("memory", "4K@1048576:5", "the machine has memory there"),
                                ("nowhere", "4K@0xffffffffff000000:5", "the processor does not reach it"),
                                ("half a slot", "128@0xfeb00800:5", "smaller than the registers of a slot, 256 bytes"),
                                ("a slot twice", f"1K@{FIRST:#x}:5", "another slot is there"),
                                ("no place", "4K:5", "no @ and address behind the size")):
        blamed = f"512@{FIRST:#x}:12" if what == "a slot twice" else word  # QEMU's own word comes after it
        yield cell(f"blk+rng, a word for {what} is reported and left out", tell={"virtio_mmio.device": word},
                   long=what not in ("memory", "no place"),
                   console=[rf"\Avirtio_mmio\.device={blamed}: {problem}; wanted: <size>@<address>:<interrupt>\[:<id>\]$"])
    yield cell("blk+rng, slots by the tree beside ACPI", machine="microvm,isa-serial=on,acpi=on", slots=both,
               console=[f"^function {rng.format(0)}\nfunction {disk.format(1)}$"])
    yield cell("blk+rng, slots by a tree from the loader", machine=f"{NO_ACPI},auto-kernel-cmdline=off", form="bzimage",
               only=("7.2",),  # 10 passes none
               tell={"run": "list,disk"}, beside=functools.partial(given_tree, [FIRST]), console=[f"^function {disk.format(0)}\nok list$"])


def cells(m):
    """Returns all of them; `m` is matrix.py's module, for its types and tables."""
    yield from ring_cells(m)
    for (machine, (options, processor)), version in itertools.product(MACHINES.items(), (1, 2)):
        yield from cells_of(m, machine, options, processor, version)
    yield from place_cells(m)
