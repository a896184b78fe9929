// SPDX-License-Identifier: MIT
// A PCI host with the profile of the hypervisor. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/discover.hpp>

namespace virtio::pci {

/// The host `H` with a profile that is chosen at run time: `profiled<board>{board{}, &hosts::openbsd_vmd}`. Null: a
/// host that follows the specification. Discovery uses the profile's ids after those of the program, and every location
/// carries the quirks. Cost: a pointer in each location, and code in a driver's start; none on the data path.
template <host H>
struct profiled : H {
  const virtio::hosts::profile* profile = nullptr;  // null: no ids and no quirks

  /// `host` concept: returns the ids of the profile.
  [[nodiscard]] constexpr id_table id_rows() const { return profile != nullptr ? profile->ids : id_table{}; }
  /// `host` concept: returns the quirks of the profile.
  [[nodiscard]] constexpr host_quirks quirks() const { return profile != nullptr ? profile->quirks : host_quirks{}; }
};

/// Returns the profile of a host, found by the ids of its first function, the bridge. Null for an unknown one. Only
/// reads. Cost: the walk to that function, and one access to its configuration space.
template <host H>
[[nodiscard]] const virtio::hosts::profile* detect(const H& h) {
  const virtio::hosts::profile* found = nullptr;
  h.each_function([&](typename H::function_id id) {
    const u32 ids = h.config_read32(id, config::id);
    found = virtio::hosts::behind(static_cast<u16>(ids), static_cast<u16>(ids >> 16));
    return false;
  });
  return found;
}

/// Returns the host with its profile. Programs for several hosts pass it to `find`.
template <host H>
[[nodiscard]] profiled<H> detected(const H& h) {
  return {h, detect(h)};
}

}  // namespace virtio::pci
