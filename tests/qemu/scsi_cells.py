# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix with a SCSI host: its disks and CD drives."""
import dataclasses

SPARSE = "driver=raw,discard=unmap,file.driver=file,file.discard=unmap,file.filename={image}"
IMAGE = "tests/qemu/qemu_scsi"


def disk_type(kit):
    @dataclasses.dataclass
    class Unit(kit.Disk):
        """A disk or CD drive of the host `scsi`."""
        kind: str = "scsi-hd"
        target: int = 0
        lun: int = 0

        def arguments(self, image, variant):
            blockdev = (self.backend or "driver=raw,file.driver=file,file.filename={image}").format(image=image)
            if self.kind == "scsi-cd":
                blockdev = f"read-only=on,{blockdev}"
            made = ["-blockdev", f"node-name={self.name},{blockdev}"]
            if self.plugged:
                return made
            errors = ",werror=report,rerror=report"
            device = f"{self.kind},bus=scsi.0,scsi-id={self.target},lun={self.lun},drive={self.name}{errors}"
            return [*made, "-device", ",".join(filter(None, [device, self.options]))]

    return Unit


def host(kit, variant, options=""):
    """The SCSI host, as QEMU's arguments."""
    return ["-device", ",".join(filter(None, [f"virtio-scsi-{kit.bus_of(variant)},id=scsi", kit.VARIANTS[variant], options]))]


def reading_cells(kit, unit):
    """Reads and writes through every interface and ring: by pairs, the product with --long."""
    small = 4096
    for machine, processor, variant, packed, long in (
            ("pc", "x86_64", "modern-only", False, False), ("pc", "x86_64", "modern-only", True, True),
            ("pc", "x86_64", "transitional", True, False), ("pc", "x86_64", "transitional", False, True),
            ("pc", "x86_64", "legacy-only", False, False),
            ("q35", "x86_64", "modern-only", True, True),
            ("microvm,isa-serial=on", "x86_64", "mmio version 1", False, True),
            ("microvm,isa-serial=on", "x86_64", "mmio version 2", True, False),
            ("microvm,isa-serial=on", "x86_64", "mmio version 2", False, True),
            ("virt", "aarch64", "mmio version 1", False, False), ("virt", "aarch64", "mmio version 2", True, True),
            ("virt", "aarch64", "modern-only", True, False), ("virt", "aarch64", "modern-only", False, True),
            ("virt", "aarch64", "legacy-only", False, True),
            *(("virt", "riscv64", variant, packed, True) for variant, packed in
              (("mmio version 1", False), ("mmio version 2", True), ("modern-only", True), ("transitional", False), ("legacy-only", False)))):
        is_mmio = variant.startswith("mmio")
        via = "legacy" if variant in ("legacy-only", "mmio version 1") else "modern"
        drop = (9000, 3000)
        disk = unit(write=(1000, 257), backend=SPARSE, zeroes=(drop,))
        cd = unit(name="cd", kind="scsi-cd", seed=0x77, sectors=small, target=1)
        large = unit(name="large", seed=0x78, sectors=small, target=1, lun=3, options="logical_block_size=4096,physical_block_size=4096")
        ring = "packed" if packed else "split"
        name = kit.named(machine.split(",", maxsplit=1)[0], processor)
        yield kit.Cell(f"{name} {variant} {ring} scsi: two disks and a CD drive", machine, variant,
                       [disk, cd, large], extra=host(kit, variant, "packed=on" if packed else ""), processor=processor, long=long,
                       image="tests/qemu/qemu_mmio_scsi" if is_mmio else IMAGE,
                       console=["^unit 0:0 kind 0 QEMU ", "^unit 1:0 kind 5 QEMU ", "^unit 1:3 kind 0 QEMU ",
                                "^unit 1: blocks of 2048, read-only", "^unit 2: blocks of 4096"],
                       tell={"run": "units", "units": 3, "via": via, "packed": int(packed), "drop": drop[0], "drop_count": drop[1]})


def fault_cells(kit, unit):
    bad = ("driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={image},file.inject-error.0.event=none,"
           "file.inject-error.0.iotype=read,file.inject-error.0.sector=3000,file.inject-error.0.errno=5")
    variant = "modern-only"
    yield kit.Cell("pc modern-only scsi: a bad sector gives io_error, and the disk continues", variant=variant,
                   extra=host(kit, variant), disks=[unit(backend=bad)], image=IMAGE, tell={"run": "bad", "bad_first": 3000},
                   console=["^bad: the device failed the request; (MEDIUM|HARDWARE|ABORTED)"])


    for error, number, words in (("an I/O error", 5, "ABORTED COMMAND"), ("no space left", 28, "DATA PROTECT: no space is left")):
        bad = ("driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={image},file.inject-error.0.event=none,"
               f"file.inject-error.0.iotype=write,file.inject-error.0.sector=3000,file.inject-error.0.errno={number}")
        yield kit.Cell(f"pc modern-only scsi: {error} on a write has a name, and fails no other request", variant=variant,
                       extra=host(kit, variant), disks=[unit(backend=bad), unit(name="other", seed=0x77, target=1)], image=IMAGE,
                       tell={"run": "bad_write", "bad_first": 3000, "full": int(number == 28)},
                       console=[f"^bad: the device failed the request; {words}"])


def late_cells(kit, unit):
    """A disk that completes one read and holds the next until the host releases it."""
    variant = "modern-only"
    held = [("^hold$", kit.HOLD_NOW, b"!"), ("^ended$", kit.LET_GO, b"!")]
    # QEMU 10.0 to 10.1 take the lock of a unit's requests twice in ABORT TASK, which stops the whole machine
    # permanently: a bug that FreeBSD guests found, fixed in 10.2.
    for late, words, only in (("abort", "an abort or a reset", ("7.2", "11")), ("unit", "a reset", ("7.2", "10", "11"))):
        yield kit.Cell(f"pc modern-only scsi: a read that takes too long is ended by {words} of its unit, which continues", variant=variant,
                       disks=[unit(backend=kit.HELD), unit(name="other", seed=0x77, target=1)], only=only,
                       extra=[*host(kit, variant), "-object", "throttle-group,id=held"], image=IMAGE,
                       tell={"run": "late", "late": late, "patience": 3_000_000}, script=held * 2,
                       console=[r"^late: (no answer in time.*; (ABORTED|RESET|status|ABORTED COMMAND)|success; GOOD)"])


def plug_cells(kit, unit):
    for variant, long in (("modern-only", False), ("legacy-only", True)):
        plug = ("device_add", {"driver": "scsi-hd", "id": "hot", "bus": "scsi.0", "drive": "other", "scsi-id": 1, "lun": 2})
        unplug = ("device_del", {"id": "hot"})
        yield kit.Cell(f"pc {variant} scsi: a disk is plugged, pulled out, and plugged again", variant=variant, extra=host(kit, variant), long=long,
                       disks=[unit(), unit(name="other", seed=0x77, plugged=True)], image=IMAGE, tell={"run": "plug"},
                       tags="[SCSI-01][SCSI-13]", console=["^event 2 1:2", "^event 3 1:2", "^pulled: there is no such device.*(BAD TARGET|INCORRECT)"],
                       script=[("^round 0: waiting", plug), ("^in use", unplug), ("event DEVICE_DELETED",), ("^round 1: waiting", plug),
                               ("^in use", unplug)])
    yield kit.Cell("pc modern-only scsi: a CD is removed and inserted again", variant="modern-only", extra=host(kit, "modern-only"),
                   disks=[unit(kind="scsi-cd", sectors=4096, options="id=drive")], image=IMAGE, tell={"run": "tray"},
                   console=["^empty: nothing has completed or arrived yet; NOT READY: no medium"],
                   script=[("^eject", ("blockdev-open-tray", {"id": "drive", "force": True}), ("blockdev-remove-medium", {"id": "drive"})),
                           ("^insert", ("blockdev-insert-medium", {"id": "drive", "node-name": "disk"}),
                            ("blockdev-close-tray", {"id": "drive"}))])


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module."""
    unit = disk_type(kit)
    yield kit.Cell("pc modern-only scsi: a disk", variant="modern-only", extra=host(kit, "modern-only"), disks=[unit(write=(1000, 257))],
                   image=IMAGE, tell={"run": "units"}, console=["^unit 0:0 kind 0 QEMU     QEMU HARDDISK"])
    for made in (reading_cells, fault_cells, late_cells, plug_cells):
        yield from made(kit, unit)
