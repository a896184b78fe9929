# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix with a balloon: the host sets its size, checks that memory is returned, and requests
statistics; it migrates the guest, and does not send hinted memory."""
import pathlib

import guestrun

MIB = 1 << 20
OBJECT = {"path": "/machine/peripheral/balloon"}
POISON = 0xa5b6c7d8


def resident(process):
    """Returns the memory of a process, in bytes."""
    return int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


class Memory:
    """Returns the memory that QEMU has returned since the last call."""

    def __init__(self):
        self.before = 0

    def measure(self, _, process):
        self.before = resident(process)

    def freed(self, least, most):
        """A check: between `least` and `most` MiB were returned."""
        def check(_, process):
            freed = (self.before - resident(process)) / MIB
            return None if least <= freed <= most else f"the host has got {freed:.1f} MiB back"
        return check


def host(reporting=None, emergency=False):
    """The host's part: inflates by 40 MiB, requests statistics twice, and deflates completely. `reporting`: the least
    and most MiB that the report of 32 MiB returns to it. `emergency`: the guest takes 4 MiB back without a request."""
    memory = Memory()

    def smaller(answer, process):
        return f"query-balloon says {answer}" if answer["actual"] != 88 * MIB else memory.freed(32, 64)(answer, process)

    def statistics(answer, _):
        said = answer["stats"]
        right = {"stat-total-memory": 128 * MIB, "stat-free-memory": 8 * MIB}
        return None if all(said[key] == value for key, value in right.items()) else f"guest-stats: {said}"

    look = ("query-status", {})
    yield "^up with", (*look, memory.measure), ("balloon", {"value": 88 * MIB})
    yield ("^in the balloon: 10240$", ("query-balloon", {}, smaller),
           ("qom-set", {**OBJECT, "property": "guest-stats-polling-interval", "value": 1}))
    yield "^told 2$", ("qom-get", {**OBJECT, "property": "guest-stats"}, statistics), (*look, memory.measure)
    if emergency:
        yield "^out of memory: 9216$", ("query-balloon", {}, lambda answer, _: f"{answer}" if answer["actual"] != 92 * MIB else None)
    yield "", ("balloon", {"value": 128 * MIB})
    if reporting:
        # Since the balloon was full, all of its memory has been written again.
        least, most = reporting
        yield "^reported$", (*look, memory.freed(least - 40, most - 40)), ("balloon", {"value": 127 * MIB})


def migrated(least, most):
    """The host's part: migrates the guest to nowhere, which sends `least` to `most` MiB, and lets it run again."""
    def sent(answer, _):
        pages = answer["ram"]["normal-bytes"] / MIB
        return None if least <= pages <= most else f"{pages:.1f} MiB were sent"

    def at_rest(answer, _):
        return None if answer["status"] == "postmigrate" else guestrun.AGAIN

    yield ("^up with", ("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": True}]}),
           ("migrate-set-parameters", {"max-bandwidth": 16 * MIB}), ("migrate", {"uri": "exec:cat >/dev/null"}))
    yield "event MIGRATION completed", ("query-migrate", {}, sent), ("query-status", {}, at_rest), ("cont", {})


def inflating_cells(kit):
    report = (24, 40)
    nothing = (-8, 8)  # QEMU takes no page whose contents it would have to restore
    for variant, ring, options, told, reporting in (
            ("modern-only", "split", "deflate-on-oom=off,free-page-reporting=on", {}, report),
            ("transitional", "packed", "deflate-on-oom=on,free-page-reporting=on,packed=on", {}, report),
            ("modern-only", "packed", "deflate-on-oom=off,packed=on", {}, None),
            ("legacy-only", "split", "deflate-on-oom=off", {}, None),
            ("modern-only", "split", "deflate-on-oom=off,free-page-reporting=on,page-poison=on", {"poison": POISON}, nothing),
            ("legacy-only", "split", "deflate-on-oom=off,free-page-reporting=on,page-poison=on", {"poison": POISON}, nothing),
            ("modern-only", "split", "deflate-on-oom=off,free-page-reporting=on,page-poison=off", {"poison": POISON}, None)):
        what = options.split(",packed", maxsplit=1)[0].replace(",", ", ") + (", the guest poisons" if told else "")
        yield kit.Cell(f"pc {variant} {ring} balloon, {what}", variant=variant, script=list(host(reporting, "oom=on" in options)),
                       extra=["-device", f"virtio-balloon-pci,id=balloon,{kit.VARIANTS[variant]},{options}"],
                       image="tests/qemu/qemu_balloon", tell={"ring": ring, **told},
                       console=[r"^in the balloon: 0$"] + (["^reported$"] if reporting else []),
                       tags="[BALLOON-03]" if told and not reporting else "[BALLOON-08]" if "oom=on" in options else "")
    for machine, processor, device, variant, image in (
            ("microvm,isa-serial=on", "x86_64", "device", "mmio version 1", "qemu_mmio_balloon"),
            ("microvm,isa-serial=on", "x86_64", "device", "mmio version 2", "qemu_mmio_balloon"),
            ("virt", "aarch64", "device", "mmio version 2", "qemu_mmio_balloon"),
            ("virt", "aarch64", "pci", "modern-only", "qemu_balloon"),
            ("virt", "aarch64", "pci", "legacy-only", "qemu_balloon"),
            ("virt", "riscv64", "device", "mmio version 1", "qemu_mmio_balloon"),
            ("virt", "riscv64", "device", "mmio version 2", "qemu_mmio_balloon"),
            ("virt", "riscv64", "pci", "modern-only", "qemu_balloon"),
            ("virt", "riscv64", "pci", "legacy-only", "qemu_balloon")):
        options = ",".join(filter(None, [f"virtio-balloon-{device}", "id=balloon", kit.VARIANTS[variant]]))
        name = kit.named(machine.split(",", maxsplit=1)[0], processor)
        yield kit.Cell(f"{name} {variant} balloon", machine, variant, long=processor == "riscv64", extra=["-device", options],
                       script=list(host()), image=f"tests/qemu/{image}", tell={"ring": "split"}, console=[r"^in the balloon: 0$"],
                       processor=processor)


def hinting_cells(kit):
    """The guest's 48 MiB of memory are full of different pages: without hints all of them are sent. No EVENT_IDX: with
    it QEMU interrupts once even without a request, here from the iothread, which ends QEMU 10 without KVM
    (tcg_handle_interrupt: bql_locked())."""
    for variant, ring, options in (("modern-only", "split", ""), ("transitional", "packed", "packed=on"), ("legacy-only", "split", "")):
        hints = ",".join(filter(None, ["virtio-balloon-pci,id=balloon,free-page-hint=on,iothread=io0,event_idx=off",
                                       kit.VARIANTS[variant], options]))
        yield kit.Cell(f"pc {variant} {ring} balloon, hints while it is migrated", variant=variant,
                       extra=["-object", "iothread,id=io0", "-device", hints], script=list(migrated(0, 24)),
                       image="tests/qemu/qemu_balloon", tell={"run": "hint", "ring": ring}, console=["^hinted 24$"],
                       only=tuple(kit.VARIABLES), tags="[BALLOON-24][BALLOON-25][BALLOON-29]")


def cells(kit):
    """Returns all of them; `kit` is matrix.py's module."""
    yield from inflating_cells(kit)
    yield from hinting_cells(kit)
