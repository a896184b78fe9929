// SPDX-License-Identifier: MIT
// Base address registers: kind, address and size. Sizing writes all ones and restores the value. The function's
// decoding is off meanwhile, so that it does not answer at wrong addresses.
// Spec: PCI 3.0, 6.2.5.1. Layer: bus/pci.
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/bus/pci/host.hpp>

namespace virtio::pci {

/// The address space of a BAR.
enum class bar_kind : u8 { none, io, memory };

/// A decoded BAR.
struct bar_info {
  bar_kind kind = bar_kind::none;  // I/O or memory
  bool is_64bit = false;           // uses the next BAR as its upper half
  bool is_prefetchable = false;    // memory that may be prefetched
  u64 base = 0;                    // bus address; 0: not assigned
  u64 size = 0;                    // bytes
};

/// Returns a dword of a BAR (low half), and which of its bits are writable (high half). Restores the dword. Four
/// accesses.
template <config_space H>
[[nodiscard]] u64 probe_dword(const H& h, typename H::function_id id, u16 at) {
  const u32 value = h.config_read32(id, at);
  h.config_write32(id, at, 0xffffffffu);
  const u32 ones = h.config_read32(id, at);
  h.config_write32(id, at, value);
  return u64{ones} << 32 | value;
}

/// Decodes and sizes BAR `index` (0 to 5, of a bridge 0 and 1). A BAR without an address has base 0. Error: `not_found`
/// for an unimplemented BAR or index. Cost: at most 13 configuration accesses. Not while the device is in use: its
/// decoding pauses.
template <config_space H>
[[nodiscard]] result<bar_info> probe_bar(const H& h, typename H::function_id id, u8 index) {
  // The bus numbers of a bridge follow its two BARs; a 64-bit BAR in the last place has no upper half.
  const u32 header = h.config_read32(id, config::header);
  const u8 last = (header & 0x7f0000u) != 0 ? 1 : 5;
  if (index > last || header == 0xffffffffu) return errc::not_found;  // all ones: no function
  const u32 decoding = h.config_read32(id, config::command) & 0xffffu;
  write_command(h, id, decoding & ~u32{command::io | command::memory});
  // A 64-bit memory BAR has its upper half in the next dword. Other code never treats that half as a separate BAR.
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

/// A host with item 9.
template <class H>
concept locating_host = requires(const H h, const typename H::function_id& id, u8 index) {
  { h.locate(id, index) } -> same_as<result<bar_info>>;
  requires virtio::detail::goes_with<&H::locate, &H::config_read32>;
};

/// Adds address and size of the BAR to a report whose verdict is about a BAR: from the host's `locate`, else the
/// address only, without sizing. With other verdicts the BAR number may be invalid, since it comes from the device.
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
