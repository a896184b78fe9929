// SPDX-License-Identifier: MIT
// Machines with several root buses: buses other than bus 0 that no bridge leads to, behind separate host bridges
// (QEMU's pxb and pxb-pcie, servers with a host bridge for each socket). Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/host.hpp>

namespace virtio::pci {

/// Finds the root buses of the host's segment: those that it lists, and every other bus with functions to which no
/// bridge on a lower bus leads. At most `most` (SeaBIOS also stops after as many as QEMU announces). Cost: 32 accesses
/// for each empty bus, up to 8,192, so call it once per boot. Not for a host that ignores bus numbers: it would report
/// every bus.
template <config_space H>
[[nodiscard]] bus_set find_roots(const H& h, u32 most = 256) {
  const u16 segment = segment_of(h);
  bus_set roots = roots_of(h);
  bus_set known = roots;
  u32 count = 0;
  for (u32 bus = 0; bus < 256; ++bus) count += roots.has(bus) ? 1 : 0;
  for (u32 bus = 0; bus < 256; ++bus) {
    const bool behind_a_bridge = known.has(bus);
    bool answers = false;
    if (behind_a_bridge || count < most)
      each_function_on_bus(h, segment, static_cast<u8>(bus), [&](address at, u8 type) {
        answers = true;
        if (type == 1) known.add_behind(h.config_read32(at, config::bus_numbers), bus);
        return true;
      });
    if (behind_a_bridge || !answers) continue;
    roots.add(bus);
    ++count;
  }
  return roots;
}

/// The host `H` on a machine with several root buses: `struct board : multi_root<cf8<>>`, `{.roots = &set}`. The set
/// must outlive it. Without a set: the root buses of `H`.
template <host H>
struct multi_root : H {
  const bus_set* roots = nullptr;  // null: those of `H`

  /// `host` concept: returns the root buses.
  [[nodiscard]] bus_set root_buses() const {
    return roots != nullptr ? *roots : roots_of(static_cast<const H&>(*this));
  }

  /// `host` concept: calls `visit` for every function.
  template <class Visit>
  void each_function(Visit&& visit) const {
    each_numbered_function(*this, segment_of(*this), visit);
  }
};

}  // namespace virtio::pci
