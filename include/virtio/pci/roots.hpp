// SPDX-License-Identifier: MIT
// Machines with several root buses: beside bus 0 there are buses that no bridge leads to, behind host bridges of their own (QEMU's pxb
// and pxb-pcie, servers with a bridge for each socket). Layer: pci.
#pragma once

#include <virtio/pci/host.hpp>

namespace virtio::pci {

/// Finds the root buses of a segment: bus `first`, and every other on which something answers and to which no bridge on a lower bus
/// leads. At most `most` (SeaBIOS stops likewise after as many as QEMU announces). Cost: 32 accesses for each bus on which nothing
/// answers, up to 8,192 in all, so once a boot. A host that ignores bus numbers shows the same devices on each: there, bus 0 alone.
template <config_space H>
[[nodiscard]] bus_set find_roots(const H& h, u16 segment = 0, u8 first = 0, u32 most = 256) {
  bus_set roots, known;
  roots.add(first);
  known.add(first);
  u32 count = 1;
  for (u32 bus = first; bus < 256; ++bus) {
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

/// The host `H` on a machine with several root buses: `struct board : rooted<cf8<>>`, `{.roots = &those}`. The set must stay; without
/// one, those of `H`.
template <host H>
struct rooted : H {
  const bus_set* roots = nullptr;

  [[nodiscard]] bus_set root_buses() const { return roots != nullptr ? *roots : roots_of(static_cast<const H&>(*this)); }

  template <class Visit>
  void each_function(Visit&& visit) const {
    u16 segment = 0;
    if constexpr (requires { H::segment_number; }) segment = this->segment_number;
    each_numbered_function(*this, segment, visit);
  }
};

}  // namespace virtio::pci
