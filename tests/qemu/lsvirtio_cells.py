# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix that boot lsvirtio and read its JSON: the same image on every machine."""
import itertools
import re

import report

IMAGE = "examples/lsvirtio"
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


def modern_function(kind, interface="transitional"):
    """A function as QEMU has it: all five structures in the BAR that they have there, an interrupt."""
    def structures(found):
        there = {one["structure"]: one for one in found}
        return ({name: one["type"] for name, one in there.items()} == STRUCTURES and there["notification"]["multiplier"] == 4
                and there["common configuration"]["length"] >= 56 and len({one["offset"] for one in found if one["type"] < 5}) == 4)
    return {"verdict": "usable", "ids": re.compile("^1af4:10[0-7][0-9a-f]$"), "capabilities": structures, "interrupt": {"pin": "A"},
            "bars": lambda found: any(one["bar"] == 4 and one["bytes"] == 0x4000 and one["address"] % 0x4000 == 0 and one["address"]
                                      for one in found),
            "device": {"interface": interface}} | kind


USUAL = {"INDIRECT_DESC", "EVENT_IDX"}


def block(interface, m, **more):
    return {"check": {"verdict": "bound", "tried": "read sector 0", "outcome": "ok", "first_bytes": m.pattern(m.Disk.seed, 0, 1)[:16].hex()},
            "device": {"type_number": 2, "interface": interface, "features": {"BLK_SEG_MAX", "BLK_FLUSH", *USUAL}, 
                       "queues": [1024] if interface.startswith("mmio") else [256],  # the most that there may be, or what the device is set to
                       "configuration": fields("capacity", "seg_max", "blk_size", capacity=f"{m.SECTORS} sectors of 512 bytes",
                                               blk_size="512 bytes"), "policy": "by_field"}} | more


def entropy(interface, **more):
    return {"check": {"verdict": "bound", "accepted": {"EVENT_IDX"}, "outcome": "ok",
                      "bytes": lambda drawn: len(drawn) == 64 and len(set(drawn)) > 4},
            "device": {"type_number": 4, "interface": interface, "features": USUAL, "configuration": []}} | more


def x86(entry="PVH", pci="ports CF8 and CFC"):
    return {"processor": "x86-64", "entry": entry, "pci_configuration": pci, "rsdp": lambda at: at > 0x1000, "command_line": re.compile("json=1"),
            "memory": lambda all: sum(one["bytes"] for one in all if one["kind"] == "usable") > 100 << 20}


# Every type of device that QEMU has without help from outside, and what is decoded of it.
OTHERS = ["-m", "128M,maxmem=2G,slots=4",
          "-device", "virtio-scsi-pci", "-fsdev", "local,id=files,path=/,security_model=none,readonly=on",
          "-device", "virtio-9p-pci,fsdev=files,mount_tag=shared", "-device", "virtio-keyboard-pci,serial=keys", "-device", "virtio-mouse-pci",
          "-object", "cryptodev-backend-builtin,id=crypto", "-device", "virtio-crypto-pci,cryptodev=crypto", "-device", "virtio-iommu-pci",
          "-object", "memory-backend-ram,id=more,size=256M", "-device", "virtio-mem-pci,memdev=more,requested-size=64M",
          "-object", "memory-backend-ram,id=kept,size=64M", "-device", "virtio-pmem-pci,memdev=kept"]
GPU = ["-device", "virtio-gpu-pci,max_outputs=3"]  # of QEMU 10 it is in a package that is not fetched


def others():
    def device(type_number, features, queues, configuration, **more):
        return {"device": {"type_number": type_number, "features": features, "queues": queues, "configuration": configuration} | more}
    return {
        "scsi": device(8, {"HOTPLUG", "CHANGE"}, lambda sizes: len(sizes) >= 3, fields(
            "seg_max", num_queues="1 request queues", sense_size="96 bytes", cdb_size="32 bytes", max_target="255", max_lun="16383")),
        "9p file system": device(9, {"MOUNT_TAG"}, [128], fields("tag_len", tag="shared")),
        "input": [device(18, USUAL, [64, 64], fields("select", "size"), input_name="QEMU Virtio Keyboard", input_serial="keys"),
                  device(18, USUAL, [64, 64], fields("select", "size"), input_name="QEMU Virtio Mouse")],
        "crypto": device(20, USUAL, [1024, 1024], fields("crypto_services", "max_size", status="1 (1: ready)", max_dataqueues="1",
                                                       max_cipher_key_len="64 bytes")),
        "iommu": device(23, {"INPUT_RANGE", "DOMAIN_RANGE", "MAP_UNMAP", "PROBE", "MMIO", "BYPASS_CONFIG"}, [256, 256], fields(
            "bypass", **{"input_range.start": "0x0", "probe_size": "512 bytes", "page_size_mask": "0xfffffffffffff000"})),
        "memory": device(24, {"ACPI_PXM"}, [128], fields("addr", region_size=f"{256 << 20} bytes", requested_size=f"{64 << 20} bytes",
                                                       plugged_size="0 bytes")),
        "pmem": device(27, {"VERSION_1"}, [128], fields("start", size=f"{64 << 20} bytes")),
    }


def cells(m):
    """All of them; `m` is the matrix, for its types and tables."""
    def cell(name, machine, variant, check, **more):
        return m.Cell(f"{name}", machine, variant, image=IMAGE, tell={"json": 1} | more.pop("tell", {}), report=check, **more)

    # By pairs of machine, interface, ring and the form of the same link; all of them with --long.
    pairs = {("pc", "transitional", "split", ""), ("q35", "modern-only", "split", "bzimage"), ("pc", "modern-only", "packed", ""),
             ("q35", "transitional", "packed", "bzimage"), ("pc", "legacy-only", "split", "bzimage"), ("q35", "legacy-only", "split", "")}
    for machine, variant, ring, form in itertools.product(("pc", "q35"), ("modern-only", "transitional", "legacy-only"), ("split", "packed"),
                                                          ("", "bzimage")):
        if (variant, ring) == ("legacy-only", "packed"):
            continue
        interface = variant.removesuffix("-only")
        usual = {"modern": modern_function({}, "modern"), "transitional": modern_function({})}.get(interface, {
            "verdict": "usable", "capabilities": [], "bars": lambda found: found[0]["kind"] == "ports"})
        options = "packed=on" if ring == "packed" else ""
        accepted = {"EVENT_IDX", *(["RING_PACKED"] if options else []), *(["VERSION_1"] if interface != "legacy" else [])}
        disk, rng = block(interface, m), entropy(interface)
        for one in (disk, rng):
            one["check"] |= {"accepted": accepted}
        yield cell(f"{machine} {variant} lsvirtio: block and entropy, from the ids to the policy" + (", packed rings" if options else "")
                   + (", as a bzImage" if form else ""), machine, variant,
                   expect(x86("Linux" if form else "PVH"), {"block": usual | disk, "entropy": usual | rng}), disks=[m.Disk(options=options)],
                   rngs=[m.Rng(options)], form=form, long=(machine, variant, ring, form) not in pairs,
                   only=("7.2", "10", "11") if (machine, variant, ring, form) == ("pc", "modern-only", "packed", "") else ("7.2", "10"))
    for protocol, number in (("multiboot1", 1), ("multiboot2", 2)):
        yield cell(f"q35 lsvirtio, from GRUB by {protocol}: entropy", "q35", "transitional", expect(
            x86(f"Multiboot {number}"), {"entropy": modern_function({}) | entropy("transitional")}), rngs=[m.Rng()], form=f"grub {protocol}",
            long=True)
    for version in (1, 2):
        interface = f"mmio version {version}"
        yield cell(f"microvm {interface} lsvirtio: block and entropy in slots", "microvm,isa-serial=on", interface,
                   expect(x86(pci=re.compile("^none: ")), {"block": block(interface, m), "entropy": entropy(interface)}, ("slot",)),
                   disks=[m.Disk()], rngs=[m.Rng()], long=version == 1)
        yield cell(f"virt {interface} lsvirtio: block in a slot, entropy on PCI", "virt", interface,
                   expect({"processor": "aarch64", "device_tree": True},
                          {"block": block(interface, m), "entropy": modern_function({}) | entropy("transitional")}),
                   disks=[m.Disk()], extra=["-device", "virtio-rng-pci"], processor="aarch64", long=version == 1)
    yield cell("i386 pc lsvirtio: block behind the configuration window, its BARs above 4 GiB", "pc", "modern-only",
               expect({"processor": "i386"}, {"block": block("modern", m, bars=lambda found: max(one["address"] for one in found) >> 32)}),
               disks=[m.Disk()], extra=["-cpu", "pentium2", *m.register_cells.BIG_NEIGHBOUR], processor="i386")

    # Every driver.
    for machine in ("pc", "q35"):
        yield cell(f"{machine} lsvirtio: a short use of balloon, console, network", machine, "transitional", expect(x86(), {
            "balloon": {"check": {"verdict": "bound", "outcome": "ok", "target_pages": 0}},
            "console": {"check": {"verdict": "bound", "tried": "write a line", "outcome": "ok"},
                        "device": {"features": {"CONSOLE_MULTIPORT"}, "queues": lambda sizes: len(sizes) == 64,
                                   "configuration": fields(max_nr_ports="31 ports")}},
            "network": {"check": {"verdict": "bound", "mac": "52:54:00:12:34:56", "link": "up", "outcome": "answered by 52:55:0a:00:02:02"},
                        "device": {"features": {"NET_MAC", "NET_STATUS", "NET_MRG_RXBUF"}, "queues": [256, 256, 64],
                                   "configuration": fields("status", mac="52:54:00:12:34:56")}}}),
                   extra=["-device", "virtio-balloon-pci", "-device", "virtio-serial-pci", "-chardev", "null,id=end",
                          "-device", "virtconsole,chardev=end", "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="],
                   long=machine == "q35")
    yield cell("q35 lsvirtio: live=0 starts no driver", "q35", "transitional", expect({}, {
        "entropy": {"verdict": "usable", "device": {"interface": "transitional"}}}, check=lambda objects: (
            f"{one['address']} has a check" for one in objects if "check" in one)), rngs=[m.Rng()], tell={"live": 0}, long=True)

    # Every other type.
    yield cell("q35 lsvirtio: devices of every other type, with their features and configuration", "q35", "modern-only",
               expect(x86(), others()), extra=OTHERS)
    yield cell("q35 lsvirtio: a gpu", "q35", "modern-only", expect(x86(), {"gpu": {"device": {
        "features": {"EDID"}, "queues": [64, 16], "configuration": fields("events_read", num_scanouts="3 displays")}}}),
               extra=GPU, only=("7.2",), long=True)

    # Detected, and not bound: the reason is in the report.
    def refused(name, machine, variant, check, kind="block", **more):
        return cell(f"{machine} lsvirtio: detected, not bound: {name}", machine, variant,
                    expect(x86(), {kind: {"verdict": "usable", "device": {"features": USUAL}, "check": check}}), **more)

    yield refused("the device dictates a queue that is larger than the ring", "pc", "legacy-only", {
        "verdict": "the driver's ring has too few entries", "queue": 0, "wanted": 1024, "available": 64,
        "advice": re.compile("ring_options::ring_entries")}, disks=[m.Disk(options="queue-size=1024")])
    yield cell("q35 lsvirtio: detected, not bound: ACCESS_PLATFORM is wanted, and a platform refuses it", "q35", "modern-only", expect(x86(), {
        "entropy": {"device": {"features": {"ACCESS_PLATFORM"}, "without_access_platform": {
            "verdict": "the device needs a feature that the platform or the driver refuses", "feature": "ACCESS_PLATFORM",
            "advice": re.compile("access_platform")}}, "check": {"verdict": "bound", "accepted": {"ACCESS_PLATFORM"}, "outcome": "ok"}}}),
               rngs=[m.Rng("iommu_platform=on")])
    yield cell("microvm lsvirtio: detected, not bound: nothing has given its BARs addresses", "microvm,pcie=on,isa-serial=on", "modern-only",
               expect({"pci_configuration": "memory at 0xe0000000, as the command line says"}, {}, check=lambda objects: itertools.chain(differs(
                   next((one for one in objects if one.get("ids") == "1af4:1044"), {}),
                   {"verdict": "a BAR has no address assigned", "structure": "common configuration", "bar": 4, "bar_bytes": 0x4000,
                    "advice": re.compile("pci::assign"), "bars": lambda found: {one["address"] for one in found} == {0}}, "entropy"),
                   differs(objects[-1], {"virtio_devices": 1, "usable": 0, "bound": 0}, "end"))),
               rngs=[m.Rng()], tell={"ecam": "0xe0000000"})
    yield cell("pc lsvirtio: detected, not bound: the ids are no virtio device's", "pc", "modern-only", expect(x86(), {}, check=lambda objects: differs(
        next((one for one in objects if one.get("ids") == "1af4:1110"), {}),
        {"verdict": "virtio vendor, but the device id is outside 1000-107f", "advice": re.compile("ivshmem"),
         "bars": lambda found: any(one["bytes"] == 1 << 20 for one in found)}, "ivshmem")),
               extra=["-object", "memory-backend-ram,id=shared,size=1M,share=on", "-device", "ivshmem-plain,memdev=shared"])
