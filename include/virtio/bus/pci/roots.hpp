// SPDX-License-Identifier: MIT
// Machines with several root buses: beside bus 0 there are buses that no bridge leads to, behind host bridges of their own (QEMU's pxb
// and pxb-pcie, servers with a bridge for each socket). Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/host.hpp>

namespace virtio::pci {

/// Finds the root buses of the host's segment: those that it knows, and every other on which something answers and to which no bridge
/// on a lower bus leads. At most `most` in all (SeaBIOS stops likewise after as many as QEMU announces). Cost: 32 accesses for each bus
/// on which nothing answers, up to 8,192 in all, so once a boot. Not for a host that ignores bus numbers: every bus would be one.
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

/// The host `H` on a machine with several root buses: `struct board : multi_root<cf8<>>`, `{.roots = &those}`. The set must stay; without
/// one, those of `H`.
template <host H>
struct multi_root : H {
  const bus_set* roots = nullptr;

  [[nodiscard]] bus_set root_buses() const { return roots != nullptr ? *roots : roots_of(static_cast<const H&>(*this)); }

  template <class Visit>
  void each_function(Visit&& visit) const { each_numbered_function(*this, segment_of(*this), visit); }
};

}  // namespace virtio::pci
