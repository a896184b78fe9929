// SPDX-License-Identifier: MIT
// The porting surface, whole, for QEMU's virt on 64-bit Arm: devices are in the MMIO slots that the device tree lists.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/platform/concepts.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::mmio;  // how programs that include this reach their devices

struct board {
  using barriers = virtio::smp_barriers;
  using slot_space = virtio::mmio_space;

  slot_space slot(virtio::usize n) const {
    return {static_cast<virtio::uptr>(boot::machine.slots[n].base), static_cast<virtio::usize>(boot::machine.slots[n].size)};
  }
  virtio::usize slot_count() const { return boot::machine.slot_count; }

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

static_assert(virtio::platform<board> && virtio::mmio::bus<board>);
