// SPDX-License-Identifier: MIT
// Fixed-width names and the device types that the specification numbers.
// Spec: virtio 1.4, 5 (device types). Layer: base (includes nothing but <stddef.h> and <stdint.h>).
#pragma once

// Every header has this one first, and nothing behind it would be understood: a file that is not there ends the compilation.
#if !defined(__cplusplus) || __cplusplus < 202002L
#error "virtio is written in C++20: compile it as C++ with -std=c++20, -std=gnu++20 or later"
#pragma GCC dependency "virtio/in C++20"
#endif

#include <stddef.h>
#include <stdint.h>

namespace virtio {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s64 = int64_t;
using usize = size_t;
using uptr = uintptr_t;

/// What a device is. The list names what this library or its users meet; any other 16-bit value is valid too,
/// also those that a user's id table invents (OpenBSD's VM control device calls itself 0xffff).
enum class device_type : u16 {
  none = 0,
  network = 1,
  block = 2,
  console = 3,
  entropy = 4,
  balloon = 5,
  scsi = 8,
  filesystem_9p = 9,
  gpu = 16,
  input = 18,
  vsock = 19,
  crypto = 20,
  iommu = 23,
  memory = 24,
  sound = 25,
  filesystem = 26,
  pmem = 27,
  vmmci = 0xffff,
};

/// Whether the specification gives the type a configuration of its own. Nobody reads one that it does not (5.4.4).
[[nodiscard]] constexpr bool has_config(device_type type) { return type != device_type::entropy; }

/// The name of a device type, "device" for one without a name here.
[[nodiscard]] constexpr const char* name(device_type type) {
  switch (type) {
    case device_type::none: return "no device";
    case device_type::network: return "network";
    case device_type::block: return "block";
    case device_type::console: return "console";
    case device_type::entropy: return "entropy";
    case device_type::balloon: return "balloon";
    case device_type::scsi: return "scsi";
    case device_type::filesystem_9p: return "9p file system";
    case device_type::gpu: return "gpu";
    case device_type::input: return "input";
    case device_type::vsock: return "vsock";
    case device_type::crypto: return "crypto";
    case device_type::iommu: return "iommu";
    case device_type::memory: return "memory";
    case device_type::sound: return "sound";
    case device_type::filesystem: return "file system";
    case device_type::pmem: return "pmem";
    case device_type::vmmci: return "vm control";
  }
  return "device";
}

/// Which bytes come first in memory. Everything virtio is little-endian, but the legacy interface's rings and
/// device config, which have the guest's own order.
enum class byte_order : u8 { little, big };

inline constexpr byte_order native_order =
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? byte_order::little : byte_order::big;

namespace detail {

template <class T>
[[nodiscard]] constexpr T swap_bytes(T value) {
  static_assert(sizeof(T) <= 8);
  if constexpr (sizeof(T) == 1) return value;
  else if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  else if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  else return __builtin_bswap64(value);
}

/// CPU order to `Order`, and back: the same operation both ways.
template <byte_order Order, class T>
[[nodiscard]] constexpr T reorder(T value) {
  if constexpr (Order == native_order) return value;
  else return swap_bytes(value);
}

/// One bit and no other. Where clang sees the usual `value & (value - 1)`, it counts all bits, in 60 bytes of code.
[[nodiscard]] constexpr bool is_power_of_two(u32 value) { return (value ^ (value - 1)) > value - 1; }

[[nodiscard]] constexpr usize round_up(usize value, usize multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <class T>
[[nodiscard]] constexpr T smaller(T a, T b) { return b < a ? b : a; }

}  // namespace detail
}  // namespace virtio
