// SPDX-License-Identifier: MIT
// Device configuration by width. The specification requires accesses as wide as the field; some hosts require other
// widths: OpenBSD's vmd supports only dwords for its VM control device and its disks, and single bytes for a MAC
// address. So the width is a policy, per transport and, if a device mixes widths, per field. Policies return
// little-endian numbers.
// Spec: virtio 1.4, 2.5 and 4.1.3.1. Layer: transport.
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/platform/registers.hpp>

namespace virtio {

/// One access per field; 64-bit fields as two dwords, low half first. Required by the specification (4.1.3.1).
struct by_field {
  /// Reads a field.
  template <register_value T, register_space S>
  [[nodiscard]] static T read(const S& space, usize offset) {
    if constexpr (sizeof(T) == 8) {
      const u64 low = space.template read<u32>(offset);
      return u64{space.template read<u32>(offset + 4)} << 32 | low;
    } else {
      return space.template read<T>(offset);
    }
  }
  /// Writes a field.
  template <register_value T, register_space S>
  static void write(const S& space, usize offset, T value) {
    if constexpr (sizeof(T) == 8) {
      space.template write<u32>(offset, static_cast<u32>(value));
      space.template write<u32>(offset + 4, static_cast<u32>(value >> 32));
    } else {
      space.template write<T>(offset, value);
    }
  }
};

/// One access per byte, lowest address first.
struct by_byte {
  /// Reads a field.
  template <register_value T, register_space S>
  [[nodiscard]] static T read(const S& space, usize offset) {
    u64 value = 0;
    for (usize i = 0; i < sizeof(T); ++i) value |= u64{space.template read<u8>(offset + i)} << (8 * i);
    return static_cast<T>(value);
  }
  /// Writes a field.
  template <register_value T, register_space S>
  static void write(const S& space, usize offset, T value) {
    for (usize i = 0; i < sizeof(T); ++i) space.template write<u8>(offset + i, static_cast<u8>(u64{value} >> (8 * i)));
  }
};

/// Only aligned dwords. A narrower field is extracted from its dword; a write reads the dword and writes its other
/// bytes back.
struct by_dword {
  /// Reads a field.
  template <register_value T, register_space S>
  [[nodiscard]] static T read(const S& space, usize offset) {
    const usize first = offset & ~usize{3};
    const usize shift = (offset & 3) * 8;
    u64 value = u64{space.template read<u32>(first)} >> shift;
    for (usize have = 32 - shift, next = first + 4; have < 8 * sizeof(T); have += 32, next += 4)
      value |= u64{space.template read<u32>(next)} << have;
    return static_cast<T>(value);
  }
  /// Writes a field.
  template <register_value T, register_space S>
  static void write(const S& space, usize offset, T value) {
    for (usize done = 0; done < sizeof(T);) {
      const usize first = (offset + done) & ~usize{3};
      const usize skip = (offset + done) & 3;
      const usize count = virtio::detail::smaller(4 - skip, sizeof(T) - done);
      u32 dword = static_cast<u32>(u64{value} >> (8 * done)) << (8 * skip);
      if (count < 4) {
        const u32 ours = ((u32{1} << (8 * count)) - 1) << (8 * skip);
        dword = (dword & ours) | (space.template read<u32>(first) & ~ours);
      }
      space.template write<u32>(first, dword);
      done += count;
    }
  }
};

namespace detail {

/// Converts a policy's number for a field in the guest's order, as on legacy devices (2.5.3), in both directions.
template <byte_order Guest = native_order, class T>
[[nodiscard]] constexpr T in_guest_order(T little_endian) {
  if constexpr (Guest == byte_order::little) return little_endian;
  else return swap_bytes(little_endian);
}

/// Checks that a field is inside the space; by_dword accesses bytes up to the end of the last dword.
template <class Policy, class T, register_space S>
[[nodiscard]] result<void> check_config(const S& space, usize offset) {
  const usize size = space.size();
  if (size == 0) return errc::not_found;
  const usize end = same_as<Policy, by_dword> ? round_up(offset + sizeof(T), 4) : offset + sizeof(T);
  if (offset > size || end > size) return errc::out_of_range;
  return {};
}

}  // namespace detail
}  // namespace virtio
