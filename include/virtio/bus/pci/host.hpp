// SPDX-License-Identifier: MIT
// The PCI host concept: access to configuration space and to BARs. A host reads and writes aligned dwords; narrower
// accesses are derived here. Layer: bus/pci.
#pragma once

#include <virtio/base/report.hpp>
#include <virtio/bus/pci/function.hpp>
#include <virtio/platform/registers.hpp>

namespace virtio::pci {

/// A visitor of functions, for the concept `host`.
template <class Id>
struct function_visitor {
  /// Returns whether to go on.
  bool operator()(const Id&) const;
};

/// A PCI host, a small value like a platform (often the same object):
///  1. `function_id` identifies a function: `pci::address`, or a firmware's handle, a small value;
///  2. `config_read32`/`config_write32(id, offset)` access the aligned dword at `offset` (a multiple of 4, below 256)
///     with one
///     32-bit access; an absent function reads as all ones;
///  3. `bar_space` is a register space, and `bar(id, index)` returns the one of BAR `index`, with its size. Errors:
///     `not_found` (unimplemented, or no address assigned), `out_of_range` (the CPU cannot reach it);
///  4. `each_function(f)` calls `f(id)` for every function that answers, until `f` returns false. `f` is a temporary of
///     any class;
///  5. optional `trace(event)` receives every function and verdict;
///  6. optional `bar_through_window(id, index)` returns the memory BAR for which `bar` returns `out_of_range`, through
///     the device's window in configuration space. Discovery calls it for structures that it cannot reach otherwise.
///     Errors: as `bar`;
///  7. optional `config_write16(id, offset, value)`: one 16-bit write at an even offset. It writes the command register
///     and MSI-X's control, since some hosts (Alioth) ignore wider writes there. If a class defines `config_write32`
///     and inherits this, it is not used, since the two would take different paths;
///  8. optional `root_buses()` returns the buses that no bridge leads to, a `bus_set`; the default is bus 0. For
///     `pci::assign`;
///  9. optional `locate(id, index)` returns the `bar_info` of a BAR, reachable or not. Reports have sizes from it.
///     Error: `not_found` (unimplemented). Not used if a class inherits it and defines `config_read32`;
///  10. optional `id_rows()`, an `id_table`: ids of this host's devices;
///  11. optional `quirks()`, a `host_quirks`: the quirks of the host that concern drivers. `pci::profiled` has both.
/// `pci::cf8` and `pci::ecam` are ready-made. `pci::windowed` adds the window to any host, `pci::multi_root` root
/// buses.
template <class H>
concept host = small_value<H> && register_space<typename H::bar_space> && small_value<typename H::function_id> &&
               requires(const H h, const typename H::function_id& id, u16 offset, u32 value, u8 index) {
                 { h.config_read32(id, offset) } -> same_as<u32>;
                 { h.config_write32(id, offset, value) };
                 { h.bar(id, index) } -> same_as<result<typename H::bar_space>>;
                 { h.each_function(function_visitor<typename H::function_id>{}) };
               };

/// A host with item 6.
template <class H>
concept windowed_host = host<H> && requires(const H h, const typename H::function_id& id, u8 index) {
  { h.bar_through_window(id, index) } -> same_as<result<typename H::bar_space>>;
};

/// Access to configuration space only, for the walks below and for the parts of a host.
template <class H>
concept config_space = requires(const H h, const typename H::function_id& id, u16 offset, u32 value) {
  { h.config_read32(id, offset) } -> same_as<u32>;
  { h.config_write32(id, offset, value) };
};

/// Reads a naturally aligned field of 1, 2 or 4 bytes, as part of its dword. One access.
template <register_value T, config_space H>
[[nodiscard]] T read(const H& h, typename H::function_id id, u16 offset) {
  static_assert(sizeof(T) <= 4);
  const u32 dword = h.config_read32(id, offset & 0xfcu);
  return static_cast<T>(dword >> (offset % 4u * 8u));
}

/// A host with item 7.
template <class H>
concept writes_halves = requires(const H h, const typename H::function_id& id, u16 offset, u16 value) {
  { h.config_write16(id, offset, value) };
  requires virtio::detail::goes_with<&H::config_write16, &H::config_write32>;
};

/// Writes one half of a dword: the upper one if `offset` is not a multiple of 4. A host without 16-bit writes writes
/// the whole dword, with `other` in the other half.
template <config_space H>
void write_half(const H& h, typename H::function_id id, u16 offset, u16 value, u16 other) {
  if constexpr (writes_halves<H>) h.config_write16(id, offset, value);
  else if (offset % 4 == 0) h.config_write32(id, offset, u32{other} << 16 | value);
  else h.config_write32(id, offset & 0xfcu, u32{value} << 16 | other);
}

/// Writes the command half. The status half is write-one-to-clear, so a wider write has zeros there.
template <config_space H>
void write_command(const H& h, typename H::function_id id, u32 value) {
  write_half(h, id, config::command, static_cast<u16>(value), 0);
}

/// The command half before and after a change, as read: not every bit is writable.
struct command_change {
  u32 before = 0;  // before the change
  u32 now = 0;     // after it
};

/// Sets and clears bits of the command half. Cost: one access, or three for a change.
template <config_space H>
command_change change_command(const H& h, typename H::function_id id, u32 set, u32 clear) {
  const u32 before = h.config_read32(id, config::command) & 0xffffu;
  const u32 after = (before | set) & ~clear;
  if (after == before) return {before, before};
  write_command(h, id, after);
  return {before, h.config_read32(id, config::command) & 0xffffu};
}

/// Reads the ids of a function. Four accesses.
template <config_space H>
[[nodiscard]] identity identify(const H& h, typename H::function_id id) {
  const u32 ids = h.config_read32(id, config::id);
  const u32 subsystem = h.config_read32(id, config::subsystem);
  return identity{
      .vendor = static_cast<u16>(ids),
      .device = static_cast<u16>(ids >> 16),
      .subsystem_vendor = static_cast<u16>(subsystem),
      .subsystem = static_cast<u16>(subsystem >> 16),
      .revision = read<u8>(h, id, config::class_code),
      .header_type = static_cast<u8>(h.config_read32(id, config::header) >> 16),
  };
}

/// Calls `visit(address, header type)` for every function on one bus, lowest address first, until it returns false.
/// Returns whether no call did. The header type has no multi-function bit: 0 device, 1 bridge.
template <config_space H, class Visit>
bool each_function_on_bus(const H& h, u16 segment, u8 bus, Visit&& visit) {
  for (u8 slot = 0; slot < 32; ++slot) {
    u8 functions = 1;
    for (u8 function = 0; function < functions; ++function) {
      const address at{segment, bus, slot, function};
      // An absent function reads as all ones, a broken one as zeros. Without function 0 a slot has no functions.
      const u32 ids = h.config_read32(at, config::id);
      if ((ids & 0xffffu) == 0xffffu || ids == 0) continue;
      const u8 type = static_cast<u8>(h.config_read32(at, config::header) >> 16);
      if (function == 0 && (type & 0x80u) != 0) functions = 8;
      if (!visit(at, static_cast<u8>(type & 0x7fu))) return false;
    }
  }
  return true;
}

/// A set of a segment's 256 buses.
struct bus_set {
  u32 words[8]{};  // one bit for each bus

  /// Adds a bus.
  constexpr void add(u32 bus) { words[bus / 32 % 8] |= u32{1} << (bus % 32); }
  /// Returns whether a bus is in the set.
  [[nodiscard]] constexpr bool has(u32 bus) const { return bus < 256 && (words[bus / 32] >> (bus % 32) & 1u) != 0; }
  /// Adds the bus behind a bridge on `bus` with these bus numbers, if it is higher; lower numbers are invalid.
  constexpr void add_behind(u32 numbers, u32 bus) {
    if (const u32 secondary = numbers >> 8 & 0xffu; secondary > bus) add(secondary);
  }
};

/// Returns the root buses of a host, where walks begin.
template <config_space H>
[[nodiscard]] bus_set roots_of(const H& h) {
  if constexpr (requires { h.root_buses(); }) return bus_set{h.root_buses()};
  else return {{1}};
}

/// Returns the segment of a host, 0 if the host has no `segment_number`.
template <config_space H>
[[nodiscard]] u16 segment_of(const H& h) {
  if constexpr (requires { u16{h.segment_number}; }) return h.segment_number;
  else return 0;
}

/// Calls `visit(address)` for every function of a segment, from the host's root buses through bridges, lowest address
/// first, until it returns false. Examines each bus at most once, so a bridge with invalid numbers causes no loop.
template <config_space H, class Visit>
void each_numbered_function(const H& h, u16 segment, Visit&& visit) {
  bus_set reachable = roots_of(h);
  for (u32 bus = 0; bus < 256; ++bus) {
    if (!reachable.has(bus)) continue;
    const bool on = each_function_on_bus(h, segment, static_cast<u8>(bus), [&](address at, u8 type) {
      if (type == 1) reachable.add_behind(h.config_read32(at, config::bus_numbers), bus);
      return bool{visit(at)};
    });
    if (!on) return;
  }
}

}  // namespace virtio::pci
