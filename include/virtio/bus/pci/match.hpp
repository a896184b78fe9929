// SPDX-License-Identifier: MIT
// Which PCI functions are virtio devices, and of which type. A rule covers the whole id range: a gap in a kernel's
// table cost its users two days. Revision and class code are ignored.
// Spec: virtio 1.4, 4.1.2 and 4.1.2.3 (legacy). Layer: bus/pci.
#pragma once

#include <virtio/base/profile.hpp>
#include <virtio/base/report.hpp>
#include <virtio/bus/pci/function.hpp>

namespace virtio::pci {

inline constexpr u16 virtio_vendor = 0x1af4;          // PCI vendor id
inline constexpr u16 first_transitional_id = 0x1000;  // PCI device ids of transitional devices
inline constexpr u16 first_modern_id = 0x1040;        // plus the device type
inline constexpr u16 last_modern_id = 0x107f;         // the end of virtio's ids

using virtio::id_row;    // a row of an id table
using virtio::id_table;  // an id table

/// The result of matching ids: `usable` with a type, or the reason why not.
struct match {
  verdict why = verdict::not_virtio;     // `usable`, or the reason
  device_type type = device_type::none;  // with `usable`
  bool may_be_legacy = false;            // a legacy device, if it has no virtio capabilities
};

/// Returns the type for a transitional id, from the list in 4.1.2. Used if the subsystem id is 0.
[[nodiscard]] constexpr device_type transitional_type(u16 device) {
  switch (device) {
    case 0x1000: return device_type::network;
    case 0x1001: return device_type::block;
    case 0x1002: return device_type::balloon;
    case 0x1003: return device_type::console;
    case 0x1004: return device_type::scsi;
    case 0x1005: return device_type::entropy;
    case 0x1009: return device_type::filesystem_9p;
    default: return device_type::none;
  }
}

/// Which interfaces a device with these ids may have.
enum class interfaces : bool { modern, modern_or_legacy };

/// Returns `usable` with a type, or `otherwise` if the type is `none`.
[[nodiscard]] constexpr match matched(device_type type, verdict otherwise, interfaces allowed) {
  if (type == device_type::none) return {.why = otherwise};
  return {verdict::usable, type, allowed == interfaces::modern_or_legacy};
}

/// Returns whether the ids are those of a virtio device, and its type. Rows of `extra` have precedence. Spec: 4.1.2.
[[nodiscard]] constexpr match match_ids(const identity& who, id_table extra = {}) {
  for (usize i = 0; i < extra.count; ++i) {
    const id_row& row = extra.rows[i];
    if (row.vendor == who.vendor && row.device == who.device)
      return matched(row.type, verdict::id_without_type, interfaces::modern_or_legacy);
  }
  if (who.vendor != virtio_vendor) return {};
  if (who.device < first_transitional_id || who.device > last_modern_id) return {.why = verdict::id_outside_ranges};
  const bool transitional = who.device < first_modern_id;
  device_type type = static_cast<device_type>(who.device - first_modern_id);
  if (transitional) {
    type = static_cast<device_type>(who.subsystem);  // 4.1.2.3: the subsystem device id is the virtio device id
    if (type == device_type::none) type = transitional_type(who.device);
  }
  return matched(type, transitional ? verdict::type_unknown : verdict::id_without_type,
                 transitional ? interfaces::modern_or_legacy : interfaces::modern);
}

}  // namespace virtio::pci
