// SPDX-License-Identifier: MIT
// The arithmetic of notification suppression. Indices have 16 bits and wrap: every comparison is modular, and every sum
// is converted to 16 bits before a comparison. Integer promotion has caused defects in several drivers here.
// Spec: virtio 1.4, 2.7.10, 2.8.10. Layer: queue.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio {

/// Returns whether moving an index by `steps` to `after` passes `event`, the point for which the other side requests a
/// notification: the step from `event` to `event + 1`. With 65,536 steps or more every point was passed.
[[nodiscard]] constexpr bool need_event(u16 event, u16 after, s64 steps) {
  return static_cast<u16>(event - after) >= 0x10000 - steps;
}

}  // namespace virtio
