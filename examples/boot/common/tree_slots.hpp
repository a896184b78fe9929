// SPDX-License-Identifier: MIT
// The MMIO slots of a device tree, in its order, as the library's bus concept. `Machine` is the description, with
// static storage.
#pragma once

#include <virtio/platform/mmio.hpp>

#include "machine_tree.hpp"

namespace boot {

template <const machine_description& Machine>
struct tree_slots {
  using slot_space = virtio::mmio_space;

  [[nodiscard]] slot_space slot(virtio::usize n) const {
    return {static_cast<virtio::uptr>(Machine.slots[n].base), static_cast<virtio::usize>(Machine.slots[n].size)};
  }
  [[nodiscard]] virtio::usize slot_count() const { return Machine.slot_count; }
};

}  // namespace boot
