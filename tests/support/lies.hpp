// SPDX-License-Identifier: MIT
// Lies that a device can tell in its used ring.
#pragma once

#include <virtio/testing/split_device.hpp>

namespace rig {

/// One lie of four about the used ring of a device that has requests: an index far ahead, one step back, a descriptor that no ring has,
/// and `idle`, a descriptor that heads no chain now.
inline void lie(virtio::testing::split_device& ring, int which, std::uint32_t idle) {
  const auto idx = ring.raw_used_idx();
  const auto moved = [&](int by) { ring.raw_used_idx(static_cast<std::uint16_t>(idx + by)); };
  if (which == 0) return moved(100);
  if (which == 1) return moved(-1);
  ring.raw_used_element(idx, which == 2 ? 0xfffff : idle, 0);
  moved(1);
}

}  // namespace rig
