// SPDX-License-Identifier: MIT
// Shared code of the measured guests: numbers of the command line, and a clock. The clock is the time-stamp counter,
// calibrated in nanoseconds by the PC's timer; both are the emulated machine's, as in Linux.
#pragma once

#include "board.hpp"

namespace bench {

using virtio::u64, virtio::u32, virtio::u8, virtio::usize;

inline u64 number(const char* key) {
  u64 n = 0;
  const boot::text digits = boot::option(key);
  for (usize i = 0; i < digits.size; ++i) n = n * 10 + static_cast<u64>(digits.data[i] - '0');
  return n;
}

inline u64 ticks_in_50_ms;

/// Measures while the PC's timer counts 59659 ticks once, which is 50 ms.
inline u64 measure_50_ms() {
  using virtio::detail::port_in, virtio::detail::port_out;
  constexpr u32 count = 59659;
  port_out<u8>(0x61, static_cast<u8>((port_in<u8>(0x61) & 0xfc) | 1));  // the timer counts, the speaker is off
  port_out<u8>(0x43, 0xb0);
  port_out<u8>(0x42, count & 0xff);
  const u64 began = boot::timestamp();
  port_out<u8>(0x42, count >> 8);
  while ((port_in<u8>(0x61) & 0x20) == 0) {}
  return boot::timestamp() - began;
}

/// Takes the shortest of several measurements: errors only make them longer.
inline void calibrate() {
  ticks_in_50_ms = ~u64{0};
  for (int i = 0; i < 5; ++i) ticks_in_50_ms = virtio::detail::smaller(ticks_in_50_ms, measure_50_ms());
}

inline u64 nanoseconds(u64 ticks) {
  return ticks / ticks_in_50_ms * 50'000'000 + ticks % ticks_in_50_ms * 50'000'000 / ticks_in_50_ms;
}

}  // namespace bench
