// SPDX-License-Identifier: MIT
// Private bookkeeping of the requests of one queue, in memory that no device sees: who is in flight, since which generation,
// with which cookie, and how much the device may have written. Layer: queue.
#pragma once

#include <virtio/config.hpp>
#include <virtio/queue/concepts.hpp>

namespace virtio {

namespace detail {

// Flags of a descriptor, the same in both rings; the third, WRITE, is a segment's direction.
inline constexpr u32 desc_next = 1;
inline constexpr u32 desc_indirect = 4;

}  // namespace detail

/// One request. The life of a slot is in two of its fields: `generation` is odd from stage to release, `batch` is not 0 from stage
/// to completion. All-zero is a slot that was never used.
struct slot_record {
  u64 cookie = 0;
  u32 writable = 0;    // bytes the device may write
  u32 generation = 0;  // counts stages and releases: a token's is odd, so that token{} names none
  u32 batch = 0;       // the publish() that shows it to the device
  u16 last = 0;        // the last descriptor of its chain
  u16 count = 0;       // descriptors in its chain

  [[nodiscard]] constexpr bool is_taken() const { return (generation & 1) != 0; }
  [[nodiscard]] constexpr bool is_in_flight() const { return batch != 0; }
};

/// A table of `Slots` requests. Indices given here have been checked by the ring.
template <u16 Slots>
class slot_table {
 public:
  constexpr void clear() {
    // Generations live on: a token from before a reset stays stale.
    for (slot_record& one : records_) {
      one.generation = (one.generation + 1) & ~u32{1};
      one.batch = 0;
    }
    batch_ = 1;
  }

  [[nodiscard]] constexpr slot_record& operator[](usize slot) { return records_[slot]; }
  [[nodiscard]] constexpr const slot_record& operator[](usize slot) const { return records_[slot]; }

  /// A request begins, and will be shown to the device by the next `publish()`.
  constexpr slot_record& begin(usize slot, u64 cookie, u32 writable) {
    slot_record& record = records_[slot];
    record.cookie = cookie;
    record.writable = writable;
    record.batch = batch_;
    ++record.generation;
    return record;
  }
  /// What was begun is shown to the device.
  constexpr void publish() {
    if (++batch_ == 0) [[unlikely]] batch_ = 1;
  }
  /// Whether the device may complete this one: it is in flight, and not staged only, whose buffers the device is about to get.
  [[nodiscard]] constexpr bool may_complete(const slot_record& record) const {
    return record.is_in_flight() && record.batch != batch_;
  }
  /// The caller has seen the end of the request.
  constexpr slot_record& release(token t) {
    const usize slot = t.slot;
    VIRTIO_ASSERT(slot < Slots);
    slot_record& record = records_[slot];
    VIRTIO_ASSERT(record.generation == t.generation && !record.is_in_flight());
    ++record.generation;
    return record;
  }

  /// Continues the generations of another table, which served the same caller before: a token of then is stale here, too.
  constexpr void follow(const slot_table& other) {
    for (u32 i = 0; i < Slots; ++i) {
      const u32 next = (other.records_[i].generation + 1) & ~u32{1};
      if (next - records_[i].generation < 0x8000'0000u) records_[i].generation = next;  // not from later to earlier
    }
  }

  [[nodiscard]] constexpr bool is_live(token t) const {
    return t.slot < Slots && records_[t.slot].generation == t.generation && (t.generation & 1) != 0;
  }

  /// Gives back a request that is in flight, looking from slot `from` on, below `end`; `not_ready` when there is none.
  [[nodiscard]] result<completion> reclaim(u16& from, u16 end) {
    for (; from < end; ++from) {
      slot_record& record = records_[from];
      if (!record.is_in_flight()) continue;
      record.batch = 0;
      return completion{token{from, record.generation}, record.cookie, 0, true};
    }
    return errc::not_ready;
  }

 private:
  u32 batch_ = 0;  // publishes since the start, and one; never 0 once there are requests
  slot_record records_[Slots]{};
};

}  // namespace virtio
