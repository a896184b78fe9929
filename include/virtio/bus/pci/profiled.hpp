// SPDX-License-Identifier: MIT
// A PCI host with the profile of the host that it is on. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/discover.hpp>

namespace virtio::pci {

/// The host `H` with a profile, which may be another one at each start of the program:
/// `profiled<board>{board{}, &hosts::openbsd_vmd}`. Null: the host does all as the specification has it. Discovery knows
/// the profile's ids, behind those that the program gives, and every location carries its quirks. Cost: a pointer in
/// each location, and in a driver the code that asks; nothing on the data path.
template <host H>
struct profiled : H {
  const virtio::hosts::profile* profile = nullptr;

  [[nodiscard]] constexpr id_table id_rows() const { return profile != nullptr ? profile->ids : id_table{}; }
  [[nodiscard]] constexpr host_quirks quirks() const { return profile != nullptr ? profile->quirks : host_quirks{}; }
};

/// The profile that belongs to a host: by the ids of the first function that it has, which is its bridge. Null for one
/// that is not known. Changes nothing. Cost: the walk to that function, and one access to its configuration space.
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

/// The host with the profile that belongs to it: what a program for several hosts gives to `find`.
template <host H>
[[nodiscard]] profiled<H> detected(const H& h) {
  return {h, detect(h)};
}

}  // namespace virtio::pci
