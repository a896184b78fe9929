// SPDX-License-Identifier: MIT
// PCI configuration space of x86 machines, through the address and data ports CF8 and CFC. One segment, 256 bytes a
// function, and not safe against an interrupt handler that uses the same two ports. Layer: pci.
#pragma once

#include <virtio/config.hpp>
#include <virtio/pci/bars.hpp>
#include <virtio/platform/ports.hpp>

namespace virtio::pci {

/// The usual x86 host. `Reach` is the first address that the CPU's identity mapping does not cover, `Floor` the first that is not
/// the guest's own memory: a BAR below it is a host's lie. Give it one, if it is no more than where this machine's own memory ends.
template <u64 Reach = u64{1} << 32, u64 Floor = 0>
struct cf8 {
  using function_id = address;
  using bar_space = io_space;

  [[nodiscard]] u32 config_read32(address at, u16 offset) const { return read(at, offset); }
  void config_write32(address at, u16 offset, u32 value) const { write(at, offset, value); }

  [[nodiscard]] result<io_space> bar(address at, u8 index) const {
    VIRTIO_TRY_ASSIGN(const bar_info& found, probe_bar(*this, at, index));
    if (found.base == 0) return errc::not_found;
    if (!is_usable(found, Floor, Reach)) return errc::out_of_range;
    if (found.kind == bar_kind::io) return io_space::ports(static_cast<u16>(found.base), static_cast<usize>(found.size));
    return io_space::memory(static_cast<uptr>(found.base), static_cast<usize>(found.size));
  }

  template <class Visit>
  void each_function(Visit&& visit) const { each_numbered_function(*this, 0, visit); }

 private:
  // Out of line, since bring-up makes dozens of calls and none of them is in a hurry.
  [[nodiscard, gnu::noinline]] static u32 read(address at, u16 offset) {
    select(at, offset);
    return detail::port_in<u32>(0xcfc);
  }
  [[gnu::noinline]] static void write(address at, u16 offset, u32 value) {
    select(at, offset);
    detail::port_out<u32>(0xcfc, value);
  }
  static void select(address at, u16 offset) {
    detail::port_out<u32>(0xcf8, 0x80000000u | at.routing_id() << 8 | (offset & 0xfcu));
  }
};

static_assert(host<cf8<>>);

}  // namespace virtio::pci
