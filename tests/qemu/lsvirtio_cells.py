# SPDX-License-Identifier: MIT
"""Cells of the QEMU matrix that boot lsvirtio and read its JSON: the same image on every machine."""
import functools
import itertools
import re

import image_place
import report

IMAGE = "examples/lsvirtio"
STRUCTURES = {"common configuration": 1, "notification": 2, "ISR": 3, "device configuration": 4,
              "configuration window": 5}

CAP_LENS = {name: {2: 20, 5: 20}.get(number, 16) for name, number in STRUCTURES.items()}  # 4.1.4


def complaints(check, console):
    """Yields the errors of a report: it must be complete, and `check` then inspects its objects."""
    try:
        objects = report.objects(console)
    except ValueError as failure:
        yield f"the report is no JSON: {failure}"
        return
    end = {"lsvirtio": "end", "status": "complete"}
    if not objects or objects[0]["lsvirtio"] != "machine" or objects[-1] != objects[-1] | end:
        yield f"the report is not whole: {[one['lsvirtio'] for one in objects]}"
        return
    yield from check(objects)


def differs(found, wanted, where):
    """Yields the differences: a dict is compared key by key, a set must be contained in a list, a pattern must match, a
    function must return true."""
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


def fields(*names, differing=frozenset(), **values):
    """A check of a configuration: it has these fields, some with these values, and all but those in `differing` read
    the same by each width; None: only those in `names` must."""
    def check(found):
        got = {one["name"]: one for one in found}
        odd = {one["name"] for one in found
               if not one["agree"] or not one["by_byte"] == one["by_field"] == one["by_dword"]}
        return ({*names, *values} <= got.keys()
                and (odd == differing if differing is not None else odd.isdisjoint(names))
                and all(got[name]["value"] == value for name, value in values.items()))
    return check


def expect(machine, devices, places=("function", "slot"), check=lambda objects: ()):
    """A check: `machine` of the machine, and for each type of device the expected contents of its objects, in order."""
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


def function(interface):
    """A function as QEMU has it: an interrupt, and all five structures in their BAR, unless it is a legacy device."""
    def structures(found):
        there = {one["structure"]: one for one in found}
        return ({name: one["type"] for name, one in there.items()} == STRUCTURES
                and {name: one["cap_len"] for name, one in there.items()} == CAP_LENS
                and there["notification"]["multiplier"] == 4 and there["common configuration"]["length"] >= 56
                and len({one["offset"] for one in found if one["type"] < 5}) == 4)

    def bars(found):
        there = {one["bar"]: one for one in found}
        return there[4]["bytes"] == 0x4000 and there[4]["address"] != 0 and there[4]["address"] % 0x4000 == 0

    usual = {"verdict": "usable", "ids": re.compile("^1af4:10[0-7][0-9a-f]$"), "interrupt": {"pin": "A"}}
    if interface == "legacy":
        return usual | {"capabilities": [], "bars": lambda found: found[0]["kind"] == "ports"}
    return usual | {"capabilities": structures, "bars": bars}


USUAL = {"INDIRECT_DESC", "EVENT_IDX"}


def block(interface, m, **more):
    # A queue's maximum, or its current size.
    sizes = [1024] if interface.startswith("mmio") else [256]
    config = fields("capacity", "seg_max", "blk_size", capacity=f"{m.SECTORS} sectors of 512 bytes",
                    blk_size="512 bytes", differing={"write_zeroes_may_unmap"})  # QEMU's ends in it
    return {"device": {"type_number": 2, "interface": interface, "features": {"BLK_SEG_MAX", "BLK_FLUSH", *USUAL},
                       "queues": sizes, "configuration": config, "policy": "by_field"},
            "check": {"verdict": "bound", "tried": "read sector 0", "outcome": "ok",
                      "first_bytes": m.pattern(m.Disk.seed, 0, 1)[:16].hex()}} | more


def entropy(interface, **more):
    return {"device": {"type_number": 4, "interface": interface, "features": USUAL, "configuration": []},
            "check": {"verdict": "bound", "accepted": {"EVENT_IDX"}, "outcome": "ok",
                      "bytes": lambda drawn: len(drawn) == 64 and len(set(drawn)) > 4}} | more


def x86(entry="PVH", pci="ports CF8 and CFC"):
    def memory(found):
        return sum(one["bytes"] for one in found if one["kind"] == "usable") > 100 << 20
    return {"processor": "x86-64", "entry": entry, "pci_configuration": pci, "rsdp": lambda at: at > 0x1000,
            "command_line": re.compile("json=1"), "memory": memory}


def cell(m, name, machine, variant, check, tell=(), **more):
    return m.Cell(name, machine, variant, image=IMAGE, tell={"json": 1} | dict(tell), report=check, **more)


# ---- machines, interfaces, entries ----

# Machine, interface, ring and form of the same link: every pair of choices is in one of them.
PAIRS = {("pc", "transitional", "split", ""), ("q35", "modern-only", "split", "bzimage"),
         ("pc", "modern-only", "packed", ""), ("q35", "transitional", "packed", "bzimage"),
         ("pc", "legacy-only", "split", "bzimage"), ("q35", "legacy-only", "split", "")}
ON_THE_NEWEST = ("pc", "modern-only", "packed", "")


def pc_cells(m):
    """The pairs, and with --long all of them; other entries."""
    for choice in itertools.product(("pc", "q35"), ("modern-only", "transitional", "legacy-only"), ("split", "packed"),
                                    ("", "bzimage")):
        machine, variant, ring, form = choice
        if (variant, ring) == ("legacy-only", "packed"):
            continue
        interface = variant.removesuffix("-only")
        options = "packed=on" if ring == "packed" else ""
        accepted = {"EVENT_IDX", *(["RING_PACKED"] if options else []),
                    *(["VERSION_1"] if interface != "legacy" else [])}
        devices = {"block": function(interface) | block(interface, m),
                   "entropy": function(interface) | entropy(interface)}
        for one in devices.values():
            one["check"] |= {"accepted": accepted}
        name = (f"{machine} {variant} lsvirtio: block and entropy, from the ids to the policy"
                + (", packed rings" if options else "") + (", as a bzImage" if form else ""))
        yield cell(m, name, machine, variant, expect(x86("Linux" if form else "PVH"), devices),
                   disks=[m.Disk(options=options)], rngs=[m.Rng(options)], form=form, long=choice not in PAIRS,
                   only=("7.2", "10", "11") if choice == ON_THE_NEWEST else ("7.2", "10"))
    for protocol, number in (("multiboot1", 1), ("multiboot2", 2)):
        yield cell(m, f"q35 lsvirtio, from GRUB by {protocol}: entropy", "q35", "transitional",
                   expect(x86(f"Multiboot {number}"), {"entropy": function("transitional") | entropy("transitional")}),
                   rngs=[m.Rng()], form=f"grub {protocol}", long=True)


def other_machine_cells(m):
    """Slots, 64-bit Arm, 32 bits."""
    for version in (1, 2):
        interface = f"mmio version {version}"
        yield cell(m, f"microvm {interface} lsvirtio: block and entropy in slots", "microvm,isa-serial=on", interface,
                   expect(x86(pci=re.compile("^none: ")),
                          {"block": block(interface, m), "entropy": entropy(interface)}, ("slot",)),
                   disks=[m.Disk()], rngs=[m.Rng()], long=version == 1)
        for processor, what, mode, more in (("aarch64", "", {}, []), ("riscv64", "", {"mode": "machine"}, []),
                                            ("riscv64", ", behind OpenSBI", {"mode": "supervisor"}, m.virt_cells.SBI)):
            name = f"{m.named('virt', processor)} {interface} lsvirtio: block in a slot, entropy on PCI{what}"
            yield cell(m, name, "virt", interface,
                       expect({"processor": processor, "device_tree": True} | mode,
                              {"block": block(interface, m),
                               "entropy": function("transitional") | entropy("transitional")}),
                       disks=[m.Disk()], extra=["-device", "virtio-rng-pci", *more], processor=processor,
                       long=version == 1 or name == "riscv64 virt mmio version 2 lsvirtio: block in a slot, entropy on PCI")

    def above_4_gib(found):
        return max(one["address"] for one in found) >= 1 << 32
    yield cell(m, "i386 pc lsvirtio: block behind the configuration window, its BARs above 4 GiB", "pc", "modern-only",
               expect({"processor": "i386"}, {"block": block("modern", m, bars=above_4_gib)}),
               disks=[m.Disk()], extra=["-cpu", "pentium2", *m.register_cells.BIG_NEIGHBOUR], processor="i386")


# ---- devices ----

DRIVEN = ["-device", "virtio-scsi-pci", "-blockdev", "driver=null-co,node-name=unit,size=8388608,read-zeroes=on",
          "-device", "scsi-hd,drive=unit,scsi-id=3,lun=1", "-device", "virtio-balloon-pci",
          "-device", "virtio-serial-pci", "-chardev", "null,id=end", "-device", "virtconsole,chardev=end",
          "-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]


def driven():
    return {
        "scsi": {"check": {"verdict": "bound", "units": 1, "target": 3, "lun": 1, "sectors": 16384, "outcome": "ok",
                           "first_bytes": "00" * 16},
                 "device": {"type_number": 8, "features": {"SCSI_HOTPLUG", "SCSI_CHANGE"},
                            "queues": lambda sizes: len(sizes) >= 3, "policy": "by_field", "configuration": fields(
                                "seg_max", num_queues="1 request queues", sense_size="96 bytes", cdb_size="32 bytes",
                                max_target="255", max_lun="16383")}},
        "balloon": {"check": {"verdict": "bound", "outcome": "ok", "target_pages": 0}},
        "console": {"check": {"verdict": "bound", "tried": "write a line", "outcome": "ok"},
                    "device": {"features": {"CONSOLE_MULTIPORT"}, "queues": lambda sizes: len(sizes) == 64,
                               "configuration": fields(max_nr_ports="31 ports")}},
        "network": {"check": {"verdict": "bound", "mac": "52:54:00:12:34:56", "link": "up",
                              "outcome": "answered by 52:55:0a:00:02:02"},
                    "device": {"features": {"NET_MAC", "NET_STATUS", "NET_MRG_RXBUF"}, "queues": [256, 256, 64],
                               "configuration": fields("status", mac="52:54:00:12:34:56")}}}


# Every other device type that QEMU offers without a helper program.
OTHERS = ["-m", "128M,maxmem=2G,slots=4",
          "-fsdev", "local,id=files,path=/,security_model=none,readonly=on",
          "-device", "virtio-9p-pci,fsdev=files,mount_tag=shared",
          "-device", "virtio-keyboard-pci,serial=keys", "-device", "virtio-mouse-pci",
          "-object", "cryptodev-backend-builtin,id=crypto", "-device", "virtio-crypto-pci,cryptodev=crypto",
          "-device", "virtio-iommu-pci",
          "-object", "memory-backend-ram,id=more,size=256M", "-device", "virtio-mem-pci,memdev=more,requested-size=64M",
          "-object", "memory-backend-ram,id=kept,size=64M", "-device", "virtio-pmem-pci,memdev=kept"]
GPU = ["-device", "virtio-gpu-pci,max_outputs=3"]  # QEMU 10 has it in a package that is not installed


def others():
    """The decoded contents of each."""
    def device(type_number, features, queues, configuration, **more):
        return {"device": {"type_number": type_number, "features": features, "queues": queues,
                           "configuration": configuration} | more}
    return {
        "9p file system": device(9, {"9P_MOUNT_TAG"}, [128], fields("tag_len", tag="shared")),
        "input": [device(18, USUAL, [64, 64], fields("select", "size"), input_name="QEMU Virtio Keyboard",
                         input_serial="keys", input_events={"KEY", "REP", "LED"},
                         input_ids={"bustype": 6, "vendor": 0x627, "product": 1}),
                  device(18, USUAL, [64, 64], fields("select", "size"), input_name="QEMU Virtio Mouse")],
        "crypto": device(20, USUAL, [1024, 1024], fields(
            "crypto_services", "max_size", status="1 (1: ready)", max_dataqueues="1", max_cipher_key_len="64 bytes")),
        "iommu": device(23, {"IOMMU_INPUT_RANGE", "IOMMU_DOMAIN_RANGE", "IOMMU_MAP_UNMAP", "IOMMU_PROBE", "IOMMU_MMIO",
                             "IOMMU_BYPASS_CONFIG"}, [256, 256], fields("bypass", **{
                                 "input_range.start": "0x0", "probe_size": "512 bytes",
                                 "page_size_mask": "0xfffffffffffff000"})),
        "memory": device(24, {"MEM_ACPI_PXM"}, [128], fields(
            "addr", region_size=f"{256 << 20} bytes", requested_size=f"{64 << 20} bytes", plugged_size="0 bytes")),
        "pmem": device(27, {"VERSION_1"}, [128], fields("start", size=f"{64 << 20} bytes")),
    }


def device_cells(m):
    for machine in ("pc", "q35"):
        yield cell(m, f"{machine} lsvirtio: a short use of scsi, balloon, console, network", machine, "transitional",
                   expect(x86(), driven()), extra=DRIVEN, long=machine == "q35")
    yield cell(m, "q35 lsvirtio: devices of every other type, with their features and configuration", "q35",
               "modern-only", expect(x86(), others()), extra=OTHERS)
    gpu = {"features": {"GPU_EDID"}, "queues": [64, 16],
           "configuration": fields("events_read", num_scanouts="3 displays")}
    yield cell(m, "q35 lsvirtio: a gpu", "q35", "modern-only", expect(x86(), {"gpu": {"device": gpu}}), extra=GPU,
               only=("7.2",), long=True)

    def unchecked(objects):
        return (f"{one['address']} has a check" for one in objects if "check" in one)
    yield cell(m, "q35 lsvirtio: live=0 starts no driver", "q35", "transitional",
               expect({}, {"entropy": {"verdict": "usable", "device": {"interface": "transitional"}}}, check=unchecked),
               rngs=[m.Rng()], tell={"live": 0}, long=True)


# ---- detected, and not bound ----

def refusal_cells(m):
    """The reason is in the report. Host tests read the other reasons: docs/verdicts.md names them."""
    def refused(machine, why, variant, check, processor="x86_64", **more):
        name = f"{m.named(machine.partition(',')[0], processor)} lsvirtio: detected, not bound: {why}"
        return cell(m, name, machine, variant, check, processor=processor, **more)

    def of_ids(ids, wanted, end):
        """A check of the one function with these ids, and of the counts at the end."""
        def check(objects):
            yield from differs(next((one for one in objects if one.get("ids") == ids), {}), wanted, ids)
            yield from differs(objects[-1], end, "end")
        return check

    ring = {"verdict": "the driver's ring has too few entries", "queue": 0, "wanted": 1024, "available": 64,
            "advice": re.compile("ring_options::ring_entries")}
    yield refused("pc", "the device dictates a queue that is larger than the ring", "legacy-only",
                  expect(x86(), {"block": {"verdict": "usable", "device": {"queues": [1024]}, "check": ring}}),
                  disks=[m.Disk(options="queue-size=1024")])
    access = {"verdict": "the device needs a feature that the platform or the driver rejects",
              "feature": "ACCESS_PLATFORM", "advice": re.compile("access_platform")}
    yield refused("q35", "ACCESS_PLATFORM is required, and a platform rejects it", "modern-only",
                  expect(x86(), {"entropy": {
                      "device": {"features": {"ACCESS_PLATFORM"}, "without_access_platform": access},
                      "check": {"verdict": "bound", "accepted": {"ACCESS_PLATFORM"}, "outcome": "ok"}}}),
                  rngs=[m.Rng("iommu_platform=on")])
    def rejected(objects):
        yield from differs([one for one in objects if one["lsvirtio"] == "rejected"],
                           [{"lsvirtio": "rejected", "address": "0xd0000000", "what": "slot", "word": "4K@0xd0000000",
                             "reason": "no : and interrupt behind the address"}], "rejected")
        yield from differs(objects[-1], {"rejected": 1, "slots": 0}, "end")
    yield refused("pc", "a word of the command line that names no slot", "modern-only",
                  expect(x86(), {}, check=rejected), tell={"virtio_mmio.device": "4K@0xd0000000"})
    def unreached(beyond, objects):
        yield from differs({(one["what"], one["reason"]) for one in objects if one["lsvirtio"] == "rejected"
                            and one["address"] == hex(beyond)},
                           {("slot", "the processor does not reach it"),
                            ("PCI host", "the processor does not reach its configuration space")}.__eq__, "rejected")
    for processor, facts in m.virt_cells.FACTS.items():
        far, high = [f"/{name}@{facts.beyond:x}" for name in ("virtio_mmio", "pcie")], f"{facts.beyond >> 32:x}"
        yield refused("virt", "a slot and a PCI host that the processor does not reach", "modern-only",
                      expect({"processor": processor}, {"entropy": {"verdict": "usable"}}, check=functools.partial(unreached, facts.beyond)),
                      rngs=[m.Rng()], processor=processor, long=processor == "riscv64", place=image_place.Place(edits=(
                          ("-p", "-t", "s", "{}", far[0], "compatible", "virtio,mmio"),
                          ("-t", "x", "{}", far[0], "reg", high, "0", "0", "200"),
                          ("-p", "-t", "s", "{}", far[1], "compatible", "pci-host-ecam-generic"),
                          ("-t", "x", "{}", far[1], "linux,pci-domain", "7"),
                          ("-t", "x", "{}", far[1], "reg", high, "0", "0", "100000"))))
    unassigned = {"verdict": "a BAR has no address assigned", "structure": "common configuration", "bar": 4,
                  "bar_bytes": 0x4000, "advice": re.compile("pci::assign"),
                  "bars": lambda found: {one["address"] for one in found} == {0}}
    yield refused("microvm,pcie=on,isa-serial=on", "its BARs have no addresses", "modern-only",
                  expect({"pci_configuration": "memory at 0xe0000000, as the device tree says"}, {},
                         check=of_ids("1af4:1044", unassigned, {"virtio_devices": 1, "usable": 0, "bound": 0})),
                  rngs=[m.Rng()])
    yield cell(m, "microvm lsvirtio: configuration space at the address in ecam=", "microvm,pcie=on,isa-serial=on",
               "modern-only",
               expect({"pci_configuration": "memory at 0xe0000000, as the command line says"}, {},
                      check=of_ids("1af4:1044", unassigned, {"virtio_devices": 1, "usable": 0, "bound": 0})),
               rngs=[m.Rng()], tell={"ecam": "0xe0000000"}, long=True)
    foreign = {"verdict": "virtio vendor, but the device id is outside 1000-107f", "advice": re.compile("ivshmem"),
               "bars": lambda found: any(one["bytes"] == 1 << 20 for one in found)}
    yield refused("pc", "the ids are not a virtio device's", "modern-only",
                  expect(x86(), {}, check=of_ids("1af4:1110", foreign, {"virtio_devices": 0})), only=("10",),
                  extra=["-object", "memory-backend-ram,id=shared,size=1M,share=on",
                         "-device", "ivshmem-plain,memdev=shared"])


def cells(m):
    """Returns all of them; `m` is matrix.py's module, for its types and tables."""
    yield from pc_cells(m)
    yield from other_machine_cells(m)
    yield from device_cells(m)
    yield from refusal_cells(m)
