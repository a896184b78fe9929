// SPDX-License-Identifier: MIT
// The root buses of a PC: bus 0, and those that QEMU reports besides (pxb, pxb-pcie).
#pragma once

#include <virtio/bus/pci/roots.hpp>

#include "runtime.hpp"

namespace boot {

/// Searched once, and only on machines that report any: the search takes thousands of accesses.
template <class Host>
[[nodiscard]] virtio::pci::bus_set root_buses(const Host& ports) {
  static virtio::pci::bus_set found;
  static bool known;
  if (!known) {
    const uint64_t more = extra_root_buses();
    found = more == 0 ? virtio::pci::bus_set{{1}} : virtio::pci::find_roots(ports, static_cast<uint32_t>(more) + 1);
    known = true;
  }
  return found;
}

}  // namespace boot
