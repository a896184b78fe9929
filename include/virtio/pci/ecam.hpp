// SPDX-License-Identifier: MIT
// PCI configuration space in memory: ECAM (4 KiB a function) and its older relative CAM (256 bytes a function, crosvm on
// Arm). BARs are reached in memory. Layer: pci.
#pragma once

#include <virtio/config.hpp>
#include <virtio/pci/bars.hpp>
#include <virtio/platform/mmio.hpp>

namespace virtio::pci {

/// A host whose configuration space is memory at `base`. `Shift` is 12 for ECAM, 8 for CAM.
/// `io_base` is where the CPU finds I/O port 0, 0 when there is no such window. Memory BARs lie from `floor` up to `reach`, the
/// first address that the CPU cannot use: give both, as narrow as the board knows, since a host that lies may say that a BAR lies
/// in the guest's own memory. Zero is the usual answer to everything but `base`, so that a driver object that holds a copy stays
/// all-zero.
template <u8 Shift>
struct memory_config {
  using function_id = address;
  using bar_space = mmio_space;

  uptr base = 0;
  usize buses = 0;  // 0: one
  uptr io_base = 0;
  u64 floor = 0;    // 0: anywhere
  u64 reach = 0;    // 0: whatever a pointer can hold
  u16 segment_number = 0;

  [[nodiscard]] u32 config_read32(address at, u16 offset) const {
    if (!covers(at)) return 0xffffffffu;
    return function(at).template read<u32>(offset);
  }
  void config_write32(address at, u16 offset, u32 value) const {
    if (covers(at)) function(at).template write<u32>(offset, value);
  }

  [[nodiscard]] result<mmio_space> bar(address at, u8 index) const {
    VIRTIO_TRY_ASSIGN(const bar_info& found, probe_bar(*this, at, index));
    if (found.base == 0) return errc::not_found;
    const bool io = found.kind == bar_kind::io;
    if ((io && io_base == 0) || !is_usable(found, floor, reach)) return errc::out_of_range;
    return mmio_space{(io ? io_base : 0) + static_cast<uptr>(found.base), static_cast<usize>(found.size)};
  }

  template <class Visit>
  void each_function(Visit&& visit) const { each_numbered_function(*this, segment_number, visit); }

 private:
  [[nodiscard]] bool covers(address at) const { return at.bus == 0 || at.bus < buses; }
  [[nodiscard]] mmio_space function(address at) const {
    return mmio_space{base, 0}.part(static_cast<usize>(at.routing_id()) << Shift, usize{1} << Shift);
  }
};

using ecam = memory_config<12>;
using cam = memory_config<8>;

static_assert(host<ecam> && host<cam>);

}  // namespace virtio::pci
