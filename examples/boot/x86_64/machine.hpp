// SPDX-License-Identifier: MIT
// Two instructions of the processor, and what the loader of a PC hands over.
#pragma once

#include <stdint.h>

namespace boot {

/// Passes a moment, for loops that wait.
inline void pause() { __builtin_ia32_pause(); }

/// Reads the processor's time-stamp counter; its frequency is the processor's affair.
[[nodiscard]] inline uint64_t timestamp() { return __builtin_ia32_rdtsc(); }

/// Where the loader found ACPI's root, the RSDP; 0 when it found none.
[[nodiscard]] uint64_t rsdp();

}  // namespace boot
