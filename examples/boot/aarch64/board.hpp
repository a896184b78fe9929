// SPDX-License-Identifier: MIT
// The porting surface, whole, for QEMU's virt on 64-bit Arm: PCI where the device tree says it is. No firmware runs before us,
// so the board lets the library number the buses and place the BARs.
#pragma once

#include <virtio/bus/pci/assign.hpp>
#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // how programs that include this reach their devices

struct board : virtio::identity_mapped<>, boot::waits_by_clock, boot::reports_failures<board> {
  using function_id = virtio::pci::address;
  using bar_space = virtio::mmio_space;

  /// Asked each time, so that a board is nothing but its type.
  static virtio::pci::ecam host() {
    const boot::machine_description& m = boot::machine;
    return {.base = static_cast<virtio::uptr>(m.ecam.base), .buses = static_cast<virtio::usize>(m.ecam.size >> 20),
            .io_base = static_cast<virtio::uptr>(m.pci_ports.base),
            .bars = {.floor = m.pci_memory.base, .reach = m.pci_memory.base + m.pci_memory.size}};
  }
  virtio::u32 config_read32(function_id id, virtio::u16 offset) const { return host().config_read32(id, offset); }
  void config_write32(function_id id, virtio::u16 offset, virtio::u32 value) const { host().config_write32(id, offset, value); }
  void config_write16(function_id id, virtio::u16 offset, virtio::u16 value) const { host().config_write16(id, offset, value); }
  virtio::result<virtio::pci::bar_info> locate(function_id id, virtio::u8 index) const { return host().locate(id, index); }
  virtio::result<bar_space> bar(function_id id, virtio::u8 index) const { return host().bar(id, index); }
  template <class Visit>
  void each_function(Visit&& visit) const {
    if (boot::machine.ecam.size != 0) host().each_function(visit);
  }
};

static_assert(virtio::platform<board> && virtio::pci::host<board>);

/// Called before guest_main. The windows are the host bridge's; the start code does not map the one for high addresses.
extern "C" [[gnu::used]] inline void boot_prepare_board() {
  const boot::machine_description& m = boot::machine;
  if (m.ecam.size == 0) return;
  (void)virtio::pci::assign(board::host(), {.io = {0x1000, m.pci_ports.size - 0x1000},  // below are those of old
                                            .memory = {m.pci_memory.base, m.pci_memory.size}});
}
