// SPDX-License-Identifier: MIT
// A PCI function's place and identity, and the configuration registers that the library reads.
// Spec: PCI 3.0, 6.1; virtio 1.4, 4.1.2. Layer: bus/pci.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio::pci {

/// Segment, bus, slot and function. Hosts without such numbers (firmware handles) have a type of their own.
struct address {  // two whole words: padding would cost masks wherever an address is handed on
  u16 segment = 0;
  u8 bus = 0;
  u8 slot = 0;
  u32 function = 0;

  /// The routing id: bus, slot and function in 16 bits.
  [[nodiscard]] constexpr u32 routing_id() const {
    return u32{bus} << 8 | u32{slot} << 3 | u32{function};
  }
  [[nodiscard]] friend constexpr bool operator==(const address&, const address&) = default;
};

/// What a function says it is.
struct identity {
  u16 vendor = 0xffff;
  u16 device = 0xffff;
  u16 subsystem_vendor = 0;
  u16 subsystem = 0;
  u8 revision = 0;
  u8 header_type = 0;
};

/// Offsets in configuration space, of the aligned dwords that hold the named fields.
namespace config {
inline constexpr u16 id = 0x00;            // vendor, device
inline constexpr u16 command = 0x04;       // command (low half), status (high half, write one to clear)
inline constexpr u16 class_code = 0x08;    // revision in the low byte
inline constexpr u16 header = 0x0c;        // header type in bits 16-23
inline constexpr u16 bar0 = 0x10;
inline constexpr u16 bus_numbers = 0x18;   // bridges: primary, secondary, subordinate
inline constexpr u16 subsystem = 0x2c;     // subsystem vendor, subsystem
inline constexpr u16 rom = 0x30;           // expansion ROM: address, and in bit 0 whether it is on
inline constexpr u16 bridge_rom = 0x38;    // of bridges
inline constexpr u16 capabilities = 0x34;  // offset of the first capability in the low byte
}  // namespace config

/// Bits of the command half.
namespace command {
inline constexpr u16 io = 0x0001;
inline constexpr u16 memory = 0x0002;
inline constexpr u16 bus_master = 0x0004;
inline constexpr u16 no_line = 0x0400;  // "Interrupt Disable": the interrupt line stays down
}  // namespace command

inline constexpr u32 status_has_capabilities = u32{0x0010} << 16;

}  // namespace virtio::pci
