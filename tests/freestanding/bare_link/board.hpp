// SPDX-License-Identifier: MIT
// The example's board without its boot runtime: what remains is the library and the four memory functions.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/concepts.hpp>

namespace bus = virtio::pci;

struct board : virtio::pci::cf8<> {
  using barriers = virtio::smp_barriers;

  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way, virtio::segments& out) const {
    return out.push(virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)}, n, way);
  }
  bool keep_waiting(virtio::waiting, virtio::u64 attempt) const {
    __builtin_ia32_pause();
    return attempt < 500'000'000;
  }
  template <class... Why>
  static int fail(const char* what, const Why&...) {
    return what[0];
  }
};
