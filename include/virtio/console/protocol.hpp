// SPDX-License-Identifier: MIT
// The interface between driver and console: feature bits, configuration fields, control messages. Also the limits of a
// driver.
// Spec: virtio 1.4, 5.3. Layer: console.
#pragma once

#include <virtio/base/cells.hpp>
#include <virtio/base/features.hpp>
#include <virtio/transport/config_field.hpp>

namespace virtio::console {

/// Feature bits of consoles (5.3.3).
enum class feature : u8 {
  size = 0,
  multiport = 1,
  emergency_write = 2,
};
/// Makes `feature_set` accept these bits.
constexpr void feature_bits_of(feature) {}

/// The specification's name of a feature bit; null for other values.
[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::size: return "CONSOLE_SIZE";
    case feature::multiport: return "CONSOLE_MULTIPORT";
    case feature::emergency_write: return "CONSOLE_EMERG_WRITE";
  }
  return nullptr;
}

/// Fields of the device configuration (5.3.4).
namespace config {
inline constexpr config_field<u16> columns{0};          // with SIZE
inline constexpr config_field<u16> rows{2};             // with SIZE
inline constexpr config_field<u32> max_nr_ports{4};     // with MULTIPORT
inline constexpr config_field<u32> emergency_write{8};  // with EMERG_WRITE: its low byte is a character
}  // namespace config

/// Choices that change a driver's layout. Each port has buffers of its own.
struct limits {
  u16 ports = 1;  // that the driver can use, 0 to ports-1. 1: MULTIPORT is not accepted, and its code is left out
  u16 receive_buffers = 4;  // of a port; the device has all except the one that is being read
  u32 receive_bytes = 512;  // in one of them
  u16 send_buffers = 4;     // of a port
  u32 send_bytes = 512;     // in one of them
  u16 name_bytes = 32;      // of a port's name; longer ones are cut

  /// Whether the values are consistent.
  [[nodiscard]] constexpr bool make_sense() const {
    return ports >= 1 && ports <= 512 && receive_buffers >= 1 && receive_buffers <= 0x4000 && receive_bytes >= 1 &&
           receive_bytes <= 0x10'0000 && send_buffers >= 1 && send_buffers <= 0x4000 && send_bytes >= 1 &&
           send_bytes <= 0x10'0000 && name_bytes >= 1 && name_bytes <= 1024;
  }
};

/// The size of a console's screen.
struct screen {
  u16 columns = 0;  // characters in a row
  u16 rows = 0;     // rows on the screen
  [[nodiscard]] friend constexpr bool operator==(const screen&, const screen&) = default;
};

/// The subject of a control message (5.3.6.2).
enum class control : u16 {
  device_ready = 0,  // from the driver; value 1: ready, 0: not
  port_add = 1,
  port_remove = 2,
  port_ready = 3,    // from the driver; value 1: ready, 0: not
  console_port = 4,  // this port is a console
  resize = 5,        // columns and rows follow
  port_open = 6,     // from either; value 1: open, 0: closed
  port_name = 7,     // its name follows, without a terminating NUL; QEMU sends a NUL
};

namespace detail {

/// A control message in memory that the device sees, in the transport's byte order.
template <template <class, byte_order> class Cell, byte_order Order>
struct message_cells {
  Cell<u32, Order> port;
  Cell<u16, Order> event, value;
};
inline constexpr u32 message_bytes = 8;

}  // namespace detail
}  // namespace virtio::console
