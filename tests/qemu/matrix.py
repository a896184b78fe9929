#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The QEMU matrix: boots the guest in this folder, or an example, on one machine after another. The test run uses
together.py, which runs many cells in one boot.

A cell is a machine with its devices, what the guest must run and expect, and what the host checks afterwards: the
guest's status and console, and every byte of the disk images.

usage: matrix.py --list [--qemu 7.2|10|11] [--processor aarch64]    prints the cells' names
       matrix.py [--qemu 7.2|10|11] CELL    runs one; the commands come from the environment: QEMU_7, QEMU_10, QEMU_11,
                                                the first two also with _AARCH64 or _RISCV64 behind them
Status 77: this QEMU is absent (1 with VIRTIO_TEST_REQUIRE_ALL=1, except for QEMU 11).
"""
import argparse
import contextlib
import dataclasses
import errno
import functools
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "examples" / "lsvirtio")]
sys.dont_write_bytecode = True
import balloon_cells  # noqa: E402
import block_cells  # noqa: E402
import boot_cells  # noqa: E402
import c_firmware_cells  # noqa: E402
import console_cells  # noqa: E402
import demo_cells  # noqa: E402
import guestrun  # noqa: E402
import hotplug_cells  # noqa: E402
import i386_cells  # noqa: E402
import interrupt_cells  # noqa: E402
import lsvirtio_cells  # noqa: E402
import memory_cells  # noqa: E402
import mmio_cells  # noqa: E402
import net_cells  # noqa: E402
import packed_cells  # noqa: E402
import register_cells  # noqa: E402
import ring_cells  # noqa: E402
import scsi_cells  # noqa: E402
import storage_daemon  # noqa: E402
import virt_cells  # noqa: E402

SKIPPED = 77
BOOT_IMAGE = ROOT / "tools" / "boot-image"
VARIABLES = {"7.2": "QEMU_7", "10": "QEMU_10", "11": "QEMU_11"}
# The newest QEMU is from Debian's unstable, which changes, and which a machine may be unable to reach: its presence
# cannot be guaranteed. Its cells are skipped if it is absent, even with VIRTIO_TEST_REQUIRE_ALL=1.
NOT_REQUIRED = {"11"}
SUFFIXES = {"x86_64": "", "i386": "", "aarch64": "_AARCH64", "riscv64": "_RISCV64"}

# The folders in which tools/test builds the guests of each processor.
BUILDS = {"x86_64": ROOT / "build" / "guest", **{name: ROOT / "build" / f"guest-{name}" for name in ("i386", "aarch64", "riscv64")}}

# ---- disks ----

SECTORS = 16 * 1024 + 3  # 8 MiB and three sectors, so that the size is no multiple of larger blocks
ONES = int.from_bytes(b"\1\0\0\0\0\0\0\0" * 64, "little")


def base(seed):
    return sum((seed << 48 | word << 40) << 64 * word for word in range(64))


@functools.lru_cache(maxsize=8)  # most cells of a batch have the same disk
def pattern(seed, first, count):
    """The guest's pattern: word i of sector n is seed << 48 | i << 40 | n."""
    start = base(seed)
    return b"".join((start + n * ONES).to_bytes(512, "little") for n in range(first, first + count))


@dataclasses.dataclass
class Disk:
    """An image, its device, and the image's expected content at the end."""
    name: str = "disk"
    seed: int = 0x51
    sectors: int = SECTORS
    serial: str = "virtio-disk-20-chars"  # fills the field: not terminated
    options: str = ""     # of the device
    backend: str = ""     # a block node's options before {image}; empty: the usual one
    write: tuple = ()     # first sector and count that the guest writes twice: by one call, then by many
    write_seed: int = 0xA7
    plugged: bool = False  # the device is plugged later
    vhost_user: bool = False  # served by qemu-storage-daemon: {image} is its socket
    resized: int = 0      # sectors at the end, if the cell's script changes the size
    flips: bool = False   # the guest flips bit 0 of byte 0
    copied: tuple = ()    # from sector, to sector, count: copied by the guest
    zeroes: tuple = ()    # extents (first sector, count) that must hold zeroes at the end
    holes: tuple = ()     # extents that must use no room in the image file

    def content(self):
        return pattern(self.seed, 0, self.sectors)

    def expected(self):
        data = bytearray(pattern(self.seed, 0, self.resized or self.sectors))
        if self.write:
            first, count = self.write
            data[512 * first:512 * (first + 2 * count)] = pattern(self.write_seed, first, 2 * count)
        if self.flips:
            data[0] ^= 1
        if self.copied:
            at, to, count = (512 * sectors for sectors in self.copied)
            data[to:to + count] = data[at:at + count]
        for first, count in self.zeroes:
            data[512 * first:512 * (first + count)] = bytes(512 * count)
        return bytes(data)

    def create(self, path):
        path.write_bytes(self.content())

    def complaints(self, path):
        """Returns the image's errors, as lines; prints a line if there are none."""
        expected, found = self.expected(), path.read_bytes()
        yield from differences(expected, found)
        yield from not_holes(path, self.holes)
        if expected == found:
            print(f"{self.name}: {len(found) // 512} sectors as they must be")

    def arguments(self, image, variant):
        if self.vhost_user:
            device = f"vhost-user-blk-pci,chardev={self.name},num-queues=1"
            return ["-chardev", f"socket,id={self.name},path={image}",
                    "-device", ",".join(filter(None, [device, VARIANTS[variant], self.options]))]
        if self.plugged:  # by the cell's script
            return ["-blockdev", f"node-name={self.name},driver=raw,file.driver=file,file.filename={image}"]
        blockdev = (self.backend or "driver=raw,file.driver=file,file.filename={image}").format(image=image)
        # A failed request concerns the guest: it must not stop the machine.
        device = f"virtio-blk-{bus_of(variant)},drive={self.name},serial={self.serial},werror=report,rerror=report"
        return ["-blockdev", f"node-name={self.name},{blockdev}",
                "-device", ",".join(filter(None, [device, VARIANTS[variant], self.options]))]


@dataclasses.dataclass
class Sparse(Disk):
    """A disk of whole GiB of zeroes, except one sector on either side of each: those have the pattern."""

    def create(self, path):
        with path.open("wb") as image:
            image.truncate(512 * self.sectors)
            for first in range(0, self.sectors, GIB):
                for sector in (first, first + GIB - 1):
                    image.seek(512 * sector)
                    image.write(pattern(self.seed, sector, 1))

    def complaints(self, path):
        if path.stat().st_size != 512 * self.sectors:
            yield f"{path.stat().st_size} bytes"


GIB = 2 << 20  # in sectors


@dataclasses.dataclass
class Rng:
    options: str = ""
    backend: str = "rng-builtin"
    name: str = "rng"

    def arguments(self, variant):
        return ["-object", f"{self.backend},id={self.name}",
                "-device", ",".join(filter(None, [f"virtio-rng-{bus_of(variant)},rng={self.name}", VARIANTS[variant], self.options]))]


# ---- devices ----

VARIANTS = {
    "modern-only": "disable-legacy=on,disable-modern=off",
    "transitional": "disable-legacy=off,disable-modern=off",
    "legacy-only": "disable-legacy=off,disable-modern=on",
    "": "",
    "mmio version 1": "",
    "mmio version 2": "",
}
# Options of a variant for the whole machine.
GLOBALS = {"mmio version 2": ["-global", "virtio-mmio.force-legacy=false"]}


def bus_of(variant):
    return "device" if variant.startswith("mmio") else "pci"


BITS = {"size_max": 1, "seg_max": 2, "read_only": 5, "blk_size": 6, "flush": 9, "topology": 10, "config_wce": 11, "discard": 13,
        "write_zeroes": 14, "any_layout": 27, "indirect_desc": 28, "event_idx": 29, "version_1": 32,
        "access_platform": 33, "ring_packed": 34, "in_order": 35}
# accepted of QEMU's usual disk
BLK = ("seg_max", "blk_size", "flush", "topology", "config_wce", "discard", "write_zeroes")


def features(*names):
    return hex(sum(1 << BITS[name] for name in names))


def negotiated(via, variant="", ring=("event_idx", "indirect_desc"), blk=BLK, more=()):
    """Returns the exact features that a driver must accept: for blk and for rng."""
    # QEMU offers ANY_LAYOUT through the legacy registers; but its legacy-only disks require the old layout.
    common = [*(["version_1"] if via == "modern" else ["any_layout"]), *ring, *more]
    disk = [*common, *blk]
    if via == "legacy" and variant == "legacy-only":
        disk.remove("any_layout")
    return {"blk_features": features(*disk), "rng_features": features(*common)}


# ---- cells ----

@dataclasses.dataclass
class Cell:
    name: str
    machine: str = "pc"
    variant: str = "transitional"
    disks: list = dataclasses.field(default_factory=list)
    rngs: list = dataclasses.field(default_factory=list)
    extra: list = dataclasses.field(default_factory=list)
    tell: dict = dataclasses.field(default_factory=dict)  # the guest's command line
    image: str = "tests/qemu/qemu_guest"  # in the tree of built guests
    memory: int = 128         # MiB
    status: int = 0
    console: list = dataclasses.field(default_factory=list)  # patterns that the console must match
    functions: dict = None    # every PCI function that must exist, and the library's expected verdict
    report: object = None     # of lsvirtio: receives the objects of its JSON and yields errors
    slots: dict = None  # every device type that must be in MMIO slots, and its interface; all other slots are empty
    only: tuple = ("7.2", "10")
    processor: str = "x86_64"
    script: list = dataclasses.field(default_factory=list)  # the host's actions meanwhile, see guestrun.py
    # makes the helper beside QEMU: a context with `arguments` for QEMU and, afterwards, `complaints()`
    beside: object = None
    needs: object = None      # returns why the helper is not available here; empty if it is
    tags: str = ""            # requirements of the specification that the cell tests
    form: str = ""            # tools/boot-image's form of the image to boot instead; "grub multiboot1", with a protocol
    boot_disk: str = "ide-hd"  # the device from which a form of "grub" boots
    place: object = None      # an image_place.Place: another place of the image, and its device tree
    long: bool = False        # only with tools/test --long

    def command_line(self):
        words = dict(self.tell)
        for number, disk in enumerate(self.disks):
            which = "" if number == 0 else str(number + 1)
            words |= {f"serial{which}": disk.serial, f"sectors{which}": disk.sectors, f"seed{which}": disk.seed}
            if disk.write:
                words |= {"write_first": disk.write[0], "write_count": disk.write[1], "write_seed": disk.write_seed}
        return " ".join(f"{key}={value}" for key, value in words.items())


def named(machine, processor):
    """Returns a machine's name in a cell's name: RISC-V has one with the same name as Arm."""
    return f"riscv64 {machine}" if processor == "riscv64" else machine


def switch(on):
    return "on" if on else "off"


def main_cells():
    """Every variant, machine and combination of ring features, disk and entropy in one boot."""
    for variant, machine, event_idx, indirect in itertools.product(
            ("modern-only", "transitional", "legacy-only"), ("pc", "q35"), (True, False), (True, False)):
        via = "legacy" if variant == "legacy-only" else "modern"
        options = f"event_idx={switch(event_idx)},indirect_desc={switch(indirect)}"
        ring = [*(["event_idx"] if event_idx else []), *(["indirect_desc"] if indirect else [])]
        yield Cell(
            # SPLITL-02: a legacy device computes the places of the ring's parts and finds them.
            f"{machine} {variant} blk+rng event_idx={switch(event_idx)} indirect={switch(indirect)}",
            machine, variant, [Disk(options=options, write=(1000, 257))], [Rng(options)],
            tell={"run": "disk,rng", "via": via, **negotiated(via, variant, ring)},
            tags="[BLK-06][FEAT-01][FEAT-08][PCI-03]" + ("" if event_idx and indirect else "[FEAT-06]")
            + ("[INITL-01][LEGACY-04][SPLITL-01][SPLITL-02][SPLITL-03][PCIL-01][PCIL-02][PCIL-05][BLKL-10]" if via == "legacy"
               else "[INIT-01][INIT-02][INIT-03][INIT-07][INIT-11][INIT-14][FEAT-09][NOTIFY-01][NOTIFY-03]"
               + ("[PCI-01]" if variant == "modern-only" else "[PCI-02]")))


def queue_cells():
    """Queue sizes of the driver combined with those of the device."""
    for driver, device, indirect in itertools.product((4, 16, 256), (16, 256, 1024), (0, 8)):
        if indirect and driver == 16:
            continue
        entries = min(driver, device)
        ring = ("event_idx", "indirect_desc") if indirect else ("event_idx",)
        yield Cell(f"pc modern blk driver-queue={driver} device-queue={device}" + (" driver-indirect=8" if indirect else ""),
                   variant="modern-only", disks=[Disk(options=f"queue-size={device}", write=(77, 65))],
                   tell={"run": "disk", "queue": driver, "indirect": indirect, "entries": entries, "requests": 300,
                         **negotiated("modern", ring=ring)})
    for driver, device in itertools.product((4, 16, 256), (16, 256, 1024)):
        disks = [Disk(options=f"queue-size={device}", write=(77, 65))]
        told = {"run": "disk", "queue": driver, "indirect": 0, "requests": 300}
        expected = negotiated("legacy", "legacy-only", ring=("event_idx",))
        name = f"pc legacy blk driver-queue={driver} device-queue={device}"
        if device <= driver:
            yield Cell(f"{name}: the device's size", variant="legacy-only", disks=disks,
                       tell=told | {"entries": device} | expected)
        else:
            # The device dictates its size: a smaller queue cannot serve it, unless it has ring memory for the device's
            # size.
            disk = dataclasses.replace(disks[0], write=())
            yield Cell(f"{name}: refused", variant="legacy-only", disks=[disk], tell=told | {"refused": "no_space"},
                       console=[rf"refused: .*: the driver's ring has too few entries; .* wanted {device} available {driver}"])
        yield Cell(f"{name} ring-entries=1024", variant="legacy-only", disks=disks,
                   tell=told | {"ring": 1024, "entries": device} | expected)
    yield Cell("pc legacy blk driver-queue=16 device-queue=256 ring-entries=256", variant="legacy-only",
               disks=[Disk(write=(77, 65))], tell={"run": "disk", "queue": 16, "indirect": 0, "ring": 256, "entries": 256})
    yield Cell("pc legacy blk driver-queue=16 device-queue=1024 ring-entries=256: refused", variant="legacy-only",
               disks=[Disk(options="queue-size=1024")],
               tell={"run": "disk", "queue": 16, "indirect": 0, "ring": 256, "refused": "no_space"})
    yield Cell("pc legacy blk+rng driver-queue=16 device-queue=1024 ring-entries=1024 driver-indirect=8", variant="legacy-only",
               disks=[Disk(options="queue-size=1024")], rngs=[Rng()],
               tell={"run": "disk,rng", "queue": 16, "indirect": 8, "ring": 1024, "requests": 300,
                     **negotiated("legacy", "legacy-only")})
    for driver, via in itertools.product((4, 16, 256), ("modern", "legacy")):
        told = {"run": "rng", "queue": driver, "indirect": 0, "via": via}
        variant = f"{via}-only"
        refused = via == "legacy" and driver < 8  # QEMU's entropy device has a queue of 8
        yield Cell(f"pc {via} rng driver-queue={driver}" + (": refused" if refused else ""), variant=variant, rngs=[Rng()],
                   tell=told | ({"refused": "no_space"} if refused else negotiated(via, variant, ring=("event_idx",))))
    yield Cell("pc legacy rng driver-queue=4 ring-entries=1024", variant="legacy-only", rngs=[Rng()],
               tell={"run": "rng", "queue": 4, "indirect": 0, "ring": 1024})


def driver_cells():
    """Drivers for one interface, on every kind of device."""
    for transport, variant in itertools.product(("modern", "legacy"), ("modern-only", "transitional", "legacy-only")):
        told = {"run": "disk,rng", "transport": transport}
        if f"{transport}-only" == variant or variant == "transitional":
            yield Cell(f"pc {variant} blk+rng with the {transport} transport", variant=variant, disks=[Disk(write=(5, 3))],
                       rngs=[Rng()], tell=told | {"via": transport} | negotiated(transport, variant))
        else:
            words = {"modern": "legacy device, but the transport is for modern ones only",
                     "legacy": "modern device, but the transport is for legacy ones only"}[transport]
            yield Cell(f"pc {variant} blk+rng with the {transport} transport: refused", variant=variant, disks=[Disk()],
                       rngs=[Rng()], tags="[PCIL-03][PCIL-04]" if transport == "modern" else "",
                       tell=told | {"refused": "unsupported"}, console=[f"refused: .*: {words}"])


# A disk that completes a first request, and no other during the longest test: its limit of one byte per second is then
# used up for that time. A command releases it; a reset of the device or a stop of the machine ends its requests.
HELD = "driver=throttle,throttle-group=held,file.driver=raw,file.file.driver=file,file.file.filename={image}"
HOLD = ["-object", "throttle-group,id=held,x-bps-total=1"]
HOLD_NOW, LET_GO = (("qom-set", {"path": "/objects/held", "property": "limits", "value": {"bps-total": rate}}) for rate in (1, 0))
OUTWAITED = [("^gave up twice$", LET_GO, b"!")]


def disk_cells():
    for via in ("modern", "legacy"):
        variant = f"{via}-only"
        yield Cell(f"pc {via} blk 70000 requests: indices wrap", variant=variant, disks=[Disk()],
                   tell={"run": "disk", "requests": 70000, **negotiated(via, variant)})
        yield Cell(f"pc {via} blk 70000 requests: indices wrap, event_idx=off, queue of 16", variant=variant,
                   disks=[Disk(options="event_idx=off,queue-size=16")],
                   tell={"run": "disk", "requests": 70000, "queue": 16, "indirect": 0, **negotiated(via, variant, ring=())})
        yield Cell(f"pc {via} rng 66000 requests: indices wrap", variant=variant, rngs=[Rng()],
                   tell={"run": "rng", "rng_requests": 66000, **negotiated(via, variant)})
        yield Cell(f"pc {via} blk: memory scattered by pages, large transfers are split", variant=variant,
                   disks=[Disk(write=(1000, 2500))],
                   tell={"run": "disk", "page": 4096, **negotiated(via, variant)})
        yield Cell(f"pc {via} blk: memory scattered by pages, without indirect descriptors, queue of 16", variant=variant,
                   disks=[Disk(options="queue-size=16", write=(1000, 2500))],
                   tell={"run": "disk", "page": 4096, "queue": 16, "indirect": 0,
                         **negotiated(via, variant, ring=("event_idx",))})
        yield Cell(f"pc {via} blk: read-only disk", tags="[BLK-07]", variant=variant,
                   disks=[Disk(backend="driver=raw,read-only=on,file.driver=file,file.filename={image}")],
                   tell={"run": "read_only",
                         **negotiated(via, variant, blk=(*BLK, "read_only"))})
        yield Cell(f"pc {via} blk: reset, start again, hand over", variant=variant,
                   disks=[Disk(write=(300, 99))], tell={"run": "life", **negotiated(via, variant)})
        yield Cell(f"pc {via} rng: reset, start again, hand over", variant=variant, rngs=[Rng()],
                   tell={"run": "rng_life", **negotiated(via, variant)})
        yield Cell(f"pc {via} blk: the device takes longer than the guest waits", tags="[SHUTDOWN-02]", variant=variant,
                   disks=[Disk(backend=HELD)], extra=HOLD, script=OUTWAITED,
                   tell={"run": "patience", "patience": 20000, **negotiated(via, variant)})
        for bad in ("read", "write"):
            yield Cell(f"pc {via} blk: a bad sector gives io_error on {bad}, and the disk continues", variant=variant,
                       disks=[Disk(backend="driver=raw,file.driver=blkdebug,file.image.driver=file,"
                                           "file.image.filename={image},file.inject-error.0.event=none,"
                                           f"file.inject-error.0.iotype={bad},file.inject-error.0.sector=3000,"
                                           "file.inject-error.0.errno=5")],
                       tell={"run": "bad_sectors", "bad": bad, "page": 4096, "bad_first": 3000, "bad_count": 1,
                             **negotiated(via, variant)})
        yield Cell(f"pc {via} blk: 4096-byte blocks", variant=variant,
                   disks=[Disk(sectors=SECTORS - 3, options="logical_block_size=4096,physical_block_size=4096")],
                   tell={"run": "large_blocks", "block": 4096, **negotiated(via, variant)})
        yield Cell(f"pc {via} two disks and two rngs", variant=variant,
                   disks=[Disk(serial="first"), Disk(name="other", serial="second", seed=0x77, sectors=SECTORS - 1001)],
                   rngs=[Rng(), Rng(name="other-rng")],
                   tell={"run": "two_disks,two_rngs", **negotiated(via, variant)})
        yield Cell(f"pc {via} rng: a few bytes at a time", tags="[RNG-02]", variant=variant,
                   rngs=[Rng("max-bytes=32,period=20")], tell={"run": "rng_slow", "quota": 32, **negotiated(via, variant)})
        yield Cell(f"pc {via} blk: storage too small or misaligned", variant=variant, disks=[Disk()],
                   tell={"run": "bad_storage", **negotiated(via, variant)})
        yield Cell(f"pc {via} blk: MSI-X is on", tags="[PCIL-07]" if via == "legacy" else "", variant=variant, disks=[Disk()],
                   tell={"run": "msix", "via": via, **negotiated(via, variant)})
        yield Cell(f"pc {via} two disks: the one with the serial", variant=variant,
                   disks=[Disk(), Disk(name="other", serial="7", seed=0x77, sectors=SECTORS - 1001)],
                   tell={"run": "by_serial"})
    yield Cell("pc blk: a serial of one character", disks=[Disk(serial="7")], tell={"run": "disk"})
    yield Cell("pc blk: not a driver for an entropy device", disks=[Disk()], rngs=[Rng()], tell={"run": "wrong_type"})
    yield Cell("pc rng from the host's urandom", rngs=[Rng(backend="rng-random,filename=/dev/urandom")], tell={"run": "rng"})
    yield Cell("pc blk+rng, four processors and queues",
               disks=[Disk(options="num-queues=4", write=(9, 9))], rngs=[Rng()], extra=["-smp", "4"],
               tell={"run": "disk,rng", **negotiated("modern")})
    yield Cell("pc blk: write-through, no flush", disks=[Disk(options="write-cache=off,config-wce=off", write=(9, 9))],
               tell={"run": "disk", **negotiated("modern", blk=tuple(set(BLK) - {"flush", "config_wce"}))})


def device_cells():
    """Devices that offer more, or whose registers are elsewhere."""
    both = {"run": "disk,rng"}

    def offered(name, options="", **more):
        told = more.pop("tell", {})
        return Cell(name, disks=[Disk(options=options, write=(50, 60))], rngs=[Rng(options)],
                    tell=both | negotiated("modern") | told, **more)

    yield offered("pc blk+rng packed=on: not accepted by a split driver", "packed=on")
    yield offered("pc blk+rng in_order=on: not accepted", "in_order=on", only=("10",))
    for ring in ("split", "packed"):
        packed = f"packed={switch(ring == 'packed')}"
        yield Cell(f"pc {ring} rng queue_reset=on: its queue goes down and comes up", variant="modern-only",
                   rngs=[Rng(f"queue_reset=on,{packed}")], tell={"run": f"restart_{ring}"}, tags="[RESET-04]")
        yield Cell(f"pc {ring} rng queue_reset=off: its queue stays up", variant="modern-only",
                   rngs=[Rng(f"queue_reset=off,{packed}")], tell={"run": f"restart_{ring}", "restart": "unsupported"})
    yield offered("q35 blk+rng iommu_platform=on: ACCESS_PLATFORM is accepted", tags="[FEAT-11]", options="iommu_platform=on",
                  machine="q35", variant="modern-only", tell=negotiated("modern", more=("access_platform",)))
    yield Cell("q35 blk iommu_platform=on: refused by a platform without support for it", "q35", "modern-only",
               [Disk(options="iommu_platform=on")], tell={"run": "refuse_access"},
               tags="[FEAT-07][INIT-12][INIT-13][STATUS-03]")
    yield Cell("pc blk+rng vectors=0: no MSI-X", disks=[Disk(options="vectors=0", write=(50, 60))], rngs=[Rng("vectors=0")],
               tell=both | negotiated("modern"))
    port = ["-device", "pcie-root-port,id=port1,chassis=1,addr=4", "-device", "pcie-root-port,id=port2,chassis=2,addr=5"]
    for name, options in {"plain": "", "modern-only": VARIANTS["modern-only"]}.items():
        # A plain device becomes modern-only on a root port.
        yield Cell(f"q35 blk+rng behind root ports, {name}", "q35", "",
                   [Disk(options=f"bus=port1,{options}".rstrip(","), write=(50, 60))],
                   [Rng(f"bus=port2,{options}".rstrip(","))], extra=port, tell=both | {"via": "modern"} | negotiated("modern"))
    yield Cell("pc blk+rng behind a PCI bridge", "pc", "transitional", [Disk(options="bus=bridge,addr=3", write=(50, 60))],
               [Rng("bus=bridge,addr=4")], extra=["-device", "pci-bridge,id=bridge,chassis_nr=1,addr=9"],
               tell=both | negotiated("modern"))
    yield Cell("q35 legacy-only blk behind bridges", "q35", "legacy-only", [Disk(options="bus=bridge,addr=3", write=(50, 60))],
               extra=["-device", "pcie-pci-bridge,id=bridge"], tell={"run": "disk", **negotiated("legacy", "legacy-only")})


CHIPSET = {
    "pc": {f"00:{at} {ids}": "no device, no interface: not a virtio device" for at, ids in {
        "00.0": "8086:1237", "01.0": "8086:7000", "01.1": "8086:7010", "01.3": "8086:7113"}.items()},
    "q35": {f"00:{at} {ids}": "no device, no interface: not a virtio device" for at, ids in {
        "00.0": "8086:29c0", "1f.0": "8086:2918", "1f.2": "8086:2922", "1f.3": "8086:2930"}.items()},
}


def bus_cells():
    """The results of discovery, and the errors of a program without a device or without a usable one."""
    for machine in ("pc", "q35"):
        yield Cell(f"{machine} without devices: not_found", machine, tell={"run": "list,absent", "error": "not_found"},
                   functions=CHIPSET[machine])
        for variant, via in {"modern-only": "modern PCI", "transitional": "modern PCI", "legacy-only": "legacy PCI"}.items():
            modern_id = variant == "modern-only"
            devices = {
                "virtio-blk-pci,drive=disk": ("1042" if modern_id else "1001", "block"),
                "virtio-rng-pci": ("1044" if modern_id else "1005", "entropy"),
                "virtio-balloon-pci": ("1045" if modern_id else "1002", "balloon"),
                "virtio-serial-pci": ("1043" if modern_id else "1003", "console"),
                "virtio-scsi-pci": ("1048" if modern_id else "1004", "scsi"),
                "virtio-net-pci,netdev=net,romfile=": ("1041" if modern_id else "1000", "network"),
            }
            extra, functions = ["-netdev", "hubport,hubid=0,id=net"], dict(CHIPSET[machine])
            for number, (device, (device_id, kind)) in enumerate(devices.items()):
                extra += ["-device", f"{device},{VARIANTS[variant]},addr={4 + number}"]
                functions[f"00:{4 + number:02x}.0 1af4:{device_id}"] = f"{kind}, {via}: usable"
            if modern_id:
                extra += ["-device", "virtio-keyboard-pci,addr=a", "-object", "cryptodev-backend-builtin,id=crypto",
                          "-device", "virtio-crypto-pci,cryptodev=crypto,addr=b"]
                functions["00:0a.0 1af4:1052"] = "input, modern PCI: usable"
                functions["00:0b.0 1af4:1054"] = "crypto, modern PCI: usable"
            extra += ["-object", "memory-backend-ram,id=shared,size=1M,share=on", "-device", "ivshmem-plain,memdev=shared,addr=c",
                      "-device", "pci-testdev,addr=d", "-blockdev", "driver=null-co,node-name=disk,size=8388608"]
            functions["00:0c.0 1af4:1110"] = (
                "no device, no interface: virtio vendor, but the device id is outside 1000-107f")
            functions["00:0d.0 1b36:0005"] = "no device, no interface: not a virtio device"
            yield Cell(f"{machine} {variant}: every function of the machine has its verdict", machine, variant, extra=extra,
                       functions=functions, tell={"run": "list"})
    for variant in ("modern-only", "legacy-only"):
        yield Cell(f"pc {variant} blk: a BAR without address is named, then assigned", variant=variant, disks=[Disk()],
                   tell={"run": "unassigned"})


def firmware_cells():
    """Machines without bus numbers and BAR addresses, or on which these were undone: the library assigns them."""
    low = {"memory": 0xc0000000, "memory_size": 0x20000000}
    q35 = {"ecam": 0xb0000000, "undo": 1, "io": 0xc000, "io_size": 0x3000, **low}
    switch_with_disk = ["-device", "pcie-root-port,id=port1,chassis=1,addr=4", "-device", "x3130-upstream,bus=port1,id=up",
                        "-device", "xio3130-downstream,bus=up,id=down,chassis=3"]

    def cell(name, machine, told, assigned, rng="", disk="", extra=(), used="1 disks, 1 entropy devices", variant="", **more):
        return Cell(name, machine, variant, [Disk(options=disk)], [Rng(rng)], list(extra), tell=told, image="tests/qemu/qemu_firmware",
                    console=[f"^assigned: {assigned}$", f"^used: {used}$"], **more)

    yield cell("microvm pcie=on: nothing has an address", "microvm,pcie=on,isa-serial=on", {"ecam": 0xe0000000, **low},
               "4 BARs, 2 without room, 0 bridges numbered")  # there are no ports for the two legacy blocks
    yield cell("q35, all undone, blk+rng on the root bus", "q35", q35, "9 BARs, 0 without room, 0 bridges numbered")
    yield cell("q35, all undone, blk behind a root port, rng behind a bridge", "q35", q35,
               "11 BARs, 0 without room, 3 bridges numbered", "bus=bridge,addr=3", "bus=port1",
               ["-device", "pcie-root-port,id=port1,chassis=1,addr=4", "-device", "pcie-pci-bridge,id=pci,addr=5",
                "-device", "pci-bridge,bus=pci,id=bridge,chassis_nr=2,addr=1"])
    yield cell("q35, all undone, blk behind a switch", "q35", q35, "9 BARs, 0 without room, 3 bridges numbered", "", "bus=down",
               switch_with_disk)
    high = {"memory": 0xc0000000, "memory_size": 0x4000, "high": 0x800000000, "high_size": 0x100000000, "above": 1}
    yield cell("q35, all undone, BARs above 4 GiB", "q35", q35 | high, r"\d+ BARs, 0 without room, 0 bridges numbered",
               "addr=5,disable-legacy=on", "addr=4,disable-legacy=on", ["-cpu", "max"])


def example_cells():
    for variant in ("modern-only", "transitional", "legacy-only"):
        for machine in ("pc", "q35"):
            yield Cell(f"{machine} {variant} example 01_blk", machine, variant, [Disk(flips=True)], image="examples/01_blk",
                       console=[r"\A\Z"])
    yield Cell("pc example 01_blk without a disk", image="examples/01_blk", status=1,
               console=[r"\Ano disk: there is no such device.*\n  no virtio device: 4 other functions or empty slots\n\Z"])
    yield Cell("pc example 01_blk with other devices than a disk: it lists them", variant="modern-only", rngs=[Rng("addr=4")], status=1,
               image="examples/01_blk", extra=["-device", "virtio-balloon-pci,addr=1e", "-device", "pci-testdev"],
               console=[r"\Ano disk: there is no such device.*\n  00:04.0 1af4:1044  entropy device, modern PCI: usable\n"
                        r"  00:1e.0 1af4:1002  balloon device, modern PCI: usable\n\Z"])
    yield Cell("pc example 01_blk with two disks", image="examples/01_blk", status=1, disks=[Disk(options="addr=4"),
               Disk(name="other", serial="second", options="addr=5")],
               console=[r"\Ano disk: more than one device matches.*\n  00:04.0 1af4:1001  block device, modern PCI: usable\n"
                        r"  00:05.0 1af4:1001  block device, modern PCI: usable\n\Z"])
    yield Cell("pc example 01_blk with a read-only disk", image="examples/01_blk", status=1,
               disks=[Disk(backend="driver=raw,read-only=on,file.driver=file,file.filename={image}")],
               console=[r"\Awrite: the device is read-only"])
    yield Cell("pc example 01_blk with a queue of 1024, legacy: refused", variant="legacy-only", image="examples/01_blk", status=1,
               disks=[Disk(options="queue-size=1024")], console=[
                   r"\Astart: the driver's DMA storage or ring is too small.*\n  block device: the driver's ring has too few entries\n"
                   r"    queue 0: 1024 entries wanted, 256 there\n    what to do: give the driver a larger queue"])
    for variant in ("modern-only", "legacy-only"):
        yield Cell(f"pc {variant} example 02_rng", variant=variant, rngs=[Rng()], image="examples/02_rng",
                   console=[r"\A(0x[0-9a-f]{1,2} ){32}\n\Z"])
    yield Cell("pc example 02_rng without an rng", image="examples/02_rng", status=1, console=[r"\Ano rng: there is no such device"])
    yield Cell("pc example 10_clock: there is no control device", image="examples/10_clock", status=1, rngs=[Rng("addr=5")],
               console=[r"\Ano control device: there is no such device.*\n  00:05.0 1af4:1005  entropy device, modern PCI: usable\n\Z"])


MORE = (balloon_cells, block_cells, boot_cells, c_firmware_cells, console_cells, demo_cells, packed_cells, ring_cells, register_cells, i386_cells, mmio_cells, net_cells,
        virt_cells, interrupt_cells, hotplug_cells, memory_cells, lsvirtio_cells, scsi_cells)


def cells(qemu):
    made = itertools.chain(main_cells(), queue_cells(), driver_cells(), disk_cells(), device_cells(), bus_cells(), firmware_cells(),
                           example_cells(), *(module.cells(sys.modules[__name__]) for module in MORE))
    return {cell.name: cell for cell in made if qemu in cell.only}


# ---- running one ----

def differences(expected, found):
    """Returns the first few wrong sectors."""
    if expected == found:
        return []
    if len(expected) != len(found):
        return [f"{len(found)} bytes, want {len(expected)}"]
    wrong = [n for n in range(len(expected) // 512) if expected[512 * n:512 * n + 512] != found[512 * n:512 * n + 512]]
    return [f"sector {n} is wrong ({len(wrong)} are)" for n in wrong[:4]]


def not_holes(path, extents):
    """Yields the extents that use room in the file, as lines; none if its file system cannot report holes."""
    with path.open("rb") as file:
        for first, count in extents:
            try:
                data = os.lseek(file.fileno(), 512 * first, os.SEEK_DATA)
            except OSError as failure:
                if failure.errno == errno.ENXIO:  # no data from there on
                    continue
                print(f"holes are not looked for: {failure.strerror}")
                return
            if data < 512 * (first + count):
                yield f"sector {data // 512} is not a hole"


def complaints_about_functions(expected, console):
    said = dict(re.findall(r"^function (\S+ \S+) (.*)$", console, re.M))
    for where in sorted(expected.keys() | said.keys()):
        if expected.get(where) != said.get(where):
            yield f"function {where}: {said.get(where, 'not listed')}; want {expected.get(where, 'none there')}"


def complaints_about_slots(expected, console, machine):
    said = re.findall(r"^function slot \d+ (.*)$", console, re.M)
    rest = sorted(line for line in said if line != "no device, no interface: a slot without a device"
                  and line != "no device, no interface: no virtio registers here")
    wanted = sorted(f"{kind}, {via}: usable" for kind, via in expected.items())
    if rest != wanted:
        yield f"slots: {rest}, want {wanted}"
    empty = len(said) - len(rest)
    if machine.startswith("microvm"):  # reports only slots with a device
        yield from [f"slots: {empty} without a device"] if empty else []
    elif empty < 4:
        yield f"slots: only {len(said)}"


def arguments_of(cell, images):
    """Returns QEMU's further arguments; `images` are the paths of the disks' images."""
    made = [*GLOBALS.get(cell.variant, []), *cell.extra]
    for disk, image in zip(cell.disks, images):
        made += disk.arguments(image, cell.variant)
    for rng in cell.rngs:
        made += rng.arguments(cell.variant)
    return made


def complaints(cell, status, console):
    """Yields the errors in how a guest ended and in its console."""
    if status != cell.status:
        yield f"status {status}, want {cell.status}"
    yield from (f"console does not match {text}" for text in cell.console if not re.search(text, console, re.M))
    if cell.functions is not None:
        yield from complaints_about_functions(cell.functions, console)
    if cell.slots is not None:
        yield from complaints_about_slots(cell.slots, console, cell.machine)
    if cell.report is not None:
        yield from lsvirtio_cells.complaints(cell.report, console)


def report(cell, images, status, console, took):
    """Prints the result of a cell whose disks are in these images; returns its errors as lines, none if all is
    right."""
    if cell.tags:
        print("exercises", cell.tags)
    print(console, end="")
    print(f"status {status}, {took:.2f} s")

    wrong = list(complaints(cell, status, console))
    for disk, path in zip(cell.disks, images):
        wrong += [f"{disk.name}: {line}" for line in disk.complaints(path)]
    return wrong


def run(cell, qemu, tree, folder, helpers):
    """Boots a cell; returns its errors as lines, none if all is right. `helpers` ends what runs beside QEMU."""
    paths = [folder / f"{disk.name}.img" for disk in cell.disks]
    for disk, path in zip(cell.disks, paths):
        disk.create(path)
    extra = arguments_of(cell, [helpers.enter_context(storage_daemon.serve(path)) if disk.vhost_user else path
                                for disk, path in zip(cell.disks, paths)])
    beside = helpers.enter_context(cell.beside()) if cell.beside else None
    extra += beside.arguments if beside else []

    image = tree / cell.image
    if cell.form:
        image = make_form(cell.form, image, folder, cell.command_line())
    if cell.place:
        image, more = cell.place.put(qemu, cell.machine, cell.memory, guestrun.processor(image).ending, cell.command_line(), image, extra, folder)
        extra += more
    began = time.monotonic()
    status, console = guestrun.boot(image, qemu, cell.machine, cell.memory, cell.command_line(), extra=extra,
                                   script=cell.script, disk=cell.boot_disk)
    wrong = report(cell, paths, status, console.replace("\r\n", "\n"), time.monotonic() - began)
    wrong += beside.complaints() if beside else []
    if wrong:
        print("QEMU's further arguments:", *extra)
    return wrong


def make_form(form, image, folder, command_line):
    """The image in another form (as Cell has it), in this folder. A disk contains the command line."""
    kind, *protocol = form.split()
    out = folder / form.replace(" ", "-")
    more = ["--protocol", *protocol, "--append", command_line] if kind == "grub" else []
    subprocess.run([BOOT_IMAGE, kind, image, out, *more], check=True)
    return out


def why_no_grub():
    """Returns why a disk with GRUB cannot be made here; empty if it can."""
    return subprocess.run([BOOT_IMAGE, "grub", "--check"], capture_output=True, text=True).stderr.strip()


def missing(cell, version):
    """Returns why a cell cannot run here, or None."""
    variable = VARIABLES[version] + SUFFIXES[cell.processor]
    if not os.environ.get(variable):
        fetches = "fetches it where Debian's unstable can be reached" if version in NOT_REQUIRED else "fetches it"
        return f"{variable} is empty, no QEMU {version} on this machine (tools/setup {fetches}, tools/setup --print tells where it is)"
    if any(disk.vhost_user for disk in cell.disks) and not shutil.which(storage_daemon.COMMAND):
        return f"no {storage_daemon.COMMAND} on this machine (tools/setup installs it)"
    if cell.needs and cell.needs():
        return cell.needs()
    if cell.place and cell.place.missing():
        return cell.place.missing()
    if cell.form.startswith("grub"):
        return why_no_grub() or None
    return None


def qemu_for(cell, version):
    return os.environ[VARIABLES[version] + SUFFIXES[cell.processor]]


@contextlib.contextmanager
def folder_for(tree, name):
    """Makes an empty folder for this name. The block receives it and a list for errors; the folder is kept if there are
    any."""
    folder = tree / "cells" / re.sub(r"[^\w.=-]+", "_", name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    wrong = []
    yield folder, wrong
    if not wrong:
        shutil.rmtree(folder)


def run_alone(cell, version, tree):
    """Runs a cell in a boot of its own, prints the result, and returns the exit status."""
    why = missing(cell, version)
    if why:
        return skip(why, version not in NOT_REQUIRED)
    with folder_for(tree, f"{version} {cell.name}") as (folder, wrong), contextlib.ExitStack() as helpers:
        wrong += run(cell, qemu_for(cell, version), tree, folder, helpers)
    for line in wrong:
        print("WRONG:", line)
    return 1 if wrong else 0


def skip(why, required=True):
    """A cell that cannot run here: returns the exit status. A cell that is not required is skipped even if all others
    are."""
    required = required and os.environ.get("VIRTIO_TEST_REQUIRE_ALL") == "1"
    print(f"{'missing' if required else 'skipped'}: {why}")
    return 1 if required else SKIPPED


def asked_for(*missing):
    """Returns the version of QEMU, the tree of the guests and the QEMU that a test's command line names; removes them
    from sys.argv. Ends the program if this QEMU is absent, or if one of `missing` names another absent part."""
    version, tree = sys.argv.pop(1), pathlib.Path(sys.argv.pop(1))
    qemu = os.environ.get(VARIABLES[version])
    for why in (*missing, "" if qemu else f"no QEMU {version} on this machine"):
        if why:
            sys.exit(skip(why))
    return version, tree, qemu


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--qemu", choices=VARIABLES, default="7.2")
    parser.add_argument("--processor", choices=BUILDS, help="list the cells of one processor only")
    parser.add_argument("--tree", type=pathlib.Path, help="where the guests were built (default: where tools/test does)")
    parser.add_argument("cell", nargs="?")
    options = parser.parse_args(arguments)

    known = cells(options.qemu)
    if options.list:
        print(*(name for name, cell in known.items() if options.processor in (None, cell.processor)), sep="\n")
        return 0
    if options.cell not in known:
        parser.error(f"no cell {options.cell!r}; --list names them")
    cell = known[options.cell]
    return run_alone(cell, options.qemu, options.tree or BUILDS[cell.processor])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
