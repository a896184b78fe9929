// SPDX-License-Identifier: MIT
// The arithmetic of notification suppression. Indices are 16 bits and wrap; every comparison is modular, and every sum is
// brought back to 16 bits before it is compared (integer promotion has bitten several drivers here).
// Spec: virtio 1.4, 2.7.10, 2.8.10. Layer: queue.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio {

/// Whether moving an index by `steps` to `after` passes the point `event` that the other side asked about: it wants to hear of the
/// step from `event` to `event + 1`. From 65,536 steps on every point was passed.
[[nodiscard]] constexpr bool need_event(u16 event, u16 after, s64 steps) {
  return static_cast<u16>(event - after) >= 0x10000 - steps;
}

}  // namespace virtio
