// SPDX-License-Identifier: MIT
// Hosts with quirks of their own, each as a description in data: the ids behind which it hides devices, and what
// drivers have to know of it. What the library does the same way on every host is not in here. A program that names no
// profile has no code for any: a bus takes one on by `pci::profiled` or `mmio::profiled`. Layer: base.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio {

/// A row of an id table, for devices that hide behind other ids: `{0x0b5d, 0x0777, device_type::vmmci}`.
struct id_row {
  u16 vendor = 0;
  u16 device = 0;
  device_type type = device_type::none;
};

/// The user's id table, or a host's; it is asked before the specification's rules.
struct id_table {
  const id_row* rows = nullptr;
  usize count = 0;

  constexpr id_table() = default;
  template <usize N>
  constexpr id_table(const id_row (&table)[N]) : rows{table}, count{N} {}

  /// Whether a row is about these ids.
  [[nodiscard]] constexpr bool names(u16 vendor, u16 device) const {
    for (usize i = 0; i < count; ++i)
      if (rows[i].vendor == vendor && rows[i].device == device) return true;
    return false;
  }
};

/// What a host does in a way of its own that a driver has to know. All-zero: nothing. A bus that has `quirks()` passes
/// them on with each location that it gives, and drivers ask at their start.
struct host_quirks {
  /// A driver's storage must end at or below this address, as the device sees it. 0: anywhere will do.
  u64 storage_end = 0;
  /// The most descriptors that the entropy device may have at a time. 0: as many as the ring has.
  u16 entropy_descriptors = 0;
};

namespace hosts {

/// A host by name. `bridge_*` are the ids of the first function on its PCI bus, by which it is detected; 0: it is not.
struct profile {
  const char* name = "";
  u16 bridge_vendor = 0;
  u16 bridge_device = 0;
  id_table ids{};
  host_quirks quirks{};
};

inline constexpr id_row openbsd_vmd_ids[] = {{0x0b5d, 0x0777, device_type::vmmci}};

/// OpenBSD's vmd, from 2018 to 2026, with its devices of before 1.0 and of 1.x. It was modelled after its sources,
/// which docs/hosts.md names, and not run.
inline constexpr profile openbsd_vmd{
    .name = "OpenBSD's vmd",
    .bridge_vendor = 0x0b5d,
    .bridge_device = 0x0666,
    .ids = openbsd_vmd_ids,
    // storage_end: the vmd of 2025 takes each half of an address that is written for a ring's place, and ends the
    // machine when that is not memory. Below the end of the memory under 4 GiB one half is the whole address.
    // entropy_descriptors: it looks for a buffer in the entry behind the newest one. With one descriptor at a time each
    // entry names descriptor 0, those that were never written, too.
    .quirks = {.storage_end = 0xf000'0000, .entropy_descriptors = 1},
};

/// All that can be detected.
inline constexpr const profile* known[] = {&openbsd_vmd};

/// The known host whose bus begins with a function of these ids, null for others.
[[nodiscard]] constexpr const profile* behind(u16 vendor, u16 device) {
  for (const profile* const one : known)
    if (one->bridge_vendor == vendor && one->bridge_device == device) return one;
  return nullptr;
}

}  // namespace hosts
}  // namespace virtio
