// SPDX-License-Identifier: MIT
// Assigns addresses to BARs and numbers to buses that have none: on machines without firmware, and for a device that
// was plugged in later. All state is in the registers: assigned addresses stay, and another call places only new BARs.
//
// A bus is walked once. Each BAR without an address gets the next free range of its window, aligned to its size. Behind
// a bridge with open windows, those windows are used. A closed window is opened over exactly the BARs that were placed
// behind it.
// Spec: PCI 3.0, 6.2.5.1; PCI-to-PCI Bridge 1.2, 3.2.5. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/bars.hpp>
#include <virtio/bus/pci/bridge.hpp>

namespace virtio::pci {

/// The addresses that a board provides for devices: its host bridge sends them to the bus, and they have no other use.
/// Addresses inside that firmware has assigned are found and kept.
struct windows {
  range io{};         // ports below 64 KiB; empty: I/O BARs get no address
  range memory{};     // below 4 GiB, for all memory BARs. Addresses beyond the limits of `io` and `memory` are not used
  range high{};       // for 64-bit BARs without room in `memory`
  u8 last_bus = 255;  // the highest bus number to use
};

/// The result of `assign`.
struct assignment {
  u16 placed = 0;        // BARs that got an address
  u16 unplaced = 0;      // BARs without room
  u16 bridges = 0;       // bridges that got bus numbers
  u16 bridges_left = 0;  // bridges not crossed: nested too deep (8), no bus number left, or a duplicate one
};

/// The implementation of `assign`. Programs call `assign`.
template <config_space H>
class assigner {
 public:
  /// Prepares a walk of one segment.
  constexpr assigner(const H& host, u16 segment) : host_{host}, roots_{roots_of(host)}, segment_{segment} {}

  /// Assigns addresses and bus numbers, see `assign`.
  // A large BAR after a small one may leave a gap before it that fits a later BAR. So the walk is repeated while that
  // leaves fewer BARs unplaced: a walk treats BARs of the previous walk like BARs that firmware placed. A BAR that
  // loses its address is placed by each walk, and does not make the number smaller.
  assignment run(const windows& given) {
    assignment all{.unplaced = 0xffff};
    for (bool fewer = true; fewer;) {
      done_ = {};
      passes_ = 0;
      walked_ = {};
      areas root{{fresh(kind::io, given.io), fresh(kind::memory, given.memory), fresh(kind::high, given.high)}};
      for (u32 bus = 0; bus <= given.last_bus; ++bus) {
        if (!roots_.has(bus)) continue;
        u8 last = static_cast<u8>(bus);  // numbers below the next root bus belong to this one
        while (last < given.last_bus && !roots_.has(last + 1u)) ++last;
        (void)assign_bus(static_cast<u8>(bus), last, root, 0);
      }
      fewer = done_.unplaced != 0 && done_.unplaced < all.unplaced;
      all = {static_cast<u16>(all.placed + done_.placed), done_.unplaced, static_cast<u16>(all.bridges + done_.bridges),
             done_.bridges_left};
    }
    return all;
  }

 private:
  static constexpr u32 deepest = 8;  // nested bridges: each level costs stack
  /// Over the ranges of a bus in search of a gap, in total: a host may report invalid ranges.
  static constexpr u32 most_passes = 4096;

  using kind = bridge_window;

  // A window and its current gap: free from `next` to `gap_end`. The next gap begins at or after `gap_end`.
  struct area {
    u64 next = 0;
    u64 gap_end = 0;
    u64 end = 0;
  };
  struct areas {
    area list[3]{};
    area& of(kind k) { return list[static_cast<u8>(k)]; }
    const area& of(kind k) const { return list[static_cast<u8>(k)]; }
  };

  static constexpr area fresh(kind k, range from) {
    // The limit of addresses in a BAR of the kind. A higher address would be truncated.
    const u64 reach = k == kind::io ? u64{1} << 16 : k == kind::memory ? u64{1} << 32 : ~u64{0};
    const u64 end = virtio::detail::smaller(from.base + from.size, reach);
    // Zero means "no address" in a BAR, so it is never assigned.
    const u64 base = from.base == 0 ? 1 : from.base;
    return end > base ? area{base, base, end} : area{};
  }

  // Walks one bus and all buses behind it. Returns the highest bus number in use.
  [[gnu::noinline]] u8 assign_bus(u8 bus, u8 last, areas& free, u32 depth) {
    u8 used = highest(bus, last);
    each_function_on_bus(host_, segment_, bus, [&](address at, u8 type) {
      const bool bridge = type == 1;
      if (type <= 1) place_all(at, bridge ? 2 : 6, free, depth);
      if (bridge && !(depth < deepest && cross(at, last, used, free, depth))) ++done_.bridges_left;
      return true;
    });
    return used;
  }

  // Walks the bus behind a bridge. False: it was not walked.
  bool cross(address at, u8 last, u8& used, areas& free, u32 depth) {
    u32 numbers = host_.config_read32(at, config::bus_numbers);
    const bool numbered = has_number(numbers, at.bus, last);
    if (!numbered) {
      if (used == last) return false;
      // The bridge gets all remaining numbers during the walk, and the used ones afterwards.
      numbers = (numbers & 0xff000000u) | u32{last} << 16 | (used + 1u) << 8 | at.bus;
      host_.config_write32(at, config::bus_numbers, numbers);
      ++done_.bridges;
    }
    const u8 secondary = static_cast<u8>(numbers >> 8);
    if (walked_.has(secondary)) return false;  // the bus of another bridge
    walked_.add(secondary);

    areas behind{};
    bool closed[3]{};
    for (const kind k : bridge_windows) closed[static_cast<u8>(k)] = !open_window(at, k, free.of(k), behind.of(k));
    const areas before = behind;
    const u8 reached = assign_bus(secondary, static_cast<u8>(numbers >> 16), behind, depth + 1);
    if (!numbered) {
      used = reached;
      host_.config_write32(at, config::bus_numbers, (numbers & 0xff00ffffu) | u32{reached} << 16);
    }
    for (const kind k : bridge_windows)
      if (closed[static_cast<u8>(k)] && behind.of(k).next != before.of(k).next)
        free.of(k).next = open(at, k, before.of(k).next, behind.of(k).next);
    change_command(host_, at, command::io | command::memory | command::bus_master, 0);
    return true;
  }

  // Finds the addresses for use behind a bridge: its own window if that is open (true), else the rest of the parent's
  // gap.
  bool open_window(address at, kind k, area& parent, area& out) {
    if (const range now = passed_on(host_, at, k); now.size != 0) {
      out = fresh(k, now);
      return true;
    }
    const u64 coarse = granule(k);
    const window_width width = shut(host_, at, k);
    if (width == window_width::none) return false;
    area front = parent;
    do {
      const u64 start = (front.next + (coarse - 1)) & ~(coarse - 1);
      u64 end = front.gap_end & ~(coarse - 1);
      if (width == window_width::narrow) end = virtio::detail::smaller(end, u64{1} << 32);
      if (start >= front.next && start < end) {
        parent = front;
        out = {start, start, end};  // no gap yet: functions behind the bridge may have addresses in it
        return false;
      }
    } while (find_gap(at.bus, k, front));
    return false;
  }

  // Opens a closed window over [start, end), rounded to its granule. Returns its end.
  u64 open(address at, kind k, u64 start, u64 end) {
    const u64 whole = (end + (granule(k) - 1)) & ~(granule(k) - 1);
    pass_on(host_, at, k, start, whole - 1);
    return whole;
  }

  void place_all(address at, u8 bars, areas& free, u32 depth) {
    for (u8 index = 0; index < bars; ++index) {
      const auto found = probe_bar(host_, at, index);
      if (!found) continue;
      if (found->base == 0) place(at, index, *found, free, depth) ? ++done_.placed : ++done_.unplaced;
      if (found->is_64bit) ++index;
    }
  }

  bool place(address at, u8 index, const bar_info& bar, areas& free, u32 depth) {
    // Not a power of two: an invalid size.
    if (bar.size == 0 || (bar.size & (bar.size - 1)) != 0) return false;
    u64 where = take(at.bus, bar.kind == bar_kind::io ? kind::io : kind::memory, bar.size, free);
    // A bridge's 64-bit window is for prefetchable memory. A root bus has no such restriction.
    if (where == 0 && bar.is_64bit && (depth == 0 || bar.is_prefetchable))
      where = take(at.bus, kind::high, bar.size, free);
    if (where == 0) return false;
    const u32 decoding = host_.config_read32(at, config::command) & 0xffffu;
    change_command(host_, at, 0, command::io | command::memory);
    const u16 dword = static_cast<u16>(config::bar0 + 4u * index);
    host_.config_write32(at, dword, static_cast<u32>(where));
    if (bar.is_64bit) host_.config_write32(at, static_cast<u16>(dword + 4), static_cast<u32>(where >> 32));
    write_command(host_, at, decoding);
    return true;
  }

  // Takes `size` free addresses, aligned to the size. Returns 0 if there are none.
  u64 take(u8 bus, kind k, u64 size, areas& free) {
    area mine = free.of(k);  // stored back only on success
    do {
      const u64 at = (mine.next + (size - 1)) & ~(size - 1);
      if (at >= mine.next && at < mine.gap_end && size <= mine.gap_end - at) {
        mine.next = at + size;
        free.of(k) = mine;
        return at;
      }
    } while (find_gap(bus, k, mine));
    return 0;
  }

  // Moves to the next unused range of this bus after the current gap.
  bool find_gap(u8 bus, kind k, area& mine) {
    u64 start = mine.gap_end;
    while (start < mine.end && passes_ < most_passes) {
      ++passes_;
      u64 free_from = start;
      u64 taken_from = mine.end;
      each_range(bus, decoded_by(k), [&](u64 first, u64 last) {
        if (first <= free_from && free_from <= last) free_from = last + 1 != 0 ? last + 1 : last;
        else if (first > free_from) taken_from = virtio::detail::smaller(taken_from, first);
      });
      if (free_from == start) {
        mine.next = start;
        mine.gap_end = taken_from;
        return true;
      }
      start = free_from;
    }
    mine.next = mine.gap_end = mine.end;
    return false;
  }

  // The BARs that may be placed in a window of this kind.
  static constexpr bar_kind decoded_by(kind k) { return k == kind::io ? bar_kind::io : bar_kind::memory; }

  // Calls `visit(first, last)` for the ports (`bar_kind::io`) or the memory that functions of a bus decode and its
  // bridges pass on. For a root bus, for all root buses, which share the windows.
  template <class Visit>
  void each_range(u8 bus, bar_kind which, Visit&& visit) const {
    if (!roots_.has(bus)) return each_range_on(bus, which, visit);
    for (u32 root = 0; root < 256; ++root)
      if (roots_.has(root)) each_range_on(static_cast<u8>(root), which, visit);
  }
  template <class Visit>
  void each_range_on(u8 bus, bar_kind which, Visit&& visit) const {
    each_function_on_bus(host_, segment_, bus, [&](address at, u8 type) {
      if (type > 1) return true;
      for (u8 index = 0; index < (type == 1 ? 2 : 6); ++index) {
        const auto bar = probe_bar(host_, at, index);
        if (!bar) continue;
        if (bar->base != 0 && bar->kind == which) visit(bar->base, bar->base + (bar->size - 1));
        if (bar->is_64bit) ++index;
      }
      if (const range rom = rom_of(at, type); rom.size != 0 && which == bar_kind::memory)
        visit(rom.base, rom.base + (rom.size - 1));
      if (type == 1)
        for (const kind k : bridge_windows)
          if (const range passed = passed_on(host_, at, k); passed.size != 0 && decoded_by(k) == which)
            visit(passed.base, passed.base + (passed.size - 1));
      return true;
    });
  }

  // Returns the expansion ROM of a function, if it is enabled.
  range rom_of(address at, u8 type) const {
    const u16 dword = type == 1 ? config::bridge_rom : config::rom;
    if ((host_.config_read32(at, dword) & 1u) == 0) return {};
    const u32 decoding = host_.config_read32(at, config::command) & 0xffffu;
    change_command(host_, at, 0, command::memory);
    const u64 both = probe_dword(host_, at, dword);
    write_command(host_, at, decoding);
    constexpr u32 bits = 0xfffff800;
    const u32 ones = static_cast<u32>(both >> 32) & bits;
    return {static_cast<u32>(both) & bits, ones != 0 ? u64{~ones} + 1 : 0};
  }

  // Returns whether a bridge's bus numbers are valid for its place. Zeros and outdated numbers are not.
  static bool has_number(u32 numbers, u8 bus, u8 last) {
    const u32 secondary = numbers >> 8 & 0xffu, subordinate = numbers >> 16 & 0xffu;
    return secondary > bus && subordinate >= secondary && subordinate <= last;
  }

  // Returns the highest bus number of the bridges on a bus.
  u8 highest(u8 bus, u8 last) const {
    u8 out = bus;
    each_function_on_bus(host_, segment_, bus, [&](address at, u8 type) {
      if (type != 1) return true;
      const u32 numbers = host_.config_read32(at, config::bus_numbers);
      if (has_number(numbers, bus, last) && (numbers >> 16 & 0xffu) > out) out = static_cast<u8>(numbers >> 16);
      return true;
    });
    return out;
  }

  H host_;
  bus_set roots_;
  u16 segment_;
  u32 passes_ = 0;
  bus_set walked_{};  // buses behind bridges
  assignment done_{};
};

/// Assigns an address in `given` to every BAR without one, numbers bridges without bus numbers, and opens their
/// windows. If a bridge's windows are already open, BARs behind it are placed in those windows, even outside `given`;
/// the host's `bar` keeps drivers out of the guest's own memory. `segment` is for a host that has several; the default
/// is the host's own. Call it before devices are started, and again after one was plugged in. It sizes every BAR, which
/// pauses a device's decoding for a few accesses, so not while an interrupt handler uses a device. A BAR that stays
/// without an address answers at 0 as soon as a driver enables decoding for that kind of space, for another BAR. If
/// address 0 is in use, do not start devices with unplaced memory BARs. A bridge that is plugged in behind another one
/// stays closed unless bus numbers were reserved for it. The host's root buses share the windows; each has the bus
/// numbers up to the next root bus. Cost: some dozens of configuration accesses per function, for each walk.
template <config_space H>
assignment assign(const H& host, const windows& given, u16 segment) {
  return assigner<H>{host, segment}.run(given);
}
/// The same for the host's own segment.
template <config_space H>
assignment assign(const H& host, const windows& given) {
  return assign(host, given, segment_of(host));
}

}  // namespace virtio::pci
