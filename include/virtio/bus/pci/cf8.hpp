// SPDX-License-Identifier: MIT
// PCI configuration space of x86 machines, through the address and data ports CF8 and CFC. One segment, 256 bytes a
// function, and not safe against an interrupt handler that uses the same two ports. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/ecam.hpp>
#include <virtio/platform/ports.hpp>

namespace virtio::pci {

/// The usual x86 host. A plain `cf8<>` is for the first 4 GiB, identity-mapped; `{.bars = {.offset = ..., .floor = ..., .reach = ...}}`
/// says otherwise, and another `Map` is asked for each BAR.
template <bus_map Map = linear_map>
struct cf8 {
  using function_id = address;
  using bar_space = io_space;

  VIRTIO_EMPTY_MEMBER Map bars{};

  [[nodiscard]] u32 config_read32(address at, u16 offset) const { return read(at, offset); }
  void config_write32(address at, u16 offset, u32 value) const { write<u32>(at, offset, value); }
  void config_write16(address at, u16 offset, u16 value) const { write<u16>(at, offset, value); }

  [[nodiscard]] result<bar_info> locate(address at, u8 index) const { return probe_bar(*this, at, index); }

  [[nodiscard]] result<io_space> bar(address at, u8 index) const {
    return open_bar<io_space>(*this, at, index, bars, [](u16 first, usize size) -> result<io_space> { return io_space::ports(first, size); });
  }

  template <class Visit>
  void each_function(Visit&& visit) const { each_numbered_function(*this, 0, visit); }

 private:
  // Out of line, since bring-up makes dozens of calls and none of them is in a hurry. There is one segment: what lies in another one is
  // not there.
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

/// An x86 machine whose configuration space is in memory and whose devices may have ports, as legacy ones do.
template <bus_map Map = linear_map>
using ecam_with_ports = memory_config<12, Map, io_space>;

static_assert(host<cf8<>> && host<ecam_with_ports<>>);

}  // namespace virtio::pci
