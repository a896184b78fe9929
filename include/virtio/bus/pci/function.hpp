// SPDX-License-Identifier: MIT
// A PCI function's address and identity, and the configuration registers that the library uses.
// Spec: PCI 3.0, 6.1; virtio 1.4, 4.1.2. Layer: bus/pci.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio::pci {

/// Segment, bus, slot and function. Hosts without these numbers (firmware handles) define their own type.
struct address {     // two words without padding: padding costs masks wherever an address is passed on
  u16 segment = 0;   // segment group
  u8 bus = 0;        // 0 to 255
  u8 slot = 0;       // 0 to 31
  u32 function = 0;  // 0 to 7

  /// Returns the routing id: bus, slot and function in 16 bits.
  [[nodiscard]] constexpr u32 routing_id() const { return u32{bus} << 8 | u32{slot} << 3 | u32{function}; }
  [[nodiscard]] friend constexpr bool operator==(const address&, const address&) = default;
};

/// The ids of a function.
struct identity {
  u16 vendor = 0xffff;       // ffff: no function
  u16 device = 0xffff;       // device id
  u16 subsystem_vendor = 0;  // subsystem vendor id
  u16 subsystem = 0;         // subsystem id
  u8 revision = 0;           // revision id
  u8 header_type = 0;        // bits 0-6: 0 device, 1 bridge; bit 7: multi-function
};

/// Offsets in configuration space, of the aligned dwords that hold the named fields.
namespace config {
inline constexpr u16 id = 0x00;            // vendor, device
inline constexpr u16 command = 0x04;       // command (low half), status (high half, write one to clear)
inline constexpr u16 class_code = 0x08;    // revision in the low byte
inline constexpr u16 header = 0x0c;        // header type in bits 16-23
inline constexpr u16 bar0 = 0x10;          // the first BAR
inline constexpr u16 bus_numbers = 0x18;   // bridges: primary, secondary, subordinate
inline constexpr u16 subsystem = 0x2c;     // subsystem vendor, subsystem
inline constexpr u16 rom = 0x30;           // expansion ROM: address, and bit 0 enables it
inline constexpr u16 bridge_rom = 0x38;    // expansion ROM of bridges
inline constexpr u16 capabilities = 0x34;  // offset of the first capability in the low byte
}  // namespace config

/// Bits of the command half.
namespace command {
inline constexpr u16 io = 0x0001;          // decodes I/O BARs
inline constexpr u16 memory = 0x0002;      // decodes memory BARs
inline constexpr u16 bus_master = 0x0004;  // may access memory
inline constexpr u16 no_line = 0x0400;     // "Interrupt Disable": the interrupt line stays inactive
}  // namespace command

/// The bit of the status half that announces a capability list, in the dword of `config::command`.
inline constexpr u32 status_has_capabilities = u32{0x0010} << 16;

}  // namespace virtio::pci
