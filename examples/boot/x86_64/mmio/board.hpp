// SPDX-License-Identifier: MIT
// The other porting surface, whole: QEMU's microvm, where devices are in MMIO slots and there is no PCI.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/platform/concepts.hpp>

#include "runtime.hpp"

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

  /// How long each kind of wait may last, in milliseconds. Nobody may ever answer who is connected to; a disk may be slow.
  static constexpr virtio::u64 patience(virtio::waiting why) {
    switch (why) {
      case virtio::waiting::reset: return 60'000;
      case virtio::waiting::request: return 120'000;
      case virtio::waiting::connect: return 5'000;
      case virtio::waiting::shutdown: return 2'000;
    }
    return 0;
  }
  bool keep_waiting(virtio::waiting why, virtio::u64 attempt) const {
    static virtio::u64 began;  // one program, one wait at a time
    if (attempt == 0) began = boot::timestamp();
    boot::pause();
    return boot::milliseconds_since(began) < patience(why);
  }

  /// Says what failed and why; the guest's exit status.
  static int fail(const char* what, virtio::errc why) {
    boot::print(what, ": ", virtio::describe(why), "\n");
    return 1;
  }
};

static_assert(virtio::platform<board> && virtio::mmio::bus<board>);
