// SPDX-License-Identifier: MIT
// Private bookkeeping of the requests of one queue, in memory that no device sees: who is in flight, since which generation,
// with which cookie, and how much the device may have written. Layer: queue.
#pragma once

#include <virtio/queue/concepts.hpp>

namespace virtio {

/// The life of a slot. Zero is free, so that an all-zero table is an empty one.
enum class slot_state : u8 { free = 0, in_flight, done };

/// One request.
struct slot_record {
  u64 cookie = 0;
  u32 writable = 0;    // bytes the device may write
  u32 generation = 0;  // counts the requests that used this slot: the first is 1, so that token{} names none
  u32 batch = 0;       // the publish() that shows it to the device
  u16 last = 0;        // the last descriptor of its chain
  u16 count = 0;       // descriptors in its chain
  slot_state state = slot_state::free;
};

/// A table of `Slots` requests. Indices given here have been checked by the ring.
template <u16 Slots>
class slot_table {
 public:
  constexpr void clear() {
    // Generations live on: a token from before a reset stays stale.
    for (slot_record& one : records_) one.state = slot_state::free;
  }

  [[nodiscard]] constexpr slot_record& operator[](u16 slot) { return records_[slot]; }
  [[nodiscard]] constexpr const slot_record& operator[](u16 slot) const { return records_[slot]; }

  [[nodiscard]] constexpr bool is_live(token t) const {
    return t.slot < Slots && records_[t.slot].state != slot_state::free && records_[t.slot].generation == t.generation;
  }

  /// Gives back a request that is in flight, looking from slot `from` on, below `end`; `not_ready` when there is none.
  [[nodiscard]] result<completion> reclaim(u16& from, u16 end) {
    for (; from < end; ++from) {
      slot_record& record = records_[from];
      if (record.state != slot_state::in_flight) continue;
      record.state = slot_state::done;
      return completion{token{from, record.generation}, record.cookie, 0, true};
    }
    return errc::not_ready;
  }

 private:
  slot_record records_[Slots]{};
};

}  // namespace virtio
