// SPDX-License-Identifier: MIT
// The other porting surface, whole: QEMU's microvm, where devices are in MMIO slots and there is no PCI.
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

  /// Twenty-four slots at most, depending on the machine's options; behind those that are not there nothing answers.
  static constexpr virtio::mmio::slots row{.base = 0xfeb00000, .stride = 0x200, .count = 24};
  slot_space slot(virtio::usize n) const { return row.slot(n); }
  virtio::usize slot_count() const { return row.slot_count(); }

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
