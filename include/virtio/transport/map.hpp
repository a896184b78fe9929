// SPDX-License-Identifier: MIT
// Register offsets and status bits, from the specification.
// Spec: virtio 1.4, 2.1 (status), 4.1.4.3 (common configuration), 4.1.4.10 (legacy header).
// Layer: transport.
#pragma once

#include <virtio/platform/registers.hpp>

namespace virtio {

/// Bits of the device status field.
namespace status {
inline constexpr u8 acknowledge = 0x01;  // the driver has found the device
inline constexpr u8 driver = 0x02;       // the driver can drive it
inline constexpr u8 driver_ok = 0x04;    // the driver has set it up
inline constexpr u8 features_ok = 0x08;  // features are negotiated
inline constexpr u8 needs_reset = 0x40;  // the device has failed
inline constexpr u8 failed = 0x80;       // the driver has given up
}  // namespace status

/// No interrupt vector: the value of every vector register after a reset.
inline constexpr u16 no_vector = 0xffff;

/// Registers of the common configuration structure (4.1.4.3).
namespace pci::common {
inline constexpr reg<u32> device_feature_select{0x00};  // word of `device_feature`
inline constexpr reg<u32> device_feature{0x04};         // word of the offered features
inline constexpr reg<u32> driver_feature_select{0x08};  // word of `driver_feature`
inline constexpr reg<u32> driver_feature{0x0c};         // word of the accepted features
inline constexpr reg<u16> config_vector{0x10};          // MSI-X vector of the configuration
inline constexpr reg<u8> device_status{0x14};           // device status
inline constexpr reg<u8> config_generation{0x15};       // changes with the configuration
inline constexpr reg<u16> queue_select{0x16};           // queue that the queue registers are for
inline constexpr reg<u16> queue_size{0x18};             // most entries; then the entries that the driver uses
inline constexpr reg<u16> queue_vector{0x1a};           // MSI-X vector of the queue
inline constexpr reg<u16> queue_enable{0x1c};           // 1 enables the queue
inline constexpr reg<u16> queue_notify_off{0x1e};       // place of the queue's doorbell
inline constexpr reg<u64> queue_desc{0x20};             // descriptor area
inline constexpr reg<u64> queue_driver{0x28};           // driver area
inline constexpr reg<u64> queue_device{0x30};           // device area
/// Value for the doorbell. This and the next only with their features.
inline constexpr reg<u16> queue_notif_config_data{0x38};
inline constexpr reg<u16> queue_reset{0x3a};  // 1 resets the queue
}  // namespace pci::common

/// Registers of the legacy header (4.1.4.10).
namespace pci::legacy_header {
inline constexpr reg<u32> device_features{0x00};  // offered features
inline constexpr reg<u32> driver_features{0x04};  // accepted features
inline constexpr reg<u32> queue_pfn{0x08};        // page number of the ring
inline constexpr reg<u16> queue_size{0x0c};       // entries
inline constexpr reg<u16> queue_select{0x0e};     // queue that the queue registers are for
inline constexpr reg<u16> queue_notify{0x10};     // doorbell of all queues
inline constexpr reg<u8> device_status{0x12};     // device status
inline constexpr reg<u8> isr{0x13};               // interrupt cause; a read clears it
/// MSI-X vector of the configuration. This and the next only while MSI-X is on.
inline constexpr reg<u16> config_vector{0x14};
inline constexpr reg<u16> queue_vector{0x16};       // MSI-X vector of the queue
inline constexpr usize config_without_msix = 0x14;  // offset of the configuration while MSI-X is off
inline constexpr usize config_with_msix = 0x18;     // offset of the configuration while MSI-X is on
}  // namespace pci::legacy_header

}  // namespace virtio
