// SPDX-License-Identifier: MIT
// The queues of a device beside the one that has its requests: a few, for events or control, which live and die with it. A driver with one
// queue of requests and others drives the first by a `queue_set` of one: that part is then the same type, and the same text, as in a driver
// that has nothing else.
// Layer: device.
#pragma once

#include <virtio/device/queue_set.hpp>

namespace virtio {

/// `Count` queues, of the device that `Set`, a `queue_set`, brings up and takes down. Each call that reaches the device is given that set,
/// which must always be the same one. All-zero: not set up. The rings take `dma_bytes` of the driver's storage.
template <class Set, u16 Count>
class side_queues {
 public:
  using ring_type = typename Set::ring_type;
  static constexpr usize dma_bytes = Count * Set::ring_bytes;

  /// Ahead of `Set::begin` and after its `take_down_previous` has succeeded: forgets what the rings had.
  void forget() {
    for (queue_entry& one : queues_)
      while (one.ring.reclaim()) {}
  }

  /// Step 7 for queue `which` of these, which is number `number` at the device, in `area`, which has `Set::ring_bytes`. Errors: as
  /// `queue_set::set_up`.
  [[nodiscard]] result<void> set_up(Set& set, u16 which, u16 number, const dma_area& area, const interrupt_vectors& interrupts, u16 chain) {
    queue_entry& one = queues_[which];
    one.number = number;
    return set.session().set_up(number, one.ring, area, interrupts.of_queue(number), one.bell, chain);
  }

  [[nodiscard]] ring_type& operator[](u16 which) { return queues_[which].ring; }

  /// Shows the device what was staged: at most one register write.
  void kick(const Set& set, u16 which) {
    queue_entry& one = queues_[which];
    (void)virtio::kick(set.platform(), one.ring, one.bell, one.number);
  }
  /// Rings again for what the device has of one queue, after `looks` more polls that found nothing: its doorbell may have been lost.
  void found_nothing(const Set& set, u16 which, idle_polls& idle, u32 looks = 1) const {
    const queue_entry& one = queues_[which];
    if (idle.count(looks)) virtio::ring_again(set.platform(), one.ring, one.bell, one.number);
  }
  /// Asks one queue for an interrupt. True: something is there already. False while the device is down.
  [[nodiscard]] bool arm(const Set& set, u16 which) { return set.is_up() && queues_[which].ring.arm(); }
  void disarm(const Set& set) {
    if (!set.is_up()) return;
    for (queue_entry& one : queues_) one.ring.disarm();
  }

 private:
  struct queue_entry {
    typename Set::doorbell_type bell{};
    u16 number = 0;
    ring_type ring{};
  };
  queue_entry queues_[Count]{};
};

}  // namespace virtio
