// SPDX-License-Identifier: MIT
// Register offsets and status bits, as the specification numbers them.
// Spec: virtio 1.4, 2.1 (status), 4.1.4.3 (common configuration), 4.1.4.10 (legacy header).
// Layer: transport.
#pragma once

#include <virtio/platform/registers.hpp>

namespace virtio {

/// Bits of the device status field.
namespace status {
inline constexpr u8 acknowledge = 0x01;
inline constexpr u8 driver = 0x02;
inline constexpr u8 driver_ok = 0x04;
inline constexpr u8 features_ok = 0x08;
inline constexpr u8 needs_reset = 0x40;
inline constexpr u8 failed = 0x80;
}  // namespace status

/// No interrupt vector: what every event has after a reset.
inline constexpr u16 no_vector = 0xffff;

namespace pci::common {
inline constexpr reg<u32> device_feature_select{0x00};
inline constexpr reg<u32> device_feature{0x04};
inline constexpr reg<u32> driver_feature_select{0x08};
inline constexpr reg<u32> driver_feature{0x0c};
inline constexpr reg<u16> config_vector{0x10};
inline constexpr reg<u8> device_status{0x14};
inline constexpr reg<u8> config_generation{0x15};
inline constexpr reg<u16> queue_select{0x16};
inline constexpr reg<u16> queue_size{0x18};
inline constexpr reg<u16> queue_vector{0x1a};
inline constexpr reg<u16> queue_enable{0x1c};
inline constexpr reg<u16> queue_notify_off{0x1e};
inline constexpr reg<u64> queue_desc{0x20};
inline constexpr reg<u64> queue_driver{0x28};
inline constexpr reg<u64> queue_device{0x30};
inline constexpr reg<u16> queue_notif_config_data{0x38};  // this and the next only with their features
inline constexpr reg<u16> queue_reset{0x3a};
}  // namespace pci::common

namespace pci::legacy_header {
inline constexpr reg<u32> device_features{0x00};
inline constexpr reg<u32> driver_features{0x04};
inline constexpr reg<u32> queue_pfn{0x08};
inline constexpr reg<u16> queue_size{0x0c};
inline constexpr reg<u16> queue_select{0x0e};
inline constexpr reg<u16> queue_notify{0x10};
inline constexpr reg<u8> device_status{0x12};
inline constexpr reg<u8> isr{0x13};
inline constexpr reg<u16> config_vector{0x14};  // this and the next only while MSI-X is enabled
inline constexpr reg<u16> queue_vector{0x16};
inline constexpr usize config_without_msix = 0x14;
inline constexpr usize config_with_msix = 0x18;
}  // namespace pci::legacy_header

}  // namespace virtio
