// SPDX-License-Identifier: MIT
// Integers, views of bytes and byte orders. This library includes nothing of virtio's, so it has its own: a program that serves a USB
// device over TCP takes include/usbip alone.
// Layer: base (includes nothing but <stddef.h> and <stdint.h>).
#pragma once

// Every header has this one first, and nothing behind it would be understood: a file that is not there ends the
// compilation.
#if !defined(__cplusplus) || __cplusplus < 202002L
#error "usbip is written in C++20: compile it as C++ with -std=c++20, -std=gnu++20 or later"
#pragma GCC dependency "usbip/in C++20"
#endif

#include <stddef.h>
#include <stdint.h>

namespace usbip {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s32 = int32_t;
using usize = size_t;

/// Bytes that may be written; owned by somebody else.
struct bytes {
  u8* data = nullptr;
  usize size = 0;

  [[nodiscard]] constexpr bool empty() const { return size == 0; }
  /// What lies from `offset` on, at most `count`; both are cut to what is there.
  [[nodiscard]] constexpr bytes part(usize offset, usize count) const {
    if (offset >= size) return {};
    return {data + offset, count < size - offset ? count : size - offset};
  }
};

/// Bytes that may only be read; owned by somebody else.
struct const_bytes {
  const u8* data = nullptr;
  usize size = 0;

  constexpr const_bytes() = default;
  constexpr const_bytes(const u8* first, usize count) : data{first}, size{count} {}
  constexpr const_bytes(bytes other) : data{other.data}, size{other.size} {}

  [[nodiscard]] constexpr bool empty() const { return size == 0; }
  [[nodiscard]] constexpr const_bytes part(usize offset, usize count) const {
    if (offset >= size) return {};
    return {data + offset, count < size - offset ? count : size - offset};
  }
};

/// Several ranges that are sent one behind the other.
struct pieces {
  const const_bytes* first = nullptr;
  usize count = 0;

  [[nodiscard]] constexpr const const_bytes* begin() const { return first; }
  [[nodiscard]] constexpr const const_bytes* end() const { return first + count; }
};

// USB/IP's own fields are big-endian, what the USB bus defines is little-endian.
[[nodiscard]] constexpr u16 load_be16(const u8* at) { return static_cast<u16>(at[0] << 8 | at[1]); }
[[nodiscard]] constexpr u32 load_be32(const u8* at) {
  return static_cast<u32>(at[0]) << 24 | static_cast<u32>(at[1]) << 16 | static_cast<u32>(at[2]) << 8 | at[3];
}
[[nodiscard]] constexpr u64 load_be64(const u8* at) { return static_cast<u64>(load_be32(at)) << 32 | load_be32(at + 4); }
[[nodiscard]] constexpr u16 load_le16(const u8* at) { return static_cast<u16>(at[1] << 8 | at[0]); }
[[nodiscard]] constexpr u32 load_le32(const u8* at) {
  return static_cast<u32>(at[3]) << 24 | static_cast<u32>(at[2]) << 16 | static_cast<u32>(at[1]) << 8 | at[0];
}
constexpr void store_be16(u8* at, u16 value) {
  at[0] = static_cast<u8>(value >> 8);
  at[1] = static_cast<u8>(value);
}
constexpr void store_be32(u8* at, u32 value) {
  store_be16(at, static_cast<u16>(value >> 16));
  store_be16(at + 2, static_cast<u16>(value));
}
constexpr void store_be64(u8* at, u64 value) {
  store_be32(at, static_cast<u32>(value >> 32));
  store_be32(at + 4, static_cast<u32>(value));
}
constexpr void store_le32(u8* at, u32 value) {
  for (u32 byte = 0; byte < 4; ++byte) at[byte] = static_cast<u8>(value >> 8 * byte);
}

/// `memcpy` without its header, also for constants. Freestanding compilers leave the loop as it is: data are not to go
/// through it.
constexpr void copy(u8* to, const u8* from, usize count) {
  if (!__builtin_is_constant_evaluated()) {
    if (count != 0) __builtin_memcpy(to, from, count);
    return;
  }
  for (usize byte = 0; byte < count; ++byte) to[byte] = from[byte];
}

template <class A, class B>
inline constexpr bool is_same = false;
template <class A>
inline constexpr bool is_same<A, A> = true;
template <class A, class B>
concept same_as = is_same<A, B>;

/// The speeds at which a host knows devices; the numbers are those of the protocol.
enum class speed : u32 { low = 1, full = 2, high = 3, super = 5 };

}  // namespace usbip
