// SPDX-License-Identifier: MIT
// What OpenBSD's vmd and a guest exchange through the control device (vmmci): feature bits, configuration fields,
// commands. The device is not in the specification: ids 0b5d:0777, no queue, the registers of a legacy device in every
// vmd so far.
// Layer: vmmci.
#pragma once

#include <virtio/base/features.hpp>
#include <virtio/transport/config_field.hpp>

namespace virtio::vmmci {

/// Feature bits of the control device.
enum class feature : u8 {
  timesync = 0,  // it reports the time
  ack = 1,       // it requires an acknowledgement of its commands
  syncrtc = 2,   // it reports when the clock must be set again
};
/// Makes `feature_set` accept these bits.
constexpr void feature_bits_of(feature) {}

/// The name of a feature bit; null for other values.
[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::timesync: return "VMMCI_TIMESYNC";
    case feature::ack: return "VMMCI_ACK";
    case feature::syncrtc: return "VMMCI_SYNCRTC";
  }
  return nullptr;
}

/// Fields of the configuration, each of which answers one 32-bit read. After each field of the time there is an upper
/// half, which reads 0 in every vmd.
namespace config {
inline constexpr config_field<u32> command{0};        // the host's request; the guest's answer or request
inline constexpr config_field<u32> seconds{4};        // since 1970, UTC; a read latches the time
inline constexpr config_field<u32> microseconds{12};  // of the latched time
}  // namespace config

/// Requests of the host to its guest: the values of `config::command`, where 0 is none.
enum class request : u8 {
  shutdown = 1,  // leave the machine; it is not started again
  reboot = 2,    // leave the machine; it is started again
  resync = 3,    // read the clock again: the host's was set, or the machine has slept
};

/// The name of a request; null for other values.
[[nodiscard]] constexpr const char* name(request which) {
  switch (which) {
    case request::shutdown: return "shutdown";
    case request::reboot: return "reboot";
    case request::resync: return "resync";
  }
  return "request";
}

}  // namespace virtio::vmmci
