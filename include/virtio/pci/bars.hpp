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

/// Decodes and sizes BAR `index` (0 to 5). Errors: `not_found` for an unimplemented BAR or index, or for the upper half of
/// a 64-bit one that a device names by mistake. A BAR with size and without address comes back with base 0.
/// Cost: at most 11 configuration accesses. Not while the device is in use: its decoding pauses.
template <config_space H>
[[nodiscard]] result<bar_info> probe_bar(const H& h, typename H::function_id id, u8 index) {
  const u8 bars = (read<u8>(h, id, config::header + 2) & 0x7fu) == 1 ? 2 : 6;
  if (index >= bars) return errc::not_found;
  const u16 at = static_cast<u16>(config::bar0 + 4 * index);
  const u32 low = h.config_read32(id, at);
  const bool io = (low & 1u) != 0;
  const bool wide = !io && (low & 6u) == 4u;
  if (wide && index + 1 >= bars) return errc::not_found;
  const u32 high = wide ? h.config_read32(id, static_cast<u16>(at + 4)) : 0;

  const u32 decoding = h.config_read32(id, config::command) & 0xffffu;
  h.config_write32(id, config::command, decoding & ~u32{command::io | command::memory});
  h.config_write32(id, at, 0xffffffffu);
  const u32 low_mask = h.config_read32(id, at);
  h.config_write32(id, at, low);
  u32 high_mask = 0xffffffffu;
  if (wide) {
    h.config_write32(id, static_cast<u16>(at + 4), 0xffffffffu);
    high_mask = h.config_read32(id, static_cast<u16>(at + 4));
    h.config_write32(id, static_cast<u16>(at + 4), high);
  }
  h.config_write32(id, config::command, decoding);

  bar_info out;
  out.is_64bit = wide;
  if (io) {
    // A device may hardwire the upper 16 bits of an I/O BAR to zero.
    const u32 mask = (low_mask & ~u32{3}) | 0xffff0000u;
    if ((low_mask & ~u32{3}) == 0) return errc::not_found;
    out.kind = bar_kind::io;
    out.base = low & ~u32{3};
    out.size = u64{~mask} + 1;
    return out;
  }
  const u64 mask = u64{high_mask} << 32 | (low_mask & ~u32{15});
  if ((low_mask & ~u32{15}) == 0 && (!wide || high_mask == 0)) return errc::not_found;
  out.kind = bar_kind::memory;
  out.base = u64{high} << 32 | (low & ~u32{15});
  out.size = ~mask + 1;
  return out;
}

}  // namespace virtio::pci
