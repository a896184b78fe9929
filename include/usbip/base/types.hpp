// SPDX-License-Identifier: MIT
// Integers, views of bytes and byte orders. This library includes no header of virtio's and so has its own: a program
// that serves a USB device over TCP needs only include/usbip.
// Layer: base (includes only <stddef.h> and <stdint.h>).
#pragma once

// Every header includes this one first. In another language nothing after this would compile: a missing file ends the
// compilation.
#if !defined(__cplusplus) || __cplusplus < 202002L
#error "usbip is written in C++20: compile it as C++ with -std=c++20, -std=gnu++20 or later"
#pragma GCC dependency "usbip/in C++20"
#endif

#include <stddef.h>
#include <stdint.h>

namespace usbip {

using u8 = uint8_t;    // 8 bits
using u16 = uint16_t;  // 16 bits
using u32 = uint32_t;  // 32 bits
using u64 = uint64_t;  // 64 bits
using s32 = int32_t;   // 32 bits, signed
using usize = size_t;  // a size in memory

/// Bytes that may be written; not owned by this object.
struct bytes {
  u8* data = nullptr;  // the first byte
  usize size = 0;      // number of bytes

  /// Whether it has no bytes.
  [[nodiscard]] constexpr bool empty() const { return size == 0; }
  /// The bytes from `offset` on, at most `count`, as far as they exist.
  [[nodiscard]] constexpr bytes part(usize offset, usize count) const {
    if (offset >= size) return {};
    return {data + offset, count < size - offset ? count : size - offset};
  }
};

/// Bytes that may only be read; not owned by this object.
struct const_bytes {
  const u8* data = nullptr;  // the first byte
  usize size = 0;            // number of bytes

  constexpr const_bytes() = default;  // no bytes
  /// `count` bytes from `first` on.
  constexpr const_bytes(const u8* first, usize count) : data{first}, size{count} {}
  /// The same bytes, for reading only.
  constexpr const_bytes(bytes other) : data{other.data}, size{other.size} {}

  /// Whether it has no bytes.
  [[nodiscard]] constexpr bool empty() const { return size == 0; }
  /// The bytes from `offset` on, at most `count`, as far as they exist.
  [[nodiscard]] constexpr const_bytes part(usize offset, usize count) const {
    if (offset >= size) return {};
    return {data + offset, count < size - offset ? count : size - offset};
  }
};

/// Several ranges of bytes, in the order in which they are sent.
struct pieces {
  const const_bytes* first = nullptr;  // an array of ranges
  usize count = 0;                     // number of ranges

  /// The first range.
  [[nodiscard]] constexpr const const_bytes* begin() const { return first; }
  /// After the last range.
  [[nodiscard]] constexpr const const_bytes* end() const { return first + count; }
};

// Fields of USB/IP are big-endian, those of the USB bus little-endian.
/// Loads a big-endian value.
[[nodiscard]] constexpr u16 load_be16(const u8* at) { return static_cast<u16>(at[0] << 8 | at[1]); }
/// Loads a big-endian value.
[[nodiscard]] constexpr u32 load_be32(const u8* at) {
  return static_cast<u32>(at[0]) << 24 | static_cast<u32>(at[1]) << 16 | static_cast<u32>(at[2]) << 8 | at[3];
}
/// Loads a big-endian value.
[[nodiscard]] constexpr u64 load_be64(const u8* at) {
  return static_cast<u64>(load_be32(at)) << 32 | load_be32(at + 4);
}
/// Loads a little-endian value.
[[nodiscard]] constexpr u16 load_le16(const u8* at) { return static_cast<u16>(at[1] << 8 | at[0]); }
/// Loads a little-endian value.
[[nodiscard]] constexpr u32 load_le32(const u8* at) {
  return static_cast<u32>(at[3]) << 24 | static_cast<u32>(at[2]) << 16 | static_cast<u32>(at[1]) << 8 | at[0];
}
/// Stores a big-endian value.
constexpr void store_be16(u8* at, u16 value) {
  at[0] = static_cast<u8>(value >> 8);
  at[1] = static_cast<u8>(value);
}
/// Stores a big-endian value.
constexpr void store_be32(u8* at, u32 value) {
  store_be16(at, static_cast<u16>(value >> 16));
  store_be16(at + 2, static_cast<u16>(value));
}
/// Stores a big-endian value.
constexpr void store_be64(u8* at, u64 value) {
  store_be32(at, static_cast<u32>(value >> 32));
  store_be32(at + 4, static_cast<u32>(value));
}
/// Stores a little-endian value.
constexpr void store_le32(u8* at, u32 value) {
  for (u32 byte = 0; byte < 4; ++byte) at[byte] = static_cast<u8>(value >> 8 * byte);
}

/// `memcpy` without its header, also in constant expressions. Freestanding compilers keep the loop as it is, so
/// run-time data does not use it.
constexpr void copy(u8* to, const u8* from, usize count) {
  if (!__builtin_is_constant_evaluated()) {
    if (count != 0) __builtin_memcpy(to, from, count);
    return;
  }
  for (usize byte = 0; byte < count; ++byte) to[byte] = from[byte];
}

/// Whether `A` and `B` are the same type.
template <class A, class B>
inline constexpr bool is_same = false;
/// Whether `A` and `B` are the same type: here they are.
template <class A>
inline constexpr bool is_same<A, A> = true;
/// The same type.
template <class A, class B>
concept same_as = is_same<A, B>;

/// Speeds of devices; the values are those of the protocol.
enum class speed : u32 { low = 1, full = 2, high = 3, super = 5 };

}  // namespace usbip
