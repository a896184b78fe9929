// SPDX-License-Identifier: MIT
// Register offsets of an MMIO slot, from the specification. The first four identify the device.
// Spec: virtio 1.4, 4.2.2 and 4.2.4. Layer: bus/mmio.
#pragma once

#include <virtio/platform/registers.hpp>

/// The registers of a slot, each 32 bits wide (pairs for 64 bits). The documentation names those of only one version.
namespace virtio::mmio::registers {
inline constexpr reg<u32> magic_value{0x000};             // 0x74726976: "virt"
inline constexpr reg<u32> version{0x004};                 // 1: legacy, 2: modern
inline constexpr reg<u32> device_id{0x008};               // device type; 0: empty slot
inline constexpr reg<u32> vendor_id{0x00c};               // vendor
inline constexpr reg<u32> device_features{0x010};         // word of the offered features
inline constexpr reg<u32> device_features_select{0x014};  // number of that word
inline constexpr reg<u32> driver_features{0x020};         // word of the accepted features
inline constexpr reg<u32> driver_features_select{0x024};  // number of that word
inline constexpr reg<u32> guest_page_size{0x028};         // version 1: bytes of a page
inline constexpr reg<u32> queue_select{0x030};            // queue that the queue registers are for
inline constexpr reg<u32> queue_size_max{0x034};          // most entries; 0: no such queue
inline constexpr reg<u32> queue_size{0x038};              // entries that the driver uses
inline constexpr reg<u32> queue_align{0x03c};             // version 1: alignment of the used ring
inline constexpr reg<u32> queue_pfn{0x040};               // version 1: page number of the ring
inline constexpr reg<u32> queue_ready{0x044};             // version 2: 1 enables the queue
inline constexpr reg<u32> queue_notify{0x050};            // doorbell of all queues
inline constexpr reg<u32> interrupt_status{0x060};        // bit 0: queue, bit 1: configuration
inline constexpr reg<u32> interrupt_ack{0x064};           // write one to clear
inline constexpr reg<u32> status{0x070};                  // device status
inline constexpr reg<u64> queue_desc{0x080};              // version 2: descriptor area
inline constexpr reg<u64> queue_driver{0x090};            // version 2: driver area
inline constexpr reg<u64> queue_device{0x0a0};            // version 2: device area
inline constexpr reg<u32> queue_reset{0x0c0};             // version 2: only with RING_RESET
inline constexpr reg<u32> config_generation{0x0fc};       // version 2: changes with the configuration
inline constexpr usize config = 0x100;                    // offset of the device configuration
}  // namespace virtio::mmio::registers
