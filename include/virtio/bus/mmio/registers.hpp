// SPDX-License-Identifier: MIT
// Register offsets of an MMIO slot, as the specification numbers them. The first four say what the slot is.
// Spec: virtio 1.4, 4.2.2 and 4.2.4. Layer: bus/mmio.
#pragma once

#include <virtio/platform/registers.hpp>

/// One page of registers for each device, all of them 32 bits wide; what only one version has says so.
namespace virtio::mmio::registers {
inline constexpr reg<u32> magic_value{0x000};
inline constexpr reg<u32> version{0x004};
inline constexpr reg<u32> device_id{0x008};
inline constexpr reg<u32> vendor_id{0x00c};
inline constexpr reg<u32> device_features{0x010};
inline constexpr reg<u32> device_features_select{0x014};
inline constexpr reg<u32> driver_features{0x020};
inline constexpr reg<u32> driver_features_select{0x024};
inline constexpr reg<u32> guest_page_size{0x028};  // version 1
inline constexpr reg<u32> queue_select{0x030};
inline constexpr reg<u32> queue_size_max{0x034};
inline constexpr reg<u32> queue_size{0x038};
inline constexpr reg<u32> queue_align{0x03c};      // version 1
inline constexpr reg<u32> queue_pfn{0x040};        // version 1
inline constexpr reg<u32> queue_ready{0x044};
inline constexpr reg<u32> queue_notify{0x050};
inline constexpr reg<u32> interrupt_status{0x060};
inline constexpr reg<u32> interrupt_ack{0x064};
inline constexpr reg<u32> status{0x070};
inline constexpr reg<u64> queue_desc{0x080};
inline constexpr reg<u64> queue_driver{0x090};
inline constexpr reg<u64> queue_device{0x0a0};
inline constexpr reg<u32> queue_reset{0x0c0};
inline constexpr reg<u32> config_generation{0x0fc};
inline constexpr usize config = 0x100;
}  // namespace virtio::mmio::registers
