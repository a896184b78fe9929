// SPDX-License-Identifier: MIT
// A board with two functions in C: the address of PCI's configuration space, and a clock. The firmware has numbered the
// buses, placed all BARs below 4 GiB, and mapped them at their bus addresses.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

extern "C" uintptr_t firmware_ecam(void);         // address of bus 0 in PCI's configuration space (ECAM)
extern "C" uint64_t firmware_milliseconds(void);  // a monotonic clock

namespace bus = virtio::pci;  // how drivers.cpp reaches its devices

struct board : virtio::identity_mapped<> {
  using function_id = virtio::pci::address;
  using bar_space = virtio::mmio_space;

  static virtio::pci::ecam space() { return {.base = firmware_ecam(), .buses = 256}; }
  virtio::u32 config_read32(function_id at, virtio::u16 offset) const { return space().config_read32(at, offset); }
  void config_write32(function_id at, virtio::u16 offset, virtio::u32 value) const {
    space().config_write32(at, offset, value);
  }
  void config_write16(function_id at, virtio::u16 offset, virtio::u16 value) const {
    space().config_write16(at, offset, value);
  }
  virtio::result<virtio::pci::bar_info> locate(function_id at, virtio::u8 index) const {
    return space().locate(at, index);
  }
  virtio::result<bar_space> bar(function_id at, virtio::u8 index) const { return space().bar(at, index); }
  template <class Visit>
  void each_function(Visit&& visit) const {
    virtio::pci::each_numbered_function(*this, 0, visit);
  }

  bool keep_waiting(virtio::waiting why, virtio::u64 attempt) const {
    static virtio::u64 began;
    if (attempt == 0) began = firmware_milliseconds();
    const bool for_a_peer = why == virtio::waiting::connect || why == virtio::waiting::shutdown;
    return firmware_milliseconds() - began < (for_a_peer ? 5'000u : 60'000u);
  }
};

static_assert(virtio::platform<board> && virtio::pci::host<board>);
