// SPDX-License-Identifier: MIT
// Registers: typed offsets, and the spaces that contain them. A register space is any type with sized reads and writes:
// mapped memory, ports, a firmware protocol, a window through PCI configuration space, a recording for a test.
// Layer: platform.
#pragma once

#include <virtio/base/meta.hpp>

namespace virtio {

/// A register space:
///  1. `read<T>(offset)` and `write<T>(offset, value)` for u8, u16 and u32 make exactly one access of exactly that
///     width;
///  2. values are the device's little-endian bytes as a number, in any byte order of the CPU;
///  3. `size()` returns the number of bytes from offset 0; the library never accesses bytes after it;
///  4. `part(offset, length)` returns the space that starts at `offset`; the caller has checked the range;
///  5. accesses to memory and registers are ordered: stores to memory before a `write` are visible to the device when
///     the write arrives, and no later load or store of memory moves before a `read`.
/// The library makes no 64-bit access: it uses two halves, four bytes apart, low half first.
template <class S>
concept register_space = small_value<S> && requires(const S s, usize offset, u8 b, u16 h, u32 w) {
  { s.template read<u8>(offset) } -> same_as<u8>;
  { s.template read<u16>(offset) } -> same_as<u16>;
  { s.template read<u32>(offset) } -> same_as<u32>;
  s.template write<u8>(offset, b);
  s.template write<u16>(offset, h);
  s.template write<u32>(offset, w);
  { s.size() } -> converts_to<usize>;
  { s.part(offset, offset) } -> same_as<S>;
};

/// A register: an offset with a width. `constexpr reg<u8> status{0x14}; read(space, status)`.
template <register_value T>
struct reg {
  usize offset;  // bytes
  /// The register at `at`, which is aligned to its width (64-bit registers: to 4 bytes).
  consteval explicit reg(usize at) : offset{at} {
    if (at % (sizeof(T) == 8 ? 4 : sizeof(T)) != 0) __builtin_trap();  // a misaligned register does not compile
  }
};

/// Reads a register of at most 32 bits. One access.
template <register_space S, register_value T>
[[nodiscard]] T read(const S& space, reg<T> which) {
  static_assert(sizeof(T) <= 4, "no 64-bit register is read in one access");
  return space.template read<T>(which.offset);
}

/// Writes a register. One access; two for 64 bits, low half first.
template <register_space S, register_value T>
void write(const S& space, reg<T> which, T value) {
  if constexpr (sizeof(T) == 8) {
    space.template write<u32>(which.offset, static_cast<u32>(value));
    space.template write<u32>(which.offset + 4, static_cast<u32>(value >> 32));
  } else {
    space.template write<T>(which.offset, value);
  }
}

}  // namespace virtio
