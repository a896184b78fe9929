// SPDX-License-Identifier: MIT
// PCI configuration space in memory: ECAM (4 KiB a function) and its older relative CAM (256 bytes a function, crosvm on
// Arm). BARs are reached in memory. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/reach.hpp>
#include <virtio/platform/mmio.hpp>

namespace virtio::pci {

/// A host whose configuration space is memory at `base`, as the CPU sees it. `Shift` is 12 for ECAM, 8 for CAM. `io_base` is where the
/// CPU finds I/O port 0, 0 when there is no such window; an x86 machine takes `ecam_with_ports` instead. Zero is the usual answer to
/// everything but `base`, so that a driver object that holds a copy stays all-zero.
template <u8 Shift, bus_map Map = linear_map, register_space Space = mmio_space>
struct memory_config {
  using function_id = address;
  using bar_space = Space;

  uptr base = 0;    // of the first bus
  usize buses = 0;  // 0: one
  uptr io_base = 0;
  VIRTIO_EMPTY_MEMBER Map bars{};
  u16 segment_number = 0;
  u8 first_bus = 0;

  [[nodiscard]] u32 config_read32(address at, u16 offset) const {
    if (!covers(at)) return 0xffffffffu;
    return function(at).template read<u32>(offset);
  }
  void config_write32(address at, u16 offset, u32 value) const {
    if (covers(at)) function(at).template write<u32>(offset, value);
  }
  void config_write16(address at, u16 offset, u16 value) const {
    if (covers(at)) function(at).template write<u16>(offset, value);
  }

  [[nodiscard]] result<bar_info> locate(address at, u8 index) const { return probe_bar(*this, at, index); }

  [[nodiscard]] result<Space> bar(address at, u8 index) const {
    return open_bar<Space>(*this, at, index, bars, [&](u16 first, usize size) -> result<Space> {
      if constexpr (requires { Space::ports(first, size); }) return Space::ports(first, size);
      else if (io_base != 0) return Space::memory(io_base + first, size);
      else return errc::out_of_range;
    });
  }

  [[nodiscard]] bus_set root_buses() const {
    bus_set out;
    out.add(first_bus);
    return out;
  }

  template <class Visit>
  void each_function(Visit&& visit) const { each_numbered_function(*this, segment_number, visit); }

 private:
  [[nodiscard]] bool covers(address at) const {
    return at.segment == segment_number && at.bus >= first_bus && (at.bus == first_bus || usize{at.bus} - first_bus < buses);
  }
  [[nodiscard]] mmio_space function(address at) const {
    const usize place = static_cast<usize>(at.routing_id()) - (usize{first_bus} << 8);
    return mmio_space{base, 0}.part(place << Shift, usize{1} << Shift);
  }
};

using ecam = memory_config<12>;
using cam = memory_config<8>;

static_assert(host<ecam> && host<cam>);

}  // namespace virtio::pci
