# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix with a SCSI host: disks and CD drives behind it."""
import dataclasses

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


def cells(kit):
    """All of them; `kit` is what matrix.py has."""
    unit = disk_type(kit)
    yield kit.Cell("pc modern-only scsi: a disk", variant="modern-only", extra=host(kit, "modern-only"), disks=[unit(write=(1000, 257))],
                   image=IMAGE, tell={"run": "units"}, console=["^unit 0:0 kind 0 QEMU     QEMU HARDDISK"])
