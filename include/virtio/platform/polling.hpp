// SPDX-License-Identifier: MIT
// Waiting on a board without a clock: polls are counted.
// Layer: platform.
#pragma once

#include <virtio/platform/concepts.hpp>

namespace virtio {

/// The waiting half of a platform: pauses the CPU between polls, and bounds every wait. `Attempts` is the bound for a
/// device, in polls. It is a fiftieth for `connect` and `shutdown`, where a peer may never answer. The time depends on
/// the machine: 500 million polls took 400 seconds under emulation and a tenth of that elsewhere. A board with a clock
/// defines its own `keep_waiting` (docs/porting.md, Waits). Inherit it for the member; it has no state.
template <u64 Attempts = 500'000'000>
struct polling {
  /// `platform` concept: pauses, and returns whether to go on.
  bool keep_waiting(waiting why, u64 attempt) const {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield" ::: "memory");
#elif defined(__riscv)
    // `pause` of Zihintpause; without that extension, a fence that orders nothing.
    asm volatile(".word 0x0100000f" ::: "memory");
#else
    asm volatile("" ::: "memory");
#endif
    const bool for_a_peer = why == waiting::connect || why == waiting::shutdown;
    return attempt < (for_a_peer ? Attempts / 50 + (Attempts % 50 != 0) : Attempts);
  }
};

}  // namespace virtio
