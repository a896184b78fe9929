// SPDX-License-Identifier: MIT
// PCI configuration space of x86 machines, through the address and data ports CF8 and CFC. One segment, 256 bytes per
// function. Not safe against an interrupt handler that uses the same two ports. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/ecam.hpp>
#include <virtio/platform/ports.hpp>

namespace virtio::pci {

/// The usual x86 host. `cf8<>{}` is for the first 4 GiB, identity-mapped. Set `{.bars = {.offset = ..., .floor = ...,
/// .reach = ...}}` for other mappings, or use another `Map`, which is called for each BAR.
template <bus_map Map = linear_map>
struct cf8 {
  using function_id = address;  // `host` concept
  using bar_space = io_space;   // `host` concept

  VIRTIO_EMPTY_MEMBER Map bars{};  // maps BARs to CPU addresses

  /// `host` concept: reads a dword of configuration space.
  [[nodiscard]] u32 config_read32(address at, u16 offset) const { return read(at, offset); }
  /// `host` concept: writes a dword of configuration space.
  void config_write32(address at, u16 offset, u32 value) const { write<u32>(at, offset, value); }
  /// `host` concept: writes a half dword of configuration space.
  void config_write16(address at, u16 offset, u16 value) const { write<u16>(at, offset, value); }

  /// `host` concept: returns place and size of a BAR.
  [[nodiscard]] result<bar_info> locate(address at, u8 index) const { return probe_bar(*this, at, index); }

  /// `host` concept: returns the register space of a BAR.
  [[nodiscard]] result<io_space> bar(address at, u8 index) const {
    return open_bar<io_space>(*this, at, index, bars,
                              [](u16 first, usize size) -> result<io_space> { return io_space::ports(first, size); });
  }

  /// `host` concept: calls `visit` for every function.
  template <class Visit>
  void each_function(Visit&& visit) const {
    each_numbered_function(*this, 0, visit);
  }

 private:
  // Not inlined: bring-up makes dozens of calls, and none is on the data path. There is one segment; functions of
  // others do not exist.
  [[nodiscard, gnu::noinline]] static u32 read(address at, u16 offset) {
    if (at.segment != 0) return 0xffffffffu;
    select(at, offset);
    return detail::port_in<u32>(0xcfc);
  }
  template <class T>
  [[gnu::noinline]] static void write(address at, u16 offset, T value) {
    if (at.segment != 0) return;
    select(at, offset);
    detail::port_out<T>(static_cast<u16>(0xcfc + offset % 4), value);
  }
  static void select(address at, u16 offset) {
    detail::port_out<u32>(0xcf8, 0x80000000u | at.routing_id() << 8 | (offset & 0xfcu));
  }
};

/// An x86 machine with configuration space in memory, whose devices may have I/O BARs, as legacy devices do.
template <bus_map Map = linear_map>
using ecam_with_ports = memory_config<12, Map, io_space>;

static_assert(host<cf8<>> && host<ecam_with_ports<>>);

}  // namespace virtio::pci
