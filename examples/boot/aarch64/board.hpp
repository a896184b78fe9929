// SPDX-License-Identifier: MIT
// The porting surface, whole, for QEMU's virt on 64-bit Arm: PCI where the device tree says it is. No firmware runs before us,
// so the board lets the library number the buses and place the BARs.
#pragma once

#include <virtio/bus/pci/assign.hpp>
#include <virtio/pci.hpp>
#include <virtio/platform/concepts.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // how programs that include this reach their devices

struct board {
  using barriers = virtio::smp_barriers;
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

  /// Device addresses are CPU addresses here.
  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way, virtio::segments& out) const {
    return out.push(virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)}, n, way);
  }

  bool keep_waiting(virtio::waiting why, virtio::u64 attempt) const { return boot::keep_waiting(why, attempt); }

  /// Says what failed and why; the guest's exit status. `why`: an error, with a driver's `why()` behind it if a start failed; or the
  /// result of a search, and all virtio devices are listed.
  template <class... Why>
  static int fail(const char* what, const Why&... why) {
    return boot::fail(what, [](auto visit) { bus::for_each(board{}, visit); }, why...);
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
