// SPDX-License-Identifier: MIT
// Invalid values that a device can write to its used ring.
#pragma once

#include <virtio/testing/split_device.hpp>

namespace rig {

/// One of four invalid values in the used ring of a device with requests: an index far too high, one step back, a
/// descriptor outside the ring, and `idle`, a descriptor that currently heads no chain.
inline void lie(virtio::testing::split_device& ring, int which, std::uint32_t idle) {
  const auto idx = ring.raw_used_idx();
  const auto moved = [&](int by) { ring.raw_used_idx(static_cast<std::uint16_t>(idx + by)); };
  if (which == 0) return moved(100);
  if (which == 1) return moved(-1);
  ring.raw_used_element(idx, which == 2 ? 0xfffff : idle, 0);
  moved(1);
}

}  // namespace rig
