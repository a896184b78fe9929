// SPDX-License-Identifier: MIT
// State of a ring whose device uses buffers in the order in which they were made available (IN_ORDER). The next answer
// is then for the oldest request, without a search. One entry can return a whole batch; it names the last request and
// has the length of only that one.
// Spec: virtio 1.4, 2.7.9, 2.8.13. Layer: queue.
#pragma once

#include <virtio/queue/slots.hpp>

namespace virtio::detail {

struct in_order {
  bool is_on = false;
  bool in_batch = false;    // requests of a batch remain to be taken
  u16 oldest = 0;           // slot of the oldest request in flight; if there is none, of the next request
  untrusted<u32> last{};    // the id by which the device names the batch's last request
  untrusted<u32> length{};  // the used length of that request

  /// Starts with no requests, at slot 0. Returns how many places of a ring of `entries` must stay free. QEMU 10 counts
  /// outstanding buffers modulo the ring size, so it takes a full ring for an empty one and never returns the buffers.
  [[nodiscard]] u32 start(const feature_set& features, u32 entries) {
    *this = {.is_on = features.has(feature::in_order)};
    return is_on && entries > 1 ? 1 : 0;
  }
};

}  // namespace virtio::detail
