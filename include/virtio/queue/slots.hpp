// SPDX-License-Identifier: MIT
// Private bookkeeping of the requests of one queue, in memory outside the device's reach: which requests are in flight,
// their generations and cookies, and how much the device may write. Layer: queue.
#pragma once

#include <virtio/config.hpp>
#include <virtio/queue/concepts.hpp>

namespace virtio {

namespace detail {

// Flags of a descriptor, the same in both rings; the third, WRITE, is a segment's direction.
inline constexpr u32 desc_next = 1;
inline constexpr u32 desc_indirect = 4;

/// Returns whether a ring accepts a chain that takes `needed` of its `free` descriptors: one for each piece, or one for
/// the whole chain through a table.
template <class Ring>
[[nodiscard, gnu::always_inline]] inline errc admit(const Ring& ring, const segments& chain, u32 needed, u32 free) {
  const u16 count = chain.size();
  // One comparison for none and for too many: 0 - 1 is large.
  if (needed - 1 >= free || (needed != count && count > ring.longest_chain())) [[unlikely]]
    return count == 0 ? errc::invalid_argument : count > ring.longest_chain() ? errc::out_of_range : errc::queue_full;
  // The specification allows 2^32 bytes (2.7.5.3, 2.8.8); hosts allow `largest_transfer` (dma.hpp). A page for headers.
  return chain.bytes() <= largest_transfer + dma_page ? errc::ok : errc::out_of_range;
}

}  // namespace detail

/// Whether an entry of the used ring has the used length: the entry of a batch has only that of its last request.
enum class used_length : bool { skipped = false, known = true };

/// One request. Two fields have the state of the slot: `generation` is odd from stage to release, `batch` is a number
/// from stage to completion. All-zero is a slot that was never used.
struct slot_record {
  static constexpr u64 none = ~u64{0};  // `batch` of a slot that is not in flight

  u64 cookie = 0;      // the caller's, returned with the completion
  u64 batch = 0;       // the publish() that makes it visible to the device, counted from 0; or none
  u32 writable = 0;    // bytes the device may write
  u32 generation = 0;  // counts stages and releases: a token's is odd, so that token{} names no request
  u32 last = 0;        // the last descriptor of its chain; with IN_ORDER the first, by which the device names it
  u32 count = 0;       // descriptors in its chain
};

/// A table of `Slots` requests. The ring has checked all indices that it passes here.
template <u16 Slots>
class slot_table {
 public:
  /// Ends all requests.
  constexpr void clear() {
    // Generations are kept: a token from before a reset stays stale.
    for (slot_record& one : records_) {
      one.generation = (one.generation + 1) & ~u32{1};
      one.batch = slot_record::none;
    }
    batch_ = 0;
  }

  [[nodiscard]] constexpr slot_record& operator[](usize slot) { return records_[slot]; }              // unchecked
  [[nodiscard]] constexpr const slot_record& operator[](usize slot) const { return records_[slot]; }  // unchecked

  /// Begins a request, which the next `publish()` makes visible to the device.
  constexpr slot_record& begin(usize slot, u64 cookie, u32 writable) {
    slot_record& record = records_[slot];
    record.cookie = cookie;
    record.writable = writable;
    record.batch = batch_;
    ++record.generation;
    return record;
  }
  /// All requests that were begun are visible to the device.
  constexpr void publish() { ++batch_; }
  /// Returns whether the device may complete this request: it is in flight, and not only staged.
  [[nodiscard]] constexpr bool may_complete(const slot_record& record) const { return record.batch < batch_; }
  /// Ends a request that the device returned with this used length. A length that is too large is cut and is no error:
  /// correct devices differ in what they report.
  constexpr void end(usize slot, untrusted<u32> length, used_length is, completion& out) {
    slot_record& record = records_[slot];
    record.batch = slot_record::none;
    const bool known = is == used_length::known;
    out = {token{static_cast<u16>(slot), record.generation}, record.cookie, known ? length.clamped(record.writable) : 0,
           known};
  }
  /// Frees the slot: the caller has taken the completion. Returns the slot's record.
  constexpr slot_record& release(token t) {
    const usize slot = t.slot;
    VIRTIO_ASSERT(slot < Slots);
    slot_record& record = records_[slot];
    VIRTIO_ASSERT(record.generation == t.generation && record.batch == slot_record::none);
    ++record.generation;
    return record;
  }

  /// Continues the generations of another table, which served the same caller before: its tokens are stale here too.
  constexpr void follow(const slot_table& other) {
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i < Slots; ++i) {
      const u32 next = (other.records_[i].generation + 1) & ~u32{1};
      if (next - records_[i].generation < 0x8000'0000u) records_[i].generation = next;  // never to an earlier one
    }
  }

  /// Returns whether the request was begun and not released.
  [[nodiscard]] constexpr bool is_live(token t) const {
    return t.slot < Slots && records_[t.slot].generation == t.generation && (t.generation & 1) != 0;
  }

  /// Returns a request that is in flight, from slot `from` on, below `below`; `not_ready` if there is none.
  [[nodiscard]] result<completion> reclaim(u16& from, u16 below) {
    for (; from < below; ++from) {
      if (records_[from].batch == slot_record::none) continue;
      completion out;
      end(from, {}, used_length::known, out);
      return out;
    }
    return errc::not_ready;
  }

 private:
  u64 batch_ = 0;  // publishes since the start
  slot_record records_[Slots]{};
};

/// The free slots, in the order in which they will be used. A slot in flight keeps its link. The ring counts the free
/// slots: the list does not record whether it is empty.
template <u16 Capacity>
class slot_list {
 public:
  /// The slots below `count` are free.
  void start(u32 count) {
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i < Capacity; ++i) next_[i] = static_cast<u16>(i + 1);
    next_[count - 1] = 0;
    first_ = 0;
    last_ = static_cast<u16>(count - 1);
  }
  [[nodiscard]] u16 first() const { return first_; }                 // the slot to be used next
  [[nodiscard]] u16 after(usize slot) const { return next_[slot]; }  // the slot after this one
  void take_first() { first_ = next_[usize{first_}]; }               // removes the first slot

  /// The slot is the next to be used: its memory is the most likely to be in the cache.
  void put_first(u16 slot) {
    next_[usize{slot}] = first_;
    first_ = slot;
  }
  /// The slot is the last to be used. While all slots return by this call and one stays free, the list has the requests
  /// in their order.
  void put_last(u16 slot) {
    next_[usize{last_}] = slot;
    last_ = slot;
  }

 private:
  u16 first_ = 0;
  u16 last_ = 0;
  u16 next_[Capacity]{};
};

}  // namespace virtio
