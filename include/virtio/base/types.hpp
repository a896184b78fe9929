// SPDX-License-Identifier: MIT
// Fixed-width names and the device types that the specification numbers.
// Spec: virtio 1.4, 5 (device types). Layer: base (includes nothing but <stddef.h> and <stdint.h>).
#pragma once

// Every header includes this one first. Without C++20 the rest cannot compile, so a dependency on a missing file ends
// the compilation here.
#if !defined(__cplusplus) || __cplusplus < 202002L
#error "virtio is written in C++20: compile it as C++ with -std=c++20, -std=gnu++20 or later"
#pragma GCC dependency "virtio/in C++20"
#endif

#include <stddef.h>
#include <stdint.h>

namespace virtio {

using u8 = uint8_t;      // 8 bits, unsigned
using u16 = uint16_t;    // 16 bits, unsigned
using u32 = uint32_t;    // 32 bits, unsigned
using u64 = uint64_t;    // 64 bits, unsigned
using s64 = int64_t;     // 64 bits, signed
using usize = size_t;    // a size in memory
using uptr = uintptr_t;  // an address of the CPU as a number

/// The type of a device. The list has the types that this library or its users meet. Every other 16-bit value is valid
/// too, also one that a user's id table defines (OpenBSD's VM control device is 0xffff here).
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

/// Returns whether the specification defines a configuration for the type. Drivers do not read an undefined one
/// (5.4.4).
[[nodiscard]] constexpr bool has_config(device_type type) { return type != device_type::entropy; }

/// Returns the name of a device type, "device" for a type that is not listed here.
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

/// The order of bytes in memory. Virtio is little-endian, except for rings and device configuration of the legacy
/// interface: these have the guest's order.
enum class byte_order : u8 { little, big };

/// The byte order of the CPU that the code is compiled for.
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

/// Converts CPU order to `Order`, and back: both are the same operation.
template <byte_order Order, class T>
[[nodiscard]] constexpr T reorder(T value) {
  if constexpr (Order == native_order) return value;
  else return swap_bytes(value);
}

/// Returns whether exactly one bit is set. From the usual `value & (value - 1)` clang makes a count of all bits, 60
/// bytes of code.
[[nodiscard]] constexpr bool is_power_of_two(u32 value) { return (value ^ (value - 1)) > value - 1; }

[[nodiscard]] constexpr usize round_up(usize value, usize multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <class T>
[[nodiscard]] constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}

}  // namespace detail
}  // namespace virtio
