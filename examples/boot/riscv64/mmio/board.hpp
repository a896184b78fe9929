// SPDX-License-Identifier: MIT
// The porting surface, whole, for virtual machines on 64-bit RISC-V: devices are in the MMIO slots that the device tree lists.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::mmio;  // how programs that include this reach their devices

struct board : virtio::identity_mapped<>, boot::waits_by_clock, boot::reports_failures<board> {
  using slot_space = virtio::mmio_space;

  slot_space slot(virtio::usize n) const {
    return {static_cast<virtio::uptr>(boot::machine.slots[n].base), static_cast<virtio::usize>(boot::machine.slots[n].size)};
  }
  virtio::usize slot_count() const { return boot::machine.slot_count; }
};

static_assert(virtio::platform<board> && virtio::mmio::bus<board>);
