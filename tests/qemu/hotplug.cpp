// SPDX-License-Identifier: MIT
// Devices that are plugged and unplugged while the guest runs: it waits for one, assigns addresses, reads it, releases
// it on request, ejects it as the machine requires, and repeats that once.
#include <virtio/blk.hpp>

#include "guest.hpp"

namespace {

using namespace cell;
namespace pci = virtio::pci;

using disk_t = virtio::blk::device<board, pci::transport<board>,
                                   virtio::split_queue<16, virtio::ring_options{.ring_entries = 256}>>;
constinit disk_t disk{};
constinit virtio::dma_storage<disk_t::dma_bytes> storage{};
u8 data[16 * 512];

/// QEMU's ACPI machines: the registers that their tables' methods use. A bus is selected first.
struct acpi_slots {
  virtio::io_space at;

  static acpi_slots find() { return {virtio::io_space::ports(static_cast<u16>(number("acpi")), 0x14)}; }
  void power() const {}
  bool eject_if_asked() const {
    for (u32 bus = 0; bus < 8; ++bus) {
      at.write<u32>(0x10, bus);
      const u32 asked = at.read<u32>(0x04);
      if (asked == 0) continue;
      let_go();
      at.write<u32>(0x10, bus);
      at.write<u32>(0x08, asked);
      return true;
    }
    return false;
  }

  static void let_go() {
    CHECK_OK(disk.hand_off());
    boot::print("let go\n");
  }
};

/// A PCIe root port's own slot.
struct port_slot {
  pci::slot<board> at;

  static port_slot find() {
    port_slot out{};
    board{}.each_function([&](pci::address one) { return !bool{out.at.open(board{}, one)}; });
    CHECK(!out.at.occupied());
    return out;
  }
  void power() const {
    if (!at.occupied()) return;
    (void)at.attention();  // the button announced the device; the next press requests its removal
    at.power_on();
  }
  bool eject_if_asked() const {
    if (!at.attention()) return false;
    acpi_slots::let_go();
    at.power_off();
    return true;
  }
};

template <class Slots>
void come_and_go() {
  const Slots slots = Slots::find();
  const pci::windows given{.io = {0xc000, 0x3000}, .memory = {0xc0000000, 0x3e000000}, .high = {}};
  for (u32 round = 0; round < 2; ++round) {
    boot::print("round ", round, ": waiting\n");
    auto where = pci::find(board{}, device_type::block);
    for (; !where; where = pci::find(board{}, device_type::block)) {
      CHECK_ERROR(where, errc::not_found);
      slots.power();
    }
    const auto seen = pci::look(board{}, where->id);
    boot::print("found: ", virtio::describe(seen.seen.why), "\n");
    const auto done = pci::assign(board{}, given);
    CHECK(done.placed != 0 && done.unplaced == 0);
    CHECK_OK(disk.start(board{}, *where, storage));
    CHECK_OK(disk.read(3, data));
    check_pattern(data, 3, number("seed"));
    boot::print("in use\n");
    while (!slots.eject_if_asked()) boot::pause();
    while (pci::find(board{}, device_type::block)) boot::pause();
    boot::print("gone\n");
  }
}

}  // namespace

extern "C" int guest_main(const char* command_line) {
  boot::print("cell: ", command_line, "\n");
  if (boot::option("acpi")) come_and_go<acpi_slots>();
  else come_and_go<port_slot>();
  return 0;
}
