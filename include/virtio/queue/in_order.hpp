// SPDX-License-Identifier: MIT
// What a ring keeps when the device uses buffers in the order they were made available (IN_ORDER). Slots then need no free list and
// answers no search: each place of the ring has its slot, and the next answer is for the oldest request. One entry can give back a
// whole batch; it names the last request and knows the length of that one only.
// Spec: virtio 1.4, 2.7.9, 2.8.13. Layer: queue.
#pragma once

#include <virtio/queue/slots.hpp>

namespace virtio::detail {

template <u16 Capacity>
class in_order_queue {
 public:
  void start(bool negotiated) {
    on_ = negotiated;
    in_batch_ = false;
    for (u32 i = 0; i < Capacity; ++i) slot_at_[i] = static_cast<u16>(i);
  }
  [[nodiscard]] bool is_on() const { return on_; }

  /// Places of a ring of `entries` that stay free. QEMU 10 counts what is outstanding modulo the size of the ring, takes a full ring
  /// for an empty one, and never gives its buffers back.
  [[nodiscard]] u16 kept_free(u32 entries) const { return on_ && entries > 1 ? 1 : 0; }

  /// The slot for a chain that starts at `place`, which is free: its own, unless the caller still holds that from the last lap. Then
  /// it changes with any of the `entries` places that has a free one.
  [[nodiscard]] result<u16> reserve(const slot_table<Capacity>& table, usize place, u32 entries) {
    if (!table[slot_at_[place]].is_taken()) [[likely]] return slot_at_[place];
    return exchange(table, place, entries);
  }
  /// The slot of the chain that starts at `place`. Where none starts: any slot.
  [[nodiscard]] u16 slot_at(usize place) const { return slot_at_[place]; }

  /// A batch began, whose last request has this slot and length; the device may complete it.
  void begin_batch(u16 last, untrusted<u32> length) {
    last_ = last;
    length_ = length;
    in_batch_ = true;
  }
  [[nodiscard]] bool in_batch() const { return in_batch_; }

  /// Whether the oldest request, which has this slot, ends the batch. Of the others the length is unknown.
  [[nodiscard]] bool ends_batch(u16 slot) {
    in_batch_ = slot != last_;
    return !in_batch_;
  }
  [[nodiscard]] untrusted<u32> length() const { return length_; }

 private:
  [[gnu::cold, gnu::noinline]] result<u16> exchange(const slot_table<Capacity>& table, usize place, u32 entries) {
    for (u32 other = 0; other < entries; ++other) {
      const u16 slot = slot_at_[other];
      if (table[slot].is_taken()) continue;
      slot_at_[other] = slot_at_[place];
      slot_at_[place] = slot;
      return slot;
    }
    return errc::queue_full;
  }

  bool on_ = false;
  bool in_batch_ = false;
  u16 last_ = 0;
  untrusted<u32> length_{};
  u16 slot_at_[Capacity]{};
};

/// Nothing of that, for rings that do not want it. What is asked only while it is on is here for explicit instantiations.
struct no_order {
  void start(bool) {}
  [[nodiscard]] static constexpr bool is_on() { return false; }
  [[nodiscard]] static constexpr u16 slot_at(usize) { return 0; }
  static constexpr void begin_batch(u16, untrusted<u32>) {}
  [[nodiscard]] static constexpr bool in_batch() { return false; }
  [[nodiscard]] static constexpr bool ends_batch(u16) { return true; }
  [[nodiscard]] static constexpr untrusted<u32> length() { return {}; }
  [[nodiscard]] static constexpr u16 kept_free(u32) { return 0; }
};

}  // namespace virtio::detail
