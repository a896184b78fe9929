// SPDX-License-Identifier: MIT
// The arithmetic of notification suppression. Indices are 16 bits and wrap; every comparison is modular, and every sum is
// brought back to 16 bits before it is compared (integer promotion has bitten several drivers here).
// Spec: virtio 1.4, 2.7.10, 2.8.10. Layer: queue.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio {

/// Whether moving an index by `steps` up to `after` passes the point `event` that the other side asked about: it wants to hear of
/// the step from `event` to `event + 1`.
[[nodiscard]] constexpr bool need_event(u16 event, u16 after, u16 steps) {
  return static_cast<u16>(after - event - 1) < steps;
}

}  // namespace virtio
