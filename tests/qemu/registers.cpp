// SPDX-License-Identifier: MIT
// The place of a device's registers: compared with the cell's expectation.
#include "guest.hpp"

namespace cell {
namespace {

using virtio::pci::address;

/// A host that records which BARs are read.
struct noting : bench {
  u32* asked = nullptr;
  virtio::result<bar_space> bar(address id, u8 index) const {
    *asked |= u32{1} << index;
    return bench::bar(id, index);
  }
};

/// `bars=` is a mask of the BARs of the disk's first usable structures; `multiplier=` is the distance of its doorbells.
void layout() {
  u32 asked = 0;
  noting host{machine(), &asked};
  virtio::pci::modern_layout<bench::bar_space> found;
  virtio::report why;
  CHECK_OK(virtio::pci::find_modern(host, find(device_type::block).id, found, why));
  boot::print("BARs ", boot::hex(asked), " multiplier ", found.notify_multiplier, " notification ",
              found.notify().size(), "\n");
  CHECK_EQUAL(asked, number("bars"));
  CHECK_EQUAL(found.notify_multiplier, number("multiplier"));
  CHECK_EQUAL(found.notify().size(), number("notify"));
}

/// Whether the disk shows a PCI Express capability, compared with `express=`.
void express() {
  const location where = find(device_type::block);
  bool there = false;
  virtio::pci::each_capability(where.host, where.id, [&](u16, u32 head) {
    there = there || (head & 0xff) == 0x10;
    return true;
  });
  CHECK_EQUAL(there, number("express"));
}

/// The registers of every disk and entropy device are above 4 GiB, where only 64-bit BARs can be.
void above() {
  u32 devices = 0;
  machine().each_function([&](address id) {
    const auto one = virtio::pci::at(machine(), id);
    if (one.seen.type != device_type::block && one.seen.type != device_type::entropy) return true;
    const auto bar = virtio::pci::probe_bar(machine(), id, 4);
    CHECK_OK(bar);
    boot::print("BAR 4 at ", boot::hex(bar->base), "\n");
    CHECK(bar->base >= u64{1} << 32);
    ++devices;
    return true;
  });
  CHECK(devices != 0);
}

}  // namespace

bool run_registers(boot::text word) {
  if (word == "layout") layout();
  else if (word == "express") express();
  else if (word == "above") above();
  else return false;
  return true;
}

}  // namespace cell
