// SPDX-License-Identifier: MIT
// Little-endian numbers of disk formats, at any address.
#pragma once

#include "text.hpp"

[[nodiscard]] constexpr u64 long_number(const u8* at, unsigned bytes = 8) {
  u64 out = 0;
  while (bytes-- != 0) out = out << 8 | at[bytes];
  return out;
}
[[nodiscard]] constexpr u32 number(const u8* at, unsigned bytes) { return static_cast<u32>(long_number(at, bytes)); }

/// Writes one.
constexpr void put_number(u8* at, u64 value, unsigned bytes) {
  for (; bytes-- != 0; value >>= 8) *at++ = static_cast<u8>(value);
}
