// SPDX-License-Identifier: MIT
// A ready-made platform for the usual bare machine: device addresses are CPU addresses, waits poll.
// Layer: platform.
#pragma once

#include <virtio/platform/concepts.hpp>

namespace virtio {

/// Identity-mapped and polling. `Patience` bounds every wait, in polls.
template <barrier_set Barriers = smp_barriers, u64 Patience = 1'000'000'000>
struct identity_platform {
  using barriers = Barriers;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }

  bool keep_waiting(waiting, u64 attempt) const {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield" ::: "memory");
#else
    asm volatile("" ::: "memory");
#endif
    return attempt < Patience;
  }
};

static_assert(platform<identity_platform<>>);

}  // namespace virtio
