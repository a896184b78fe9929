// SPDX-License-Identifier: MIT
// How a board without a clock waits: it polls, and counts.
// Layer: platform.
#pragma once

#include <virtio/platform/concepts.hpp>

namespace virtio {

/// The waiting half of a platform: pauses the CPU between polls, and never waits without end. `Attempts` bounds waits for a device, in
/// polls; a connection's other end, which may never answer and costs no reset, gets a fiftieth. How long that is depends on the machine:
/// 500 million polls took 400 seconds under emulation and a tenth of that elsewhere. A board with a clock has a `keep_waiting` of its own
/// (docs/porting.md, Waits). Inherit it for the member; it has no state.
template <u64 Attempts = 500'000'000>
struct polling {
  bool keep_waiting(waiting why, u64 attempt) const {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield" ::: "memory");
#elif defined(__riscv)
    asm volatile(".word 0x0100000f" ::: "memory");  // `pause` of Zihintpause; without it, a fence that orders nothing
#else
    asm volatile("" ::: "memory");
#endif
    const bool for_a_peer = why == waiting::connect || why == waiting::shutdown;
    return attempt < (for_a_peer ? Attempts / 50 + (Attempts % 50 != 0) : Attempts);
  }
};

}  // namespace virtio
