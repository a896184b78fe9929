# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix that boot lsvirtio and read its JSON: the same image on every machine."""
import re

import report

IMAGE = "examples/lsvirtio"
NETWORK = ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
STRUCTURES = {"common configuration": 1, "notification": 2, "ISR": 3, "device configuration": 4, "configuration window": 5}


def complaints(check, console):
    """What is wrong with a report: it has to be whole, and then `check` looks at its objects."""
    try:
        objects = report.objects(console)
    except ValueError as failure:
        yield f"the report is no JSON: {failure}"
        return
    if not objects or objects[0]["lsvirtio"] != "machine" or objects[-1] != objects[-1] | {"lsvirtio": "end", "status": "complete"}:
        yield f"the report is not whole: {[one['lsvirtio'] for one in objects]}"
        return
    yield from check(objects)


def differs(found, wanted, where):
    """What is not as wanted: a dict is compared key by key, a set is contained in a list, a pattern matches, a function says yes."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            if not isinstance(found, dict) or key not in found:
                yield f"{where}: no {key}"
            else:
                yield from differs(found[key], value, f"{where}, {key}")
    elif isinstance(wanted, set):
        if not wanted <= set(found):
            yield f"{where}: {found}, want {sorted(wanted)} among them"
    elif isinstance(wanted, re.Pattern):
        if not wanted.search(str(found)):
            yield f"{where}: {found}, want {wanted.pattern}"
    elif callable(wanted):
        if not wanted(found):
            yield f"{where}: {found}"
    elif found != wanted:
        yield f"{where}: {found}, want {wanted}"


def fields(*names, **values):
    """For a configuration: it has these fields, some with these values, and all were the same by each width."""
    def check(found):
        got = {one["name"]: one for one in found}
        return ({*names, *values} <= got.keys() and all(got[name]["agree"] for name in names)
                and all(got[name]["value"] == value for name, value in values.items()))
    return check


def expect(machine, devices, places=("function", "slot"), check=lambda objects: ()):
    """A check: `machine` of the machine, and of each type of device what is wanted of the objects that have it, in order."""
    def all_of(objects):
        yield from differs(objects[0], machine, "machine")
        found = {}
        for one in objects:
            if one["lsvirtio"] in places and "device" in one:
                found.setdefault(one["device"]["type"], []).append(one)
        for kind, wanted in devices.items():
            wanted = wanted if isinstance(wanted, list) else [wanted]
            if len(found.get(kind, [])) != len(wanted):
                yield f"{kind}: {len(found.get(kind, []))} devices, want {len(wanted)}"
            for one, want in zip(found.get(kind, []), wanted):
                yield from differs(one, want, kind)
        yield from check(objects)
    return all_of


def modern_function(kind, interface="transitional", multiplier=4):
    """A function as QEMU has it: three BARs at most, all five structures, an interrupt."""
    def structures(found):
        there = {one["structure"]: one for one in found}
        return ({name: one["type"] for name, one in there.items()} == STRUCTURES and there["notification"]["multiplier"] == multiplier
                and there["common configuration"]["length"] >= 56 and len({one["offset"] for one in found if one["type"] < 5}) == 4)
    return {"verdict": "usable", "ids": re.compile("^1af4:10[0-7][0-9a-f]$"), "capabilities": structures, "interrupt": {"pin": "A"},
            "bars": lambda found: any(one["bar"] == 4 and one["bytes"] == 0x4000 and one["address"] % 0x4000 == 0 and one["address"]
                                      for one in found),
            "device": {"interface": interface}} | kind


USUAL = {"INDIRECT_DESC", "EVENT_IDX"}


def block(interface, sectors, **more):
    return {"device": {"type_number": 2, "interface": interface, "features": {"BLK_SEG_MAX", "BLK_FLUSH", *USUAL}, 
                       "queues": [1024] if interface.startswith("mmio") else [256],  # the most that there may be, or what the device is set to
                       "configuration": fields("capacity", "seg_max", "blk_size", capacity=f"{sectors} sectors of 512 bytes",
                                               blk_size="512 bytes"), "policy": "by_field"}} | more


def entropy(interface, **more):
    return {"device": {"type_number": 4, "interface": interface, "features": USUAL, "configuration": []}} | more


def x86(entry="PVH"):
    return {"processor": "x86-64", "entry": entry, "rsdp": lambda at: at > 0x1000, "command_line": re.compile("json=1"),
            "memory": lambda all: sum(one["bytes"] for one in all if one["kind"] == "usable") > 100 << 20}


def cells(m):
    """All of them; `m` is the matrix, for its types and tables."""
    def cell(name, machine, variant, check, **more):
        return m.Cell(f"{name}", machine, variant, image=IMAGE, tell={"json": 1} | more.pop("tell", {}), report=check, **more)

    for machine in ("pc", "q35"):
        for variant, interface in (("modern-only", "modern"), ("transitional", "transitional"), ("legacy-only", "legacy")):
            usual = {"modern": modern_function({}, "modern"), "transitional": modern_function({})}.get(interface, {
                "verdict": "usable", "capabilities": [], "bars": lambda found: found[0]["kind"] == "ports"})
            yield cell(f"{machine} {variant} lsvirtio: block and entropy, from the ids to the policy", machine, variant,
                       expect(x86(), {"block": usual | block(interface, m.SECTORS), "entropy": usual | entropy(interface)}),
                       disks=[m.Disk()], rngs=[m.Rng()], long=(machine, variant) not in (("pc", "transitional"), ("q35", "modern-only"),
                                                                                       ("pc", "legacy-only")))
    for version in (1, 2):
        interface = f"mmio version {version}"
        yield cell(f"microvm {interface} lsvirtio: block and entropy in slots", "microvm,isa-serial=on", interface,
                   expect(x86(), {"block": block(interface, m.SECTORS), "entropy": entropy(interface)}, ("slot",),
                          lambda objects: differs(objects[-1], {"empty_slots": lambda n: n >= 6}, "end")),
                   disks=[m.Disk()], rngs=[m.Rng()])
        yield cell(f"virt {interface} lsvirtio: block in a slot, entropy on PCI", "virt", interface,
                   expect({"processor": "aarch64", "device_tree": True},
                          {"block": block(interface, m.SECTORS), "entropy": modern_function({}) | entropy("transitional")}),
                   disks=[m.Disk()], extra=["-device", "virtio-rng-pci"], processor="aarch64", long=version == 1)
    yield cell("i386 pc lsvirtio: block behind the configuration window, its BARs above 4 GiB", "pc", "modern-only",
               expect({"processor": "i386"}, {"block": block("modern", m.SECTORS, bars=lambda found: max(one["address"] for one in found) >> 32)}),
               disks=[m.Disk()], extra=["-cpu", "pentium2", *m.register_cells.BIG_NEIGHBOUR], processor="i386")
