// SPDX-License-Identifier: MIT
// Parts of a machine's configuration space that are in memory: one or more for each PCI segment.
#pragma once

#include <virtio/bus/pci/mcfg.hpp>

namespace lsvirtio {

/// `Config` is a host of the library for one part. All-zero at first.
template <class Config>
struct config_spaces {
  static constexpr virtio::usize most = 16;  // further ones are left out

  Config all[most];
  virtio::usize count;

  void add(const Config& one) {
    if (count < most) all[count++] = one;
  }
  /// Adds the valid rows of an MCFG table, those of segment 0 only if `wanted`.
  enum class segment_0 : virtio::u8 { wanted, reached_otherwise };
  template <class Space, class Map>
  void add_rows(const virtio::pci::mcfg& table, const Map& map, segment_0 what) {
    for (virtio::usize n = 0; n < table.rows(); ++n)
      if (const auto one = table.template row<Space>(n, map))
        if (one->segment_number != 0 || what == segment_0::wanted) add(*one);
  }

  /// Returns the part that contains a function, or null.
  [[nodiscard]] const Config* of(virtio::pci::address at) const {
    for (virtio::usize i = 0; i < count; ++i) {
      const Config& one = all[i];
      const virtio::usize buses = one.buses != 0 ? one.buses : 1;
      if (at.segment == one.segment_number && at.bus >= one.first_bus && virtio::usize{at.bus} - one.first_bus < buses)
        return &one;
    }
    return nullptr;
  }

  /// Returns false if `visit` stopped the walk.
  template <class Visit>
  bool each_function(Visit&& visit) const {
    bool more = true;
    for (virtio::usize i = 0; i < count && more; ++i)
      all[i].each_function([&](virtio::pci::address at) { return more = visit(at); });
    return more;
  }
};

}  // namespace lsvirtio
