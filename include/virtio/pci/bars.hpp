// SPDX-License-Identifier: MIT
// Base address registers: what they decode, where and how much. Sizing writes all ones and restores, with the function's
// decoding switched off meanwhile so that nothing else on the bus answers at the wrong place.
// Spec: PCI 3.0, 6.2.5.1. Layer: pci.
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/pci/host.hpp>

namespace virtio::pci {

enum class bar_kind : u8 { none, io, memory };

struct bar_info {
  bar_kind kind = bar_kind::none;
  bool is_64bit = false;
  u64 base = 0;
  u64 size = 0;
};

/// Decodes and sizes BAR `index` (0 to 5). Errors: `not_found` for an unimplemented BAR or index. A BAR with size and without
/// address comes back with base 0. Cost: at most 12 configuration accesses. Not while the device is in use: its decoding pauses.
template <config_space H>
[[nodiscard]] result<bar_info> probe_bar(const H& h, typename H::function_id id, u8 index) {
  if (index > 5) return errc::not_found;
  const u32 decoding = h.config_read32(id, config::command) & 0xffffu;
  h.config_write32(id, config::command, decoding & ~u32{command::io | command::memory});
  u64 base = 0;
  u64 mask = 0xffff'ffff'0000'0000;
  bool wide = false;
  // The one dword, and behind a 64-bit memory BAR its upper half; that half is a BAR of its own to nobody else.
  for (u32 half = 0; half == 0 || (half == 1 && wide && index != 5); ++half) {
    const u16 at = static_cast<u16>(config::bar0 + 4u * (index + half));
    const u32 value = h.config_read32(id, at);
    h.config_write32(id, at, 0xffffffffu);
    const u32 ones = h.config_read32(id, at);
    h.config_write32(id, at, value);
    if (half == 0) {
      wide = (value & 7u) == 4u;
      base = value;
      mask |= ones;
    } else {
      base |= u64{value} << 32;
      mask &= u64{ones} << 32 | 0xffffffffu;
    }
  }
  h.config_write32(id, config::command, decoding);

  bar_info out;
  const bool io = (base & 1u) != 0;
  const u64 flags = io ? 3 : 15;
  out.base = base & ~flags;
  mask &= ~flags;
  if (io) mask |= 0xffff0000u;  // a device may hardwire the upper 16 bits of an I/O BAR to zero
  if (static_cast<u32>(mask) == (io ? 0xffff0000u : 0u) && (!wide || mask >> 32 == 0)) return errc::not_found;
  out.size = ~mask + 1;
  out.is_64bit = wide;
  out.kind = io ? bar_kind::io : bar_kind::memory;
  return out;
}

}  // namespace virtio::pci
