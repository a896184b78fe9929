// SPDX-License-Identifier: MIT
// The porting surface, whole: what the library must know about an identity-mapped x86 machine that polls.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/concepts.hpp>

#include "runtime.hpp"

namespace bus = virtio::pci;  // how programs that include this reach their devices

// Nothing of ours lies above 2 GiB, and no machine places BARs below.
struct board : virtio::pci::cf8<0x1'0000'0000, 0x8000'0000> {
  using barriers = virtio::smp_barriers;

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

static_assert(virtio::platform<board> && virtio::pci::host<board>);
