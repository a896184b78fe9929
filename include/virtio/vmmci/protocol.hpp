// SPDX-License-Identifier: MIT
// What OpenBSD's vmd and a guest say to each other through the control device (vmmci): feature bits, configuration
// fields, commands. No device of the specification: ids 0b5d:0777, no queue, the registers of a legacy device in every
// vmd so far.
// Layer: vmmci.
#pragma once

#include <virtio/base/features.hpp>
#include <virtio/transport/config_field.hpp>

namespace virtio::vmmci {

/// Feature bits of the control device.
enum class feature : u8 {
  timesync = 0,  // it tells the time
  ack = 1,       // it wants its commands acknowledged
  syncrtc = 2,   // it says when the clock is to be set anew
};
constexpr void feature_bits_of(feature) {}

[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::timesync: return "VMMCI_TIMESYNC";
    case feature::ack: return "VMMCI_ACK";
    case feature::syncrtc: return "VMMCI_SYNCRTC";
  }
  return nullptr;
}

/// Fields of the configuration, each of which answers one 32-bit read. Behind both fields of the time there is an upper
/// half, which reads 0 in every vmd.
namespace config {
inline constexpr config_field<u32> command{0};        // what the host asks for; what the guest answers or asks for
inline constexpr config_field<u32> seconds{4};        // since 1970, UTC; reading them latches the time
inline constexpr config_field<u32> microseconds{12};  // of the time that was latched
}  // namespace config

/// What the host asks of its guest: the values of `config::command`, where 0 is nothing.
enum class request : u8 {
  shutdown = 1,  // leave the machine; it is not started again
  reboot = 2,    // leave the machine; it starts anew
  resync = 3,    // read the clock again: the host's has been set, or the machine has slept
};

[[nodiscard]] constexpr const char* name(request which) {
  switch (which) {
    case request::shutdown: return "shutdown";
    case request::reboot: return "reboot";
    case request::resync: return "resync";
  }
  return "request";
}

}  // namespace virtio::vmmci
