// SPDX-License-Identifier: MIT
// The windows of a PCI-to-PCI bridge: the addresses that it passes on to the bus behind it.
// Spec: PCI-to-PCI Bridge 1.2, 3.2.5. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/host.hpp>

namespace virtio::pci {

/// A range of bus addresses.
struct range {
  u64 base = 0;  // the first address
  u64 size = 0;  // bytes
};

/// A bridge's three windows. `high` is the window for prefetchable memory, and the only one that can be above 4 GiB.
enum class bridge_window : u8 { io, memory, high };
/// The three windows.
inline constexpr bridge_window bridge_windows[3] = {bridge_window::io, bridge_window::memory, bridge_window::high};

/// The addresses that a window supports: none (not implemented), 32 bits, or 64 bits.
enum class window_width : u8 { none, narrow, wide };

/// Returns the alignment of a window's ends, in bytes.
[[nodiscard]] constexpr u64 granule(bridge_window which) { return which == bridge_window::io ? 0x1000 : 0x100000; }

/// Registers of the windows. Arrays are indexed by `bridge_window`.
namespace window_registers {
inline constexpr u16 dword[3] = {0x1c, 0x20, 0x24};  // base in the low half, limit in the high half
inline constexpr u8 bits[3] = {8, 16, 16};           // bits of each half
inline constexpr u8 shift[3] = {8, 16, 16};          // position of a half in an address
inline constexpr u16 upper_base = 0x28;              // upper 32 bits of the base of `high`
inline constexpr u16 upper_limit = 0x2c;             // upper 32 bits of the limit of `high`
inline constexpr u16 upper_io = 0x30;                // upper 16 bits of base and limit of `io`
}  // namespace window_registers

/// Returns the addresses that a bridge passes on; empty if it passes none.
template <config_space H>
[[nodiscard]] range passed_on(const H& h, typename H::function_id id, bridge_window which) {
  const u8 n = static_cast<u8>(which);
  const u32 both = h.config_read32(id, window_registers::dword[n]);
  const u32 mask = (1u << window_registers::bits[n]) - 16u;
  u64 base = u64{both & mask} << window_registers::shift[n];
  u64 limit = u64{both >> window_registers::bits[n] & mask} << window_registers::shift[n];
  if (which == bridge_window::high && (both & 0xfu) == 1) {
    base |= u64{h.config_read32(id, window_registers::upper_base)} << 32;
    limit |= u64{h.config_read32(id, window_registers::upper_limit)} << 32;
  }
  limit |= granule(which) - 1;
  // An absent window reads as zero, which is not a usable address.
  if (base == 0 || limit < base || limit == ~u64{0}) return {};
  return {base, limit - base + 1};
}

/// Makes a bridge pass on `first` to `last`, rounded to the granule; no address if `first` is larger.
template <config_space H>
void pass_on(const H& h, typename H::function_id id, bridge_window which, u64 first, u64 last) {
  const u8 n = static_cast<u8>(which);
  const u32 mask = (1u << window_registers::bits[n]) - 16u;
  const u32 base = static_cast<u32>(first >> window_registers::shift[n]) & mask;
  const u32 limit = static_cast<u32>(last >> window_registers::shift[n]) & mask;
  if (which == bridge_window::io) h.config_write32(id, window_registers::upper_io, 0);  // no ports above 64 KiB
  if (which == bridge_window::high) {
    // Closed in between, since base and limit are in separate dwords.
    h.config_write32(id, window_registers::dword[n], mask);
    h.config_write32(id, window_registers::upper_base, static_cast<u32>(first >> 32));
    h.config_write32(id, window_registers::upper_limit, static_cast<u32>(last >> 32));
  }
  // The upper half of the I/O window's dword is the secondary status, which is write-one-to-clear.
  h.config_write32(id, window_registers::dword[n], limit << window_registers::bits[n] | base);
}

/// Closes a window, and returns its width. An unimplemented window reads as zero.
template <config_space H>
[[nodiscard]] window_width shut(const H& h, typename H::function_id id, bridge_window which) {
  pass_on(h, id, which, ~u64{0}, 0);
  const u32 held = h.config_read32(id, window_registers::dword[static_cast<u8>(which)]);
  if ((held & 0xf0u) == 0) return window_width::none;
  return which == bridge_window::high && (held & 0xfu) == 1 ? window_width::wide : window_width::narrow;
}

}  // namespace virtio::pci
