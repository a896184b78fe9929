// SPDX-License-Identifier: MIT
// The address of this machine's configuration space in memory, from its firmware.
#pragma once

#include <virtio/bus/pci/mcfg.hpp>

#include "board.hpp"

namespace boot {

/// Finds an ACPI table by its four letters. Errors: `not_found` without ACPI or such a table, `invalid_argument` if the
/// loader's address of ACPI's root is wrong.
[[nodiscard]] inline virtio::result<virtio::const_bytes> find_table(virtio::const_bytes signature) {
  // The tables are in the mapped first 4 GiB.
  const auto view = [](uint64_t address, size_t size) -> virtio::const_bytes {
    constexpr uint64_t end = uint64_t{1} << 32;
    if (address == 0 || address > end || size > end - address) return {};
    return {reinterpret_cast<const void*>(static_cast<uintptr_t>(address)), size};
  };
  if (rsdp() == 0) return virtio::errc::not_found;
  return virtio::pci::acpi::find_table(view(rsdp(), 36), signature, view);
}

/// Returns the host for a PCI segment of the MCFG table. Errors: those of `find_table` (QEMU's pc and microvm have no
/// such table) and of `mcfg::segment`.
[[nodiscard]] inline virtio::result<virtio::pci::ecam_with_ports<device_memory>> find_ecam(uint16_t segment = 0) {
  return find_table(virtio::text("MCFG"))
      .and_then(virtio::pci::mcfg::read)
      .and_then(
          [&](const virtio::pci::mcfg& table) { return table.segment<virtio::io_space>(segment, device_memory{}); });
}

}  // namespace boot
