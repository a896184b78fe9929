// SPDX-License-Identifier: MIT
// Queues of a device besides its request queue: a few, for events or control, with the same lifetime. A driver with one
// request queue and side queues uses a `queue_set` of one for the requests: that part is then the same type, with the
// same machine code, as in a driver without side queues.
// Layer: device.
#pragma once

#include <virtio/device/queue_set.hpp>

namespace virtio {

/// `Count` queues of the device that `Set`, a `queue_set`, brings up and takes down. Each call that accesses the device
/// receives that set, which must always be the same one. All-zero: not set up. The rings take `dma_bytes` of the
/// driver's storage.
template <class Set, u16 Count>
class side_queues {
 public:
  using ring_type = typename Set::ring_type;                   // each queue's ring
  static constexpr usize dma_bytes = Count * Set::ring_bytes;  // bytes of all rings

  /// Before `Set::begin` and after a successful `take_down_previous`: drops the chains in the rings.
  void forget() {
    for (queue_entry& one : queues_)
      while (one.ring.reclaim()) {}
  }

  /// Step 7 for queue `which` of these, which has number `number` at the device, in `area` of `Set::ring_bytes`.
  /// Errors: as `queue_set::set_up`.
  [[nodiscard]] result<void> set_up(Set& set, u16 which, u16 number, const dma_area& area,
                                    const interrupt_vectors& interrupts, u16 chain) {
    queue_entry& one = queues_[which];
    one.number = number;
    return set.session().set_up(number, one.ring, area, interrupts.of_queue(number), one.bell, chain);
  }

  [[nodiscard]] ring_type& operator[](u16 which) { return queues_[which].ring; }  // ring of a queue

  /// Makes all staged chains of a queue visible to the device: at most one register write.
  void kick(const Set& set, u16 which) {
    queue_entry& one = queues_[which];
    (void)virtio::kick(set.platform(), one.ring, one.bell, one.number);
  }
  /// Counts `looks` more polls of one queue that found nothing. After many of them its doorbell may have been lost:
  /// rings it again if chains are in flight.
  void found_nothing(const Set& set, u16 which, idle_polls& idle, u32 looks = 1) const {
    const queue_entry& one = queues_[which];
    if (idle.count(looks)) virtio::ring_again(set.platform(), one.ring, one.bell, one.number);
  }
  /// Requests an interrupt for one queue. True: something is ready already. False while the device is down.
  [[nodiscard]] bool arm(const Set& set, u16 which) { return set.is_up() && queues_[which].ring.arm(); }
  /// Requests no interrupts for any of these queues.
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
