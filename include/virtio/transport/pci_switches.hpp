// SPDX-License-Identifier: MIT
// A function's command register while a driver has the function. Bits that the driver changes are restored at its end.
// Spec: PCI 3.0, 6.2.2. Layer: transport (may include bus).
#pragma once

#include <virtio/bus/pci/host.hpp>
#include <virtio/transport/concepts.hpp>

namespace virtio::pci {

/// The changed bits of a command register. All-zero: none. A bit that other code changes meanwhile is not restored
/// twice.
class switches {
 public:
  /// Sets the bits for `what`, or restores all. `decoding` are the command bits for the kinds of BARs that the
  /// registers are in, and no others: an unused BAR may be without an address, and would answer at 0. Returns false if
  /// decoding stays off. Cost: three accesses to configuration space, one without a change, none if there is nothing to
  /// restore.
  template <config_space H>
  [[gnu::always_inline]] bool use(const H& h, typename H::function_id id, u32 decoding, bus_use what) {
    u32 set = changed_ & command::no_line;
    u32 clear = changed_ - set;
    if (what != bus_use::as_found) {
      set = what == bus_use::registers ? decoding : decoding | command::bus_master;
      clear = what == bus_use::memory_and_line ? command::no_line : 0;
    } else if (changed_ == 0) {
      return true;
    }
    const command_change done = change_command(h, id, set, clear);
    changed_ = what == bus_use::as_found ? 0 : changed_ | (done.before ^ done.now);
    return (set & ~done.now & (command::io | command::memory)) == 0;
  }

 private:
  u32 changed_ = 0;
};

}  // namespace virtio::pci
