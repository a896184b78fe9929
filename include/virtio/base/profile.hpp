// SPDX-License-Identifier: MIT
// Hosts with quirks, each described as data: the ids that it uses for its devices, and the limits that drivers observe.
// Behaviour that is the same on every host is not here. A program that names no profile has no code for any; a bus gets
// one through `pci::profiled` or `mmio::profiled`. Layer: base.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio {

/// A row of an id table, for devices with ids of their own: `{0x0b5d, 0x0777, device_type::vmmci}`.
struct id_row {
  u16 vendor = 0;                        // PCI vendor id
  u16 device = 0;                        // PCI device id
  device_type type = device_type::none;  // what the device is
};

/// An id table of the user or of a host. It has precedence over the specification's rules.
struct id_table {
  const id_row* rows = nullptr;  // owned by the caller, for as long as the table is used
  usize count = 0;               // number of rows

  constexpr id_table() = default;  // no rows
  /// A table with the rows of an array, which must outlive it.
  template <usize N>
  constexpr id_table(const id_row (&table)[N]) : rows{table}, count{N} {}

  /// Returns whether a row has these ids.
  [[nodiscard]] constexpr bool names(u16 vendor, u16 device) const {
    for (usize i = 0; i < count; ++i)
      if (rows[i].vendor == vendor && rows[i].device == device) return true;
    return false;
  }
};

/// The quirks of a host that concern drivers. All-zero: none. A bus with `quirks()` passes them on with each location,
/// and drivers read them at their start.
struct host_quirks {
  /// The storage of a driver must end at or below this device address. 0: no limit.
  u64 storage_end = 0;
  /// The most descriptors that the entropy device may hold at a time. 0: all of the ring.
  u16 entropy_descriptors = 0;
};

namespace hosts {

/// A host by name. `bridge_*` are the ids of the first function on its PCI bus, which detect it; 0: not detectable.
struct profile {
  const char* name = "";  // for messages
  u16 bridge_vendor = 0;  // PCI vendor id of the first function
  u16 bridge_device = 0;  // PCI device id of the first function
  id_table ids{};         // its own ids of devices
  host_quirks quirks{};   // its quirks
};

/// The ids that OpenBSD's vmd adds to those of the specification.
inline constexpr id_row openbsd_vmd_ids[] = {{0x0b5d, 0x0777, device_type::vmmci}};

/// OpenBSD's vmd, from 2018 to 2026, with its legacy and its 1.x devices. Modelled after its sources, which
/// docs/hosts.md names; not run.
inline constexpr profile openbsd_vmd{
    .name = "OpenBSD's vmd",
    .bridge_vendor = 0x0b5d,
    .bridge_device = 0x0666,
    .ids = openbsd_vmd_ids,
    // storage_end: the vmd of 2025 uses each half of a ring's address as soon as it is written, and ends the machine if
    // that is not memory. Below the end of the memory under 4 GiB, one half is the whole address.
    // entropy_descriptors: it looks for a buffer in the entry after the newest one. With one descriptor at a time, each
    // entry names descriptor 0, also an entry that was never written.
    .quirks = {.storage_end = 0xf000'0000, .entropy_descriptors = 1},
};

/// All hosts that can be detected.
inline constexpr const profile* known[] = {&openbsd_vmd};

/// Returns the known host whose bus begins with a function of these ids, null if there is none.
[[nodiscard]] constexpr const profile* behind(u16 vendor, u16 device) {
  for (const profile* const one : known)
    if (one->bridge_vendor == vendor && one->bridge_device == device) return one;
  return nullptr;
}

}  // namespace hosts
}  // namespace virtio
