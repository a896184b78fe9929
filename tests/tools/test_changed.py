#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/test --changed: a change of a layer concerns that layer's tests, and a change of one driver not those of
others."""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests/qemu")]
import affected  # noqa: E402
import together  # noqa: E402

# A file of each layer: a test source that depends on it, one that does not, and the drivers that --changed assigns to
# it.
LAYERS = {
    "base/untrusted.hpp": ("unit/base.cpp", "", set()),
    "config.hpp": ("unit/session.cpp", "", set()),
    "platform/dma.hpp": ("contract/virtqueue.cpp", "", set()),
    "queue/split.hpp": ("hostile/virtqueue.cpp", "unit/base.cpp", set()),
    "bus/pci/capabilities.hpp": ("unit/pci.cpp", "contract/virtqueue.cpp", set()),
    "bus/mmio/slots.hpp": ("unit/mmio.cpp", "contract/virtqueue.cpp", set()),
    "transport/pci_modern.hpp": ("unit/pci.cpp", "contract/virtqueue.cpp", set()),
    "device/session.hpp": ("unit/session.cpp", "contract/virtqueue.cpp", set()),
    "rng/device.hpp": ("unit/rng.cpp", "unit/blk.cpp", {"rng"}),
    "blk/device.hpp": ("unit/blk.cpp", "unit/rng.cpp", {"blk"}),
    "vsock/credit.hpp": ("unit/vsock_credit.cpp", "unit/blk.cpp", {"vsock"}),
    "net/receiving.hpp": ("unit/net_receive.cpp", "unit/vsock_ethernet.cpp", {"net"}),
    "net/link.hpp": ("unit/vsock_ethernet.cpp", "unit/blk.cpp", {"net", "vsock"}),
    "testing/rng_model.hpp": ("unit/rng.cpp", "unit/blk.cpp", set()),
}
SUPPORT = ("tests/support",)
problems = []

for header, (concerned, other, drivers) in LAYERS.items():
    change = affected.Change(ROOT, files={f"include/virtio/{header}"})
    if not change.affects([f"tests/{concerned}"], SUPPORT):
        problems.append(f"{header} does not concern {concerned}")
    if other and change.affects([f"tests/{other}"], SUPPORT):
        problems.append(f"{header} concerns {other}")
    if drivers and affected.Change(ROOT, files={f"include/virtio/{header}", f"tests/{concerned}", "docs/testing.md"}).drivers != drivers:
        problems.append(f"{header} with its test is not about {drivers}")
    if change.drivers != drivers or change.everything:
        problems.append(f"{header} is about {change.drivers}, want {drivers}")

# A header's declarations may be defined in the source with the same name.
if not affected.Change(ROOT, files={"tests/support/disk.cpp"}).affects(["tests/unit/blk.cpp"], SUPPORT):
    problems.append("tests/support/disk.cpp does not concern tests/unit/blk.cpp")
for name in ("tools/test", "tests/unit/CMakeLists.txt", "tests/support/precompiled.hpp"):
    if not affected.Change(ROOT, files={name}).everything:
        problems.append(f"{name} does not concern everything")

# Test cases are distinguished by their names as Catch2 prints them, in any notation.
cases = affected.Change(ROOT, files={"tests/x"}).cases(["tests/unit/rng.cpp"])
if "rng: scattered memory is filled by several requests" not in cases or any("[rng]" in case for case in cases):
    problems.append(f"cases of unit/rng.cpp: {cases}")
program = affected.Program("p", {"a, b [SPLIT-01]", "of any ring"}, {"far"})
for arguments, wanted in ((["a\\, b \\[SPLIT-01\\]"], False), (["of any ring - packed<4>"], False), (["c"], True), ([], True)):
    if program.affects_case(arguments) != wanted:
        problems.append(f"affects_case({arguments}) is not {wanted}")
if not program.is_slow(["far - packed<4>"]) or program.is_slow(["near"]):
    problems.append("slow cases are not distinguished from others")

# A variation of a cell leaves the other cell selected: every driver on every transport and ring.
kinds = [(cell, set(words.split(","))) for parts in together.batches("10", "x86_64").values()
         for cell, words in together.kinds(cell for cells in parts for cell in cells)]
for driver in ("blk", "rng"):
    for variant in ("modern-only", "legacy-only", "mmio version 1", "mmio version 2"):
        if not any(driver in words and "variation" not in words and cell.variant == variant for cell, words in kinds):
            problems.append(f"no {driver} on {variant}")
    if not any(driver in words and "variation" not in words and "packed" in cell.name for cell, words in kinds):
        problems.append(f"no {driver} with a packed ring")

print("\n".join(problems) or f"{len(LAYERS)} layers, {len(cases)} cases, {len(kinds)} cells")
sys.exit(1 if problems else 0)
