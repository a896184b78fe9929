// SPDX-License-Identifier: MIT
// PCI configuration space in memory: ECAM (4 KiB per function) and the older CAM (256 bytes per function, crosvm on
// Arm). BARs are accessed in memory. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/reach.hpp>
#include <virtio/platform/mmio.hpp>

namespace virtio::pci {

/// A host with configuration space in memory at `base`, as the CPU addresses it. `Shift` is 12 for ECAM, 8 for CAM.
/// `io_base` is the CPU address of I/O port 0, or 0 without such a window; x86 machines use `ecam_with_ports` instead.
/// All members but `base` are usually zero, so that a driver object with a copy stays all-zero.
template <u8 Shift, bus_map Map = linear_map, register_space Space = mmio_space>
struct memory_config {
  using function_id = address;  // `host` concept
  using bar_space = Space;      // `host` concept

  uptr base = 0;                   // CPU address of the first bus
  usize buses = 0;                 // number of buses; 0: one
  uptr io_base = 0;                // CPU address of I/O port 0; 0: none
  VIRTIO_EMPTY_MEMBER Map bars{};  // maps BARs to CPU addresses
  u16 segment_number = 0;          // segment group
  u8 first_bus = 0;                // number of the first bus

  /// `host` concept: reads a dword of configuration space.
  [[nodiscard]] u32 config_read32(address at, u16 offset) const {
    if (!covers(at)) return 0xffffffffu;
    return function(at).template read<u32>(offset);
  }
  /// `host` concept: writes a dword of configuration space.
  void config_write32(address at, u16 offset, u32 value) const {
    if (covers(at)) function(at).template write<u32>(offset, value);
  }
  /// `host` concept: writes a half dword of configuration space.
  void config_write16(address at, u16 offset, u16 value) const {
    if (covers(at)) function(at).template write<u16>(offset, value);
  }

  /// `host` concept: returns place and size of a BAR.
  [[nodiscard]] result<bar_info> locate(address at, u8 index) const { return probe_bar(*this, at, index); }

  /// `host` concept: returns the register space of a BAR.
  [[nodiscard]] result<Space> bar(address at, u8 index) const {
    return open_bar<Space>(*this, at, index, bars, [&](u16 first, usize size) -> result<Space> {
      if constexpr (requires { Space::ports(first, size); }) return Space::ports(first, size);
      else if (io_base != 0) return Space::memory(io_base + first, size);
      else return errc::out_of_range;
    });
  }

  /// `host` concept: returns the first bus.
  [[nodiscard]] bus_set root_buses() const {
    bus_set out;
    out.add(first_bus);
    return out;
  }

  /// `host` concept: calls `visit` for every function.
  template <class Visit>
  void each_function(Visit&& visit) const {
    each_numbered_function(*this, segment_number, visit);
  }

 private:
  [[nodiscard]] bool covers(address at) const {
    return at.segment == segment_number && at.bus >= first_bus &&
           (at.bus == first_bus || usize{at.bus} - first_bus < buses);
  }
  [[nodiscard]] mmio_space function(address at) const {
    const usize place = static_cast<usize>(at.routing_id()) - (usize{first_bus} << 8);
    return mmio_space{base, 0}.part(place << Shift, usize{1} << Shift);
  }
};

using ecam = memory_config<12>;  // 4 KiB per function
using cam = memory_config<8>;    // 256 bytes per function

static_assert(host<ecam> && host<cam>);

}  // namespace virtio::pci
