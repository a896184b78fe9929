// SPDX-License-Identifier: MIT
// The porting surface, whole: what the library must know about an identity-mapped x86 machine that polls.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/concepts.hpp>

#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // how programs that include this reach their devices

// Nothing of ours lies above 2 GiB, and no machine places BARs below.
struct board : virtio::pci::cf8<0x1'0000'0000, 0x8000'0000> {
  using barriers = virtio::smp_barriers;

  /// Device addresses are CPU addresses here.
  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way, virtio::segments& out) const {
    return out.push(virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)}, n, way);
  }

  bool keep_waiting(virtio::waiting why, virtio::u64 attempt) const { return boot::keep_waiting(why, attempt); }

  /// Says what failed and why; the guest's exit status.
  static int fail(const char* what, virtio::errc why) {
    boot::print(what, ": ", virtio::describe(why), "\n");
    return 1;
  }
};

static_assert(virtio::platform<board> && virtio::pci::host<board>);
