// SPDX-License-Identifier: MIT
// Two instructions of the processor.
#pragma once

#include <stdint.h>

namespace boot {

/// Passes a moment, for loops that wait.
inline void pause() { __builtin_ia32_pause(); }

/// Reads the processor's time-stamp counter; its frequency is the processor's affair.
[[nodiscard]] inline uint64_t timestamp() { return __builtin_ia32_rdtsc(); }

}  // namespace boot
