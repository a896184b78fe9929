// SPDX-License-Identifier: MIT
// Base address registers: what they decode, where and how much. Sizing writes all ones and restores, with the function's
// decoding switched off meanwhile so that nothing else on the bus answers at the wrong place.
// Spec: PCI 3.0, 6.2.5.1. Layer: bus/pci.
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/bus/pci/host.hpp>

namespace virtio::pci {

enum class bar_kind : u8 { none, io, memory };

struct bar_info {
  bar_kind kind = bar_kind::none;
  bool is_64bit = false;
  bool is_prefetchable = false;
  u64 base = 0;
  u64 size = 0;
};

/// What a dword of BARs holds (low half), and which of its bits take a one (high half).
template <config_space H>
[[nodiscard]] u64 probe_dword(const H& h, typename H::function_id id, u16 at) {
  const u32 value = h.config_read32(id, at);
  h.config_write32(id, at, 0xffffffffu);
  const u32 ones = h.config_read32(id, at);
  h.config_write32(id, at, value);
  return u64{ones} << 32 | value;
}

/// Decodes and sizes BAR `index` (0 to 5, of a bridge 0 and 1). Errors: `not_found` for an unimplemented BAR or index. A BAR with
/// size and without address comes back with base 0. Cost: at most 13 configuration accesses. Not while the device is in use: its
/// decoding pauses.
template <config_space H>
[[nodiscard]] result<bar_info> probe_bar(const H& h, typename H::function_id id, u8 index) {
  // Behind the two BARs of a bridge are its bus numbers; a 64-bit BAR in the last place has no upper half.
  const u32 header = h.config_read32(id, config::header);
  const u8 last = (header & 0x7f0000u) != 0 ? 1 : 5;
  if (index > last || header == 0xffffffffu) return errc::not_found;  // all ones: nothing is there
  const u32 decoding = h.config_read32(id, config::command) & 0xffffu;
  write_command(h, id, decoding & ~u32{command::io | command::memory});
  // The one dword, and behind a 64-bit memory BAR its upper half; that half is a BAR of its own to nobody else.
  const u16 at = static_cast<u16>(config::bar0 + 4u * index);
  const u64 lower = probe_dword(h, id, at);
  const bool wide = (lower & 7u) == 4u && index != last;
  const u64 upper = wide ? probe_dword(h, id, static_cast<u16>(at + 4)) : 0;
  write_command(h, id, decoding);

  bar_info out;
  const bool io = (lower & 1u) != 0;
  const u32 flags = io ? 3 : 15;
  u32 ones = static_cast<u32>(lower >> 32) & ~flags;
  u32 upper_ones = static_cast<u32>(upper >> 32);
  if ((ones | upper_ones) == 0) return errc::not_found;
  if (!wide) upper_ones = 0xffffffffu;
  if (io) ones |= 0xffff0000u;  // a device may hardwire the upper 16 bits of an I/O BAR to zero
  out.kind = io ? bar_kind::io : bar_kind::memory;
  out.is_64bit = wide;
  out.is_prefetchable = (lower & 9u) == 8u;
  out.base = upper << 32 | (static_cast<u32>(lower) & ~flags);
  out.size = ~(u64{upper_ones} << 32 | ones) + 1;
  return out;
}

/// A host that says where a BAR is, reachable or not.
template <class H>
concept locating_host = requires(const H h, const typename H::function_id& id, u8 index) {
  { h.locate(id, index) } -> same_as<result<bar_info>>;
  requires virtio::detail::goes_with<&H::locate, &H::config_read32>;
};

/// Adds to a report, where its verdict is about a BAR, where that is and how large: what the host's `locate` says, or else what can be
/// known without sizing. Other verdicts may come with a number that no BAR has, as the device says it.
template <config_space H>
[[gnu::cold, gnu::noinline]] void add_bar(const H& h, typename H::function_id id, report& out) {
  if (out.why < verdict::bar_unassigned || out.why > verdict::bar_too_small) return;
  if constexpr (locating_host<H>) {
    const result<bar_info> bar = h.locate(id, out.bar);
    if (!bar) return;
    out.bar_address = bar->base;
    out.bar_size = bar->size;
  } else {
    const u16 at = static_cast<u16>(config::bar0 + 4u * out.bar);
    const u32 lower = h.config_read32(id, at);
    const u32 upper = (lower & 7u) == 4u ? h.config_read32(id, static_cast<u16>(at + 4)) : 0;
    out.bar_address = u64{upper} << 32 | (lower & ~((lower & 1u) != 0 ? 3u : 15u));
  }
}

}  // namespace virtio::pci
