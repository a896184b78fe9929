// SPDX-License-Identifier: MIT
// The windows of a PCI-to-PCI bridge: which addresses it passes on to the bus behind it.
// Spec: PCI-to-PCI Bridge 1.2, 3.2.5. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/host.hpp>

namespace virtio::pci {

/// A stretch of addresses as the bus sees them.
struct range {
  u64 base = 0;
  u64 size = 0;
};

/// A bridge's three windows. `high` is the one for what may be prefetched, and the only one that can be above 4 GiB.
enum class bridge_window : u8 { io, memory, high };
inline constexpr bridge_window bridge_windows[3] = {bridge_window::io, bridge_window::memory, bridge_window::high};

/// What an implemented window can hold.
enum class window_width : u8 { none, narrow, wide };

/// Windows begin and end on multiples of this.
[[nodiscard]] constexpr u64 granule(bridge_window which) { return which == bridge_window::io ? 0x1000 : 0x100000; }

namespace window_registers {
// By window: the dword with base (lower half of `bits` bits each) and limit, and by how much their upper bits are an address.
inline constexpr u16 dword[3] = {0x1c, 0x20, 0x24};
inline constexpr u8 bits[3] = {8, 16, 16};
inline constexpr u8 shift[3] = {8, 16, 16};
inline constexpr u16 upper_base = 0x28;   // of `high`
inline constexpr u16 upper_limit = 0x2c;
inline constexpr u16 upper_io = 0x30;
}  // namespace window_registers

/// The addresses that a bridge passes on; empty when it passes none.
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
  // Zero is what an absent window reads, and no address that anybody would choose.
  if (base == 0 || limit < base || limit == ~u64{0}) return {};
  return {base, limit - base + 1};
}

/// Makes a bridge pass on `first` to `last`, rounded to the granule; nothing when `first` is larger.
template <config_space H>
void pass_on(const H& h, typename H::function_id id, bridge_window which, u64 first, u64 last) {
  const u8 n = static_cast<u8>(which);
  const u32 mask = (1u << window_registers::bits[n]) - 16u;
  const u32 base = static_cast<u32>(first >> window_registers::shift[n]) & mask;
  const u32 limit = static_cast<u32>(last >> window_registers::shift[n]) & mask;
  if (which == bridge_window::io) h.config_write32(id, window_registers::upper_io, 0);  // there are no ports above 64 KiB
  if (which == bridge_window::high) {
    // Shut in between, since base and limit are in dwords of their own.
    h.config_write32(id, window_registers::dword[n], mask);
    h.config_write32(id, window_registers::upper_base, static_cast<u32>(first >> 32));
    h.config_write32(id, window_registers::upper_limit, static_cast<u32>(last >> 32));
  }
  // Beside the I/O window is the secondary status, write one to clear.
  h.config_write32(id, window_registers::dword[n], limit << window_registers::bits[n] | base);
}

/// Closes a window, and says whether there is one: what is not implemented reads zero.
template <config_space H>
[[nodiscard]] window_width shut(const H& h, typename H::function_id id, bridge_window which) {
  pass_on(h, id, which, ~u64{0}, 0);
  const u32 held = h.config_read32(id, window_registers::dword[static_cast<u8>(which)]);
  if ((held & 0xf0u) == 0) return window_width::none;
  return which == bridge_window::high && (held & 0xfu) == 1 ? window_width::wide : window_width::narrow;
}

}  // namespace virtio::pci
