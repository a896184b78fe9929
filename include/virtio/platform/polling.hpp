// SPDX-License-Identifier: MIT
// How a board without a clock waits: it polls, and counts.
// Layer: platform.
#pragma once

#include <virtio/platform/concepts.hpp>

namespace virtio {

/// The waiting half of a platform: pauses the CPU between polls. `Patience` bounds every wait, in polls. How long that is depends on the
/// machine: 500 million took 400 seconds under emulation and a tenth of that elsewhere. A board with a clock has a `keep_waiting` of its
/// own (docs/porting.md, Waits). Inherit it for the member; it has no state.
template <u64 Patience = 1'000'000'000>
struct polling {
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

}  // namespace virtio
