// SPDX-License-Identifier: MIT
// A byte from the host on the serial port while the guest runs. The cell's script sends it when the host has finished
// what the guest waits for, so that neither depends on the other's timing.
#pragma once

#include <stdint.h>

#if !__STDC_HOSTED__
#include "machine.hpp"
#endif

namespace cell {

#if __STDC_HOSTED__
inline bool host_has_spoken() { return true; }  // no machine, no host
#elif defined(__x86_64__) || defined(__i386__)
inline bool host_has_spoken() {
  const auto in = [](uint16_t port) {
    uint8_t value;
    asm volatile("inb %w1, %b0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
  };
  if ((in(0x3fd) & 1) == 0) return false;  // line status: no byte has arrived
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
