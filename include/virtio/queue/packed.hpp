// SPDX-License-Identifier: MIT
// Packed virtqueue: one ring of descriptors that the driver makes available and the device overwrites after use.
// Two flag bits of a descriptor, AVAIL and USED, state which side owns it; their meaning inverts with each lap.
// Ring places and request ids are separate: places are used in order and are free again with the device's answers; an
// id (the slot) is taken until the caller releases it.
// Spec: virtio 1.4, 2.8. Layer: queue (may include base, platform).
#pragma once

#include <virtio/config.hpp>
#include <virtio/queue/in_order.hpp>
#include <virtio/queue/suppression.hpp>

namespace virtio {

/// Choices of a packed ring that change its layout.
struct packed_options {
  u16 indirect = 0;       // entries of each slot's indirect table; 0: no indirect descriptors
  bool in_order = false;  // accept IN_ORDER: a batch has only its last request's length, and one descriptor stays free
};

namespace detail {

/// A descriptor as the driver writes it. Id and flags share a word, so that one store makes it available.
struct packed_descriptor {
  to_device<u64> address;
  to_device<u32> length;
  to_device<u32> id_and_flags;
};
static_assert(sizeof(packed_descriptor) == 16);

/// The same memory after the device has used it.
struct packed_used {
  from_device<u64> reserved;
  from_device<u32> length;
  from_device<u32> id_and_flags;
};
static_assert(sizeof(packed_used) == 16);

// Flags, as bits of the word that they share with the id.
inline constexpr u32 packed_avail = u32{1} << 23;
inline constexpr u32 packed_used_flag = u32{1} << 31;
inline constexpr u32 packed_both = packed_avail | packed_used_flag;

// Event suppression: a place and its lap in the low half, the mode in the high half.
inline constexpr u32 events_on = 0;
inline constexpr u32 events_off = 1u << 16;
inline constexpr u32 events_at = 2u << 16;
inline constexpr u32 events_mask = 3u << 16;

}  // namespace detail

/// A packed ring with up to `Capacity` descriptors, any number up to 32768. All-zero until `attach`. Every call is
/// O(chain) or O(1), and none waits. `needs_kick` and `arm` have one full fence each. The `virtqueue` concept describes
/// the members.
template <u16 Capacity, packed_options Options = packed_options{}, barrier_set Barriers = smp_barriers>
class packed_ring {
  static_assert(Capacity >= 1 && Capacity <= 32768, "a packed ring has up to 32768 descriptors");
  static_assert(Options.indirect == 0 || Options.indirect >= 3,
                "an indirect table holds a header, data and a status: 3 entries");
  static_assert(u64{16} * Options.indirect * Capacity < 0x4000'0000,
                "the indirect tables of all slots must stay below 1 GiB");

  // The ring, which both sides write; the driver's event word; on a separate page the device's event word; the tables.
  static constexpr usize ring_bytes = usize{16} * Capacity;
  static constexpr usize driver_at = ring_bytes;
  static constexpr usize device_at = detail::round_up(driver_at + 4, dma_page);
  static constexpr usize tables_at = device_at + dma_page;
  static constexpr usize table_bytes = usize{16} * Options.indirect;

 public:
  static constexpr u16 slots = Capacity;                   // maximum number of requests in flight
  static constexpr byte_order order = byte_order::little;  // of the ring's fields
  /// Bytes of DMA storage: ring, event words and indirect tables, in pages.
  static constexpr usize dma_bytes = detail::round_up(tables_at + table_bytes * Capacity, dma_page);
  static constexpr feature_set required{feature::ring_packed};  // RING_PACKED
  /// Features that the ring can use.
  static constexpr feature_set wanted = required | feature_set{feature::event_idx} |
                                        (Options.indirect != 0 ? feature_set{feature::indirect_desc} : feature_set{}) |
                                        (Options.in_order ? feature_set{feature::in_order} : feature_set{});

  /// `virtqueue` concept: returns the number of entries to use with a device whose maximum this is. Devices that
  /// dictate their size are legacy devices, which have no packed ring.
  [[nodiscard]] static constexpr u16 fit(u16 maximum, ring_size offered) {
    return offered == ring_size::exactly ? u16{0} : detail::smaller(maximum, Capacity);
  }

  /// `virtqueue` concept: zeroes the storage and lays the ring out.
  [[nodiscard, gnu::always_inline]] result<ring_layout> attach(const dma_area& storage, u16 entries,
                                                               const feature_set& features) {
    if (entries == 0 || entries > Capacity || !features.has(feature::ring_packed)) return errc::unsupported;
    if (storage.size < dma_bytes) return errc::no_space;
    if (reinterpret_cast<uptr>(storage.data) % dma_page != 0 || raw(storage.at) % 16 != 0) return errc::misaligned;

    // Every descriptor and both event words must start as zeros (2.8.10.1). Old data must not leak.
    for (usize i = 0; i < dma_bytes; ++i) storage.data[i] = 0;

    ring_ = reinterpret_cast<descriptor*>(storage.data);
    end_ = ring_ + entries;
    driver_events_ = reinterpret_cast<to_device<u32>*>(storage.data + driver_at);
    device_events_ = reinterpret_cast<const from_device<u32>*>(storage.data + device_at);
    if constexpr (Options.indirect != 0) {
      tables_ = storage.part(tables_at, table_bytes * Capacity);
      indirect_ = features.has(feature::indirect_desc);
    }
    size_ = free_places_ = entries;
    event_idx_ = features.has(feature::event_idx);
    positions_ = event_idx_ ? 0x10000 : 0;
    if constexpr (Options.in_order) free_places_ -= order_.start(features, entries);
    longest_ = static_cast<u16>(free_places_);

    // Both laps start with the wrap counter at 1 (2.8.1).
    next_ = oldest_ = ring_;
    available_ = detail::packed_avail;
    used_ = detail::packed_both;
    table_.clear();
    free_slots_.start(entries);
    offered_ = published_ = taken_ = 0;
    first_word_ = 0;
    unchecked_ = 0;
    shown_lap_ = 1;
    newest_[1] = 0x8000 - 1;
    newest_[0] = size_ - 1;
    reclaim_from_ = 0;
    broken_ = false;
    disarm();
    return ring_layout{0, static_cast<u32>(driver_at), static_cast<u32>(device_at)};
  }

  /// `virtqueue` concept: the longest chain that an empty queue can take, in descriptors.
  [[nodiscard]] u16 longest_chain() const {
    // A table must not have more descriptors than the ring (2.8.8).
    return is_indirect() ? detail::smaller(Options.indirect, static_cast<u16>(size_)) : longest_;
  }

  /// `virtqueue` concept: restricts the queue to `most` descriptors.
  void limit(u16 most) {
    free_places_ = detail::smaller(u32{most}, free_places_);
    longest_ = detail::smaller(most, longest_);
  }

  /// `virtqueue` concept: the number of chains that the device may hold.
  [[nodiscard]] u16 in_flight() const { return static_cast<u16>(published_ - taken_); }

  /// `virtqueue` concept: returns the slot of the next request.
  [[nodiscard]] result<u16> reserve() {
    // A request keeps its places, at least one, until it is released: if a place is free, so is a slot.
    if (free_places_ == 0) [[unlikely]]
      return errc::queue_full;
    return free_slots_.first();
  }

  /// `virtqueue` concept: writes a chain, invisible to the device until `publish`. Cost: three stores for each
  /// descriptor.
  [[nodiscard, gnu::always_inline]] result<token> stage(u16 slot, const segments& chain, u64 cookie) {
    VIRTIO_ASSERT(slot == free_slots_.first());  // the slot that reserve() named, with nothing staged since
    const u16 count = chain.size();
    const bool through_table = is_indirect() && count > 1;
    const u32 needed = through_table ? 1u : count;
    if (const errc no = detail::admit(*this, chain, needed, free_places_); no != errc::ok) [[unlikely]]
      return no;

    descriptor* const first = next_;
    place here{first, available_ | slot};
    u32 first_word;
    if (through_table) {
      descriptor* entry = table_entries(slot);
      for (const segment& piece : chain) entry++->write(piece, static_cast<u32>(piece.way) << 16);
      const segment table{tables_.at + table_bytes * slot, u32{16} * count, direction::to_device, 0};
      first_word = put(here, table) | detail::desc_indirect << 16;
    } else {
      const segment* piece = chain.begin();
      const segment* const last = piece + (count - 1);
      first_word = put(here, *piece);
      if (piece != last) {
        constexpr u32 more = detail::desc_next << 16;
        first_word |= more;
        do {
          step(here);
          const u32 word = put(here, *++piece);
          here.at->id_and_flags.template hint<Barriers>(piece != last ? word | more : word);
        } while (piece != last);
      }
    }
    step(here);
    next_ = here.at;
    // The first staged descriptor is not made available before publish(). The device stops there and sees none of those
    // after it.
    if (first_word_ != 0) [[likely]] {
      first->id_and_flags.template store<Barriers>(first_word);
    } else {
      first_ = first;
      first_word_ = first_word;
    }

    slot_record& record = table_.begin(slot, cookie, static_cast<u32>(chain.writable_bytes()));
    record.count = needed;
    free_slots_.take_first();
    free_places_ -= needed;
    ++offered_;
    return token{slot, record.generation};
  }

  /// `virtqueue` concept: makes all staged chains visible by one store. Returns whether there were any.
  bool publish() {
    if (first_word_ == 0) return false;
    published_ = offered_;
    table_.publish();
    u32 places = static_cast<u32>(next_ - first_);
    if (next_ <= first_) [[unlikely]] {  // on the next lap: the word of the lap before last now counts this one
      places += size_;
      shown_lap_ ^= 1;
      newest_[shown_lap_] -= 2 * size_;
    }
    unchecked_ += places;
    newest_[0] += places;
    newest_[1] += places;
    // Release: all staged descriptors before the word that makes the first one available. Partner: the device's acquire
    // load of these flags (2.8.21.1).
    first_->id_and_flags.template publish<Barriers>(first_word_);
    first_word_ = 0;
    return true;
  }

  /// `virtqueue` concept: returns whether the device requests a doorbell.
  [[nodiscard]] bool needs_kick() {
    const u64 added = unchecked_;
    unchecked_ = 0;
    // Full fence: the store of the flags before the load of the device's event word. Partner: the device stores that
    // word, fences, and reads the descriptor again (2.8.21.3.1).
    Barriers::full();
    // One load for both halves. Any value is valid. A wrong one costs the device its doorbell or the driver one
    // register write.
    const u32 suppression = device_events_->template fetch<Barriers>().unchecked();
    const u32 position = suppression - detail::events_at;
    return position < positions_ ? passed(position, added) : wants_kick_otherwise(suppression, added);
  }

  /// The first place that is not published, and its lap in the top bit, for transports that write it to the doorbell.
  [[nodiscard]] u16 position() const { return static_cast<u16>(newest_[shown_lap_] + 1); }

  /// `virtqueue` concept: takes one used entry.
  [[nodiscard]] result<completion> next_completion() {
    completion one;
    const errc got = take(one);
    return got == errc::ok ? result<completion>{one} : result<completion>{got};
  }

  /// `virtqueue` concept: takes one used entry into `out`.
  [[nodiscard]] errc take(completion& out) {
    if (is_in_order()) return take_in_order(out);
    u16 slot;
    untrusted<u32> length;
    if (const errc got = take_answer(slot, length); got != errc::ok) return got;
    pass(slot, length, used_length::known, out);
    return errc::ok;
  }

  /// `virtqueue` concept: frees the slot and the places of a request.
  void release(token t) {
    free_places_ += table_.release(t).count;
    if (is_in_order()) free_slots_.put_last(t.slot);
    else free_slots_.put_first(t.slot);
  }

  /// `virtqueue` concept: returns whether the request was staged and not released.
  [[nodiscard]] bool is_live(token t) const { return table_.is_live(t); }

  /// Takes over from a ring of the other format: tokens that are stale there are stale here. Before `attach`.
  template <class Other>
  void follow(const Other& other) {
    table_.follow(other.slots_so_far());
  }
  /// The records of all slots, for `follow`.
  [[nodiscard]] const slot_table<Capacity>& slots_so_far() const { return table_; }

  /// `virtqueue` concept: the private record of a live slot.
  [[nodiscard]] const slot_record& record(u16 slot) const { return table_[slot]; }

  /// `virtqueue` concept: requests an interrupt, and returns whether something is ready.
  [[nodiscard]] bool arm() {
    // The device has passed the whole batch: the place of its next answer is not known yet.
    const bool in_batch = is_in_order() && order_.in_batch;
    const u32 lap = used_ != 0 ? 0x8000u : 0u;  // for a broken ring either value is right
    driver_events_->template hint<Barriers>(event_idx_ && !in_batch ? detail::events_at | lap | place_of(oldest_)
                                                                    : detail::events_on);
    // Full fence: the store of the request before the second load of the flags. Partner: the device stores its flags,
    // fences, and reads the request. One of the two sees the other's store, so a sleep misses no completion
    // (2.8.21.3.1).
    Barriers::full();
    const u32 seen = answer().id_and_flags.template observe<Barriers>().unchecked();
    return broken_ || in_batch || (seen & detail::packed_both) == used_;
  }

  /// `virtqueue` concept: requests no interrupts.
  void disarm() { driver_events_->template hint<Barriers>(detail::events_off); }

  /// `virtqueue` concept: after a device reset, returns one request that was in flight.
  [[nodiscard]] result<completion> reclaim() {
    if (const auto one = table_.reclaim(reclaim_from_, static_cast<u16>(size_))) return one;
    // No request is in flight, in a batch or staged. A later publish() of a staged one would write into memory that the
    // caller owns again.
    published_ = offered_ = taken_;
    first_word_ = 0;
    order_ = {.is_on = order_.is_on, .oldest = free_slots_.first()};
    return errc::not_ready;
  }

 private:
  using used_descriptor = detail::packed_used;
  struct descriptor : detail::packed_descriptor {
    void write(const segment& piece, u32 word) {
      address.template store<Barriers>(raw(piece.at));
      length.template store<Barriers>(piece.length);
      id_and_flags.template store<Barriers>(word);
    }
  };

  /// A place in the ring, and the word that makes it available on this lap, without the segment's direction.
  struct place {
    descriptor* at;
    u32 word;
  };
  void step(place& here) {
    if (++here.at != end_) [[likely]]
      return;
    here.at = ring_;
    here.word ^= detail::packed_both;
    available_ ^= detail::packed_both;
  }

  /// Fills in a place except its word. Returns the word.
  [[nodiscard, gnu::always_inline]] u32 put(const place& here, const segment& piece) {
    here.at->address.template store<Barriers>(raw(piece.at));
    here.at->length.template store<Barriers>(piece.length);
    return here.word | static_cast<u32>(piece.way) << 16;
  }

  // The number of a place.
  [[nodiscard]] u32 place_of(const descriptor* at) const { return static_cast<u32>(at - ring_); }

  // Whether the place at this position is among the last `added` published ones. For a place that is not published yet
  // the difference wraps to a large number. After more than a lap without a check the position is ambiguous, so
  // assume yes.
  [[nodiscard]] bool passed(u32 position, u64 added) const {
    return newest_[position >> 15] - position < added || added > size_;
  }

  // The word is not a position, or is one with reserved bits set.
  [[nodiscard, gnu::noinline]] bool wants_kick_otherwise(u32 suppression, u64 added) const {
    const u32 position = (suppression & (detail::events_mask | 0xffff)) - detail::events_at;
    if (position < positions_) return passed(position, added);
    return (suppression & detail::events_mask) != detail::events_off && added != 0;  // also in the reserved mode
  }

  // Without the options the checks cost nothing.
  [[nodiscard]] bool is_indirect() const { return Options.indirect != 0 && indirect_; }
  [[nodiscard]] bool is_in_order() const { return Options.in_order && order_.is_on; }

  [[nodiscard]] const used_descriptor& answer() const { return *reinterpret_cast<const used_descriptor*>(oldest_); }
  [[nodiscard]] descriptor* table_entries(u16 slot) const {
    return reinterpret_cast<descriptor*>(tables_.data + table_bytes * slot);
  }

  // Reads the place of the device's next answer: the slot, which must be in flight, and the used length.
  [[nodiscard, gnu::always_inline]] errc take_answer(u16& slot, untrusted<u32>& length) {
    const used_descriptor& one = answer();
    // Acquire: the rest of the descriptor and the buffers. Partner: the device's release store of the flags.
    const untrusted<u32> word = one.id_and_flags.template observe<Barriers>();
    const u32 seen = word.unchecked();  // any flags are valid; the id is checked below
    if ((seen & detail::packed_both) != used_) return broken_ ? errc::device_misbehaved : errc::not_ready;
    slot = static_cast<u16>(seen);
    if (slot >= Capacity || !table_.may_complete(table_[slot])) [[unlikely]]
      return mark_broken();
    length = one.length.template fetch<Barriers>();
    return errc::ok;
  }

  // An answer is for a batch and names its last request. That request has been published, so the batch ends there and
  // never reaches an unpublished one.
  [[nodiscard]] errc take_in_order(completion& out) {
    if (!order_.in_batch) {
      u16 slot;
      if (const errc got = take_answer(slot, order_.length); got != errc::ok) return got;
      order_.last = untrusted<u32>{slot};
    }
    const u16 slot = order_.oldest;
    const bool last = order_.last.equals(slot);
    order_.in_batch = !last;
    order_.oldest = free_slots_.after(slot);
    pass(slot, order_.length, used_length{last}, out);
    return errc::ok;
  }

  // The device has used this chain and continues after it: it has skipped the chain's other places.
  [[gnu::always_inline]] void pass(usize slot, untrusted<u32> length, used_length is, completion& out) {
    ++taken_;
    oldest_ += table_[slot].count;
    if (oldest_ >= end_) [[unlikely]] {
      oldest_ -= size_;
      used_ ^= detail::packed_both;
    }
    table_.end(slot, length, is, out);
  }

  [[nodiscard]] errc mark_broken() {
    // The first invalid entry is final: no flags match after it, and later contents of the ring are ignored.
    broken_ = true;
    used_ = ~detail::packed_both;
    return errc::device_misbehaved;
  }

  // Memory shared with the device.
  descriptor* ring_ = nullptr;
  descriptor* end_ = nullptr;  // after its last place
  to_device<u32>* driver_events_ = nullptr;
  const from_device<u32>* device_events_ = nullptr;
  dma_area tables_{};

  // Private state.
  descriptor* next_ = nullptr;    // the place of the next descriptor
  descriptor* oldest_ = nullptr;  // the place of the device's next answer
  descriptor* first_ = nullptr;   // the first staged descriptor
  u64 unchecked_ = 0;             // places published since the last kick decision, which may be long ago
  u32 first_word_ = 0;            // the word that makes first_ available; 0: nothing is staged
  u32 available_ = 0;             // flags that make a descriptor available on the driver's lap
  u32 used_ = 0;                  // flags of a used one on the device's lap
  u32 size_ = 0;
  u32 free_places_ = 0;  // places that belong to no taken slot
  u32 positions_ = 0;    // number of positions that a device may request: none without EVENT_IDX
  u32 shown_lap_ = 0;    // wrap counter of the first unpublished place
  u32 newest_[2]{};      // the last published place, as positions with wrap counter 0 and 1 count it
  u16 offered_ = 0;      // requests so far, staged included
  u16 published_ = 0;    // those that the device can see
  u16 taken_ = 0;        // requests that the device returned
  u16 longest_ = 0;      // maximum number of descriptors in a chain
  u16 reclaim_from_ = 0;
  bool event_idx_ = false;
  bool indirect_ = false;
  bool broken_ = false;
  detail::in_order order_{};
  slot_list<Capacity> free_slots_{};
  slot_table<Capacity> table_{};
};

/// A choice of ring for a driver's type: `packed_queue<256>` or
/// `packed_queue<64, virtio::packed_options{.indirect = 16}>`.
template <u16 Capacity, packed_options Options = packed_options{}>
struct packed_queue {
  /// The ring, with a platform's barriers.
  template <barrier_set Barriers>
  using ring = packed_ring<Capacity, Options, Barriers>;
};

static_assert(virtqueue<packed_ring<8>> && queue_format<packed_queue<8>>);

}  // namespace virtio
