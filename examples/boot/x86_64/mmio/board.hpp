// SPDX-License-Identifier: MIT
// The other whole porting surface: a PC without PCI, with devices in MMIO slots that the loader names.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "slots.hpp"
#include "waits.hpp"

namespace bus = virtio::mmio;  // the bus of programs that include this

struct board : virtio::identity_mapped<>, boot::waits_by_clock, boot::reports_failures<board> {
  using slot_space = virtio::mmio_space;

  slot_space slot(virtio::usize n) const {
    const boot::mmio_slot& one = boot::mmio_slots().slots[n];
    return {static_cast<virtio::uptr>(one.base), static_cast<virtio::usize>(one.size)};
  }
  virtio::usize slot_count() const { return boot::mmio_slots().count; }
};

static_assert(virtio::platform<board> && virtio::mmio::bus<board>);

/// Called before guest_main, which may change the command line.
extern "C" [[gnu::used]] inline void boot_prepare_board() {
  if (boot::mmio_slots().count == 0)
    boot::print("no MMIO slots: no virtio_mmio.device= on the command line, and none in a device tree\n");
}
