// SPDX-License-Identifier: MIT
// What a ring keeps when the device uses buffers in the order they were made available (IN_ORDER). The next answer is then for the
// oldest request, and needs no search. One entry can give back a whole batch; it names the last request and knows the length of
// that one only.
// Spec: virtio 1.4, 2.7.9, 2.8.13. Layer: queue.
#pragma once

#include <virtio/queue/slots.hpp>

namespace virtio::detail {

struct in_order {
  bool is_on = false;
  bool in_batch = false;    // of which requests are still to be taken
  u16 oldest = 0;           // slot of the oldest request in flight; when there is none, of the next
  untrusted<u32> last{};    // what the device calls the batch's last request,
  untrusted<u32> length{};  // whose length this is

  /// Starts afresh, with slot 0. Returns how many places of a ring of `entries` stay free: QEMU 10 counts what is outstanding
  /// modulo the size of the ring, takes a full ring for an empty one, and never gives its buffers back.
  [[nodiscard]] u32 start(const feature_set& features, u32 entries) {
    *this = {.is_on = features.has(feature::in_order)};
    return is_on && entries > 1 ? 1 : 0;
  }
};

}  // namespace virtio::detail
