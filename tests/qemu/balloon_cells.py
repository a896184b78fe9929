# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix with a balloon: the host sets its size, sees memory come back, and asks for statistics."""
import pathlib

MIB = 1 << 20
OBJECT = {"path": "/machine/peripheral/balloon"}


def resident(process):
    """The memory that a process has, in bytes."""
    return int(pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096


def host():
    """The host's part: 40 MiB go into the balloon, statistics are asked for twice, and all comes back."""
    before = []

    def measure(_, process):
        before.append(resident(process))

    def smaller(answer, process):
        freed = before[0] - resident(process)
        if answer["actual"] != 88 * MIB:
            return f"query-balloon says {answer}"
        return None if freed > 32 * MIB else f"the host has got {freed} bytes back"

    def statistics(answer, _):
        said = answer["stats"]
        right = {"stat-total-memory": 128 * MIB, "stat-free-memory": 8 * MIB}
        return None if all(said[key] == value for key, value in right.items()) else f"guest-stats: {said}"

    return [("^up with", ("query-status", {}, measure), ("balloon", {"value": 88 * MIB})),
            ("^in the balloon: 10240$", ("query-balloon", {}, smaller),
             ("qom-set", {**OBJECT, "property": "guest-stats-polling-interval", "value": 1})),
            ("^told 2$", ("qom-get", {**OBJECT, "property": "guest-stats"}, statistics), ("balloon", {"value": 128 * MIB}))]


def cells(kit):
    """All of them; `kit` is what matrix.py has."""
    for variant, ring, options in (("modern-only", "split", "deflate-on-oom=off,free-page-reporting=on"),
                                   ("transitional", "packed", "deflate-on-oom=on,free-page-reporting=on,packed=on"),
                                   ("modern-only", "packed", "deflate-on-oom=off,packed=on"),
                                   ("legacy-only", "split", "deflate-on-oom=off")):
        reporting = "free-page-reporting=on" in options
        yield kit.Cell(f"pc {variant} {ring} balloon, {options.split(',packed')[0].replace(',', ', ')}", variant=variant,
                       extra=["-device", f"virtio-balloon-pci,id=balloon,{kit.VARIANTS[variant]},{options}"], script=host(),
                       image="tests/qemu/qemu_balloon", tell={"ring": ring},
                       console=[r"^in the balloon: 0$"] + (["^reported$"] if reporting else []))
