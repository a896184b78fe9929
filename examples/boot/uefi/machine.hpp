// SPDX-License-Identifier: MIT
// The machine by the firmware's services: a clock, the console's keys.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "services.hpp"

namespace boot {

using uefi::pause;

/// Reads the processor's counter.
[[nodiscard]] inline uint64_t timestamp() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  uint64_t now;
  asm volatile("isb; mrs %0, cntvct_el0" : "=r"(now)::"memory");
  return now;
#endif
}

/// Returns the counts of a millisecond, measured once by a Stall of 1 ms.
[[nodiscard]] uint64_t counts_per_millisecond();

[[nodiscard]] inline uint64_t milliseconds_since(uint64_t began) {
  return (timestamp() - began) / counts_per_millisecond();
}

/// Takes a key from the console, if one was pressed. Keys without a character, such as cursor keys, are dropped.
[[nodiscard]] bool take(char& out);

}  // namespace boot
