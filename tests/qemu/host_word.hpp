// SPDX-License-Identifier: MIT
// A word from the host while the guest runs: a byte on the serial port, which the cell's script sends when the host has done what
// the guest waits for. So neither has to guess how long the other takes.
#pragma once

#include <stdint.h>

#if !__STDC_HOSTED__
#include "machine.hpp"
#endif

namespace cell {

#if __STDC_HOSTED__
inline bool host_has_spoken() { return true; }  // no machine, and nobody beside it
#elif defined(__x86_64__) || defined(__i386__)
inline bool host_has_spoken() {
  const auto in = [](uint16_t port) {
    uint8_t value;
    asm volatile("inb %w1, %b0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
  };
  if ((in(0x3fd) & 1) == 0) return false;  // line status: nothing has come
  (void)in(0x3f8);
  return true;
}
#else
inline bool host_has_spoken() {
  char byte;
  return boot::take(byte);
}
#endif

/// Waits for the host's next byte.
inline void await_host() {
  while (!host_has_spoken()) boot::pause();
}

}  // namespace cell
