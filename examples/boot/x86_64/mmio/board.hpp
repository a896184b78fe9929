// SPDX-License-Identifier: MIT
// The other porting surface, whole: QEMU's microvm, where devices are in MMIO slots and there is no PCI.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::mmio;  // how programs that include this reach their devices

struct board : virtio::identity_mapped<>, boot::waits_by_clock, boot::reports_failures<board> {
  using slot_space = virtio::mmio_space;

  /// Twenty-four slots at most, depending on the machine's options; behind those that are not there nothing answers.
  static constexpr virtio::mmio::slots row{.base = 0xfeb00000, .stride = 0x200, .count = 24};
  slot_space slot(virtio::usize n) const { return row.slot(n); }
  virtio::usize slot_count() const { return row.slot_count(); }
};

static_assert(virtio::platform<board> && virtio::mmio::bus<board>);
