// SPDX-License-Identifier: MIT
// Packed virtqueue: one ring of descriptors that the driver makes available and the device overwrites when it has used them.
// Who may touch a descriptor is in two of its flag bits, AVAIL and USED, whose meaning turns over with each lap of the ring.
// Ring places and request ids are two things here: places are handed out in order and come back with the device's answers; an id
// (our slot) is the caller's until it is released.
// Spec: virtio 1.4, 2.8. Layer: queue (may include base, platform).
#pragma once

#include <virtio/config.hpp>
#include <virtio/queue/in_order.hpp>
#include <virtio/queue/suppression.hpp>

namespace virtio {

/// Choices of a packed ring that change its layout.
struct packed_options {
  u16 indirect = 0;       // entries of each slot's indirect table; 0: no indirect descriptors
  bool in_order = false;  // accept IN_ORDER: a batch tells the length of its last request only, and one descriptor stays free
};

namespace detail {

/// A descriptor as the driver writes it. Id and flags share a word, so that one store makes it available.
struct packed_descriptor {
  to_device<u64> address;
  to_device<u32> length;
  to_device<u32> id_and_flags;
};
static_assert(sizeof(packed_descriptor) == 16);

/// The same memory as the device leaves it.
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

// Event suppression: a place and its lap in the low half, what to do with them in the high half.
inline constexpr u32 events_on = 0;
inline constexpr u32 events_off = 1u << 16;
inline constexpr u32 events_at = 2u << 16;
inline constexpr u32 events_mask = 3u << 16;

}  // namespace detail

/// A packed ring with up to `Capacity` descriptors, any number up to 32768.
/// All-zero until `attach`. Every call is O(chain) or O(1); none waits; `needs_kick` and `arm` make one full fence each.
template <u16 Capacity, packed_options Options = packed_options{}, barrier_set Barriers = smp_barriers>
class packed_ring {
  static_assert(Capacity >= 1 && Capacity <= 32768, "a packed ring has up to 32768 descriptors");
  static_assert(Options.indirect == 0 || Options.indirect >= 3, "an indirect table holds a header, data and a status: 3 entries");
  static_assert(u64{16} * Options.indirect * Capacity < 0x4000'0000, "the indirect tables of all slots must stay below 1 GiB");

  // The ring, which both sides write; the driver's event word; on a page of its own what only the device writes; the tables.
  static constexpr usize ring_bytes = usize{16} * Capacity;
  static constexpr usize driver_at = ring_bytes;
  static constexpr usize device_at = detail::round_up(driver_at + 4, dma_page);
  static constexpr usize tables_at = device_at + dma_page;
  static constexpr usize table_bytes = usize{16} * Options.indirect;

 public:
  static constexpr u16 slots = Capacity;
  static constexpr byte_order order = byte_order::little;
  static constexpr usize dma_bytes = detail::round_up(tables_at + table_bytes * Capacity, dma_page);
  static constexpr feature_set required{feature::ring_packed};
  static constexpr feature_set wanted = required | feature_set{feature::event_idx} |
                                        (Options.indirect != 0 ? feature_set{feature::indirect_desc} : feature_set{}) |
                                        (Options.in_order ? feature_set{feature::in_order} : feature_set{});

  /// Entries to use with a device whose maximum this is. Devices that dictate their size are legacy, and know no packed ring.
  [[nodiscard]] static constexpr u16 fit(u16 maximum, ring_size offered) { return offered == ring_size::exactly ? u16{0} : detail::smaller(maximum, Capacity); }

  [[nodiscard, gnu::always_inline]] result<ring_layout> attach(const dma_area& storage, u16 entries,
                                                               const feature_set& features) {
    if (entries == 0 || entries > Capacity || !features.has(feature::ring_packed)) return errc::unsupported;
    if (storage.size < dma_bytes) return errc::no_space;
    if (reinterpret_cast<uptr>(storage.data) % dma_page != 0 || raw(storage.at) % 16 != 0) return errc::misaligned;

    // Zero is what every descriptor and both event words must start as (2.8.10.1); and nothing of ours leaks.
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

  /// The longest chain that an empty queue can take.
  [[nodiscard]] u16 longest_chain() const {
    // A table has no more descriptors than the ring (2.8.8).
    return is_indirect() ? detail::smaller(Options.indirect, static_cast<u16>(size_)) : longest_;
  }

  void limit(u16 most) {
    free_places_ = detail::smaller(u32{most}, free_places_);
    longest_ = detail::smaller(most, longest_);
  }

  /// Chains that the device may have.
  [[nodiscard]] u16 in_flight() const { return static_cast<u16>(published_ - taken_); }

  [[nodiscard]] result<u16> reserve() {
    // A request keeps its places until it is released, at least one: while one is free, so is a slot.
    if (free_places_ == 0) [[unlikely]] return errc::queue_full;
    return free_slots_.first();
  }

  [[nodiscard, gnu::always_inline]] result<token> stage(u16 slot, const segments& chain, u64 cookie) {
    VIRTIO_ASSERT(slot == free_slots_.first());  // the slot that reserve() named, with nothing staged since
    const u16 count = chain.size();
    const bool through_table = is_indirect() && count > 1;
    const u32 needed = through_table ? 1u : count;
    if (const errc no = detail::admit(*this, chain, needed, free_places_); no != errc::ok) [[unlikely]] return no;

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
    // The first descriptor of everything staged stays as it is until publish(): the device stops there, and sees none of the
    // others before it.
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

  bool publish() {
    if (first_word_ == 0) return false;
    published_ = offered_;
    table_.publish();
    u32 places = static_cast<u32>(next_ - first_);
    if (next_ <= first_) [[unlikely]] {  // on the next lap, which the words for the lap before last stand for from now on
      places += size_;
      shown_lap_ ^= 1;
      newest_[shown_lap_] -= 2 * size_;
    }
    unchecked_ += places;
    newest_[0] += places;
    newest_[1] += places;
    // Release: everything that was staged before the word that makes the first of it available. Partner: the device's acquire
    // load of these flags (2.8.21.1).
    first_->id_and_flags.template publish<Barriers>(first_word_);
    first_word_ = 0;
    return true;
  }

  [[nodiscard]] bool needs_kick() {
    const u64 added = unchecked_;
    unchecked_ = 0;
    // Full fence: our flags before our load of the device's wish. Partner: the device stores its wish, fences, and looks at the
    // descriptor again (2.8.21.3.1).
    Barriers::full();
    // One load for both halves. Any value is a legal wish; a false one costs the device its doorbell or us one register write.
    const u32 suppression = device_events_->template fetch<Barriers>().unchecked();
    const u32 position = suppression - detail::events_at;
    return position < positions_ ? passed(position, added) : wants_kick_otherwise(suppression, added);
  }

  /// The first place that the device has not been shown, and its lap in the top bit: what the doorbell can tell.
  [[nodiscard]] u16 position() const { return static_cast<u16>(newest_[shown_lap_] + 1); }

  [[nodiscard]] result<completion> next_completion() {
    completion one;
    const errc got = take(one);
    return got == errc::ok ? result<completion>{one} : result<completion>{got};
  }

  [[nodiscard]] errc take(completion& out) {
    if (is_in_order()) return take_in_order(out);
    u16 slot;
    untrusted<u32> length;
    if (const errc got = take_answer(slot, length); got != errc::ok) return got;
    pass(slot, length, used_length::known, out);
    return errc::ok;
  }

  void release(token t) {
    free_places_ += table_.release(t).count;
    if (is_in_order()) free_slots_.put_last(t.slot);
    else free_slots_.put_first(t.slot);
  }

  /// Whether the token's request is in flight or done and not released.
  [[nodiscard]] bool is_live(token t) const { return table_.is_live(t); }

  /// Takes over from a ring of the other format: tokens that are stale there are stale here. Before `attach`.
  template <class Other>
  void follow(const Other& other) {
    table_.follow(other.slots_so_far());
  }
  [[nodiscard]] const slot_table<Capacity>& slots_so_far() const { return table_; }

  /// The private record of a live slot.
  [[nodiscard]] const slot_record& record(u16 slot) const { return table_[slot]; }

  [[nodiscard]] bool arm() {
    // The device is past what is left of a batch: it will put its next answer in a place that is not known yet.
    const bool in_batch = is_in_order() && order_.in_batch;
    const u32 lap = used_ != 0 ? 0x8000u : 0u;  // of a broken ring it does not matter
    driver_events_->template hint<Barriers>(event_idx_ && !in_batch ? detail::events_at | lap | place_of(oldest_) : detail::events_on);
    // Full fence: our wish before our second look. Partner: the device stores its flags, fences, and reads our wish; one of the
    // two sees the other, so no completion is slept through (2.8.21.3.1).
    Barriers::full();
    const u32 seen = answer().id_and_flags.template observe<Barriers>().unchecked();
    return broken_ || in_batch || (seen & detail::packed_both) == used_;
  }

  void disarm() { driver_events_->template hint<Barriers>(detail::events_off); }

  [[nodiscard]] result<completion> reclaim() {
    if (const auto one = table_.reclaim(reclaim_from_, static_cast<u16>(size_))) return one;
    // Nothing is in flight any more: neither of a batch, nor staged for a publish(), whose word would go into memory of the
    // caller's.
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

  /// A place in the ring, and the word that makes it available on this lap, to which the segment's direction is still to come.
  struct place {
    descriptor* at;
    u32 word;
  };
  void step(place& here) {
    if (++here.at != end_) [[likely]] return;
    here.at = ring_;
    here.word ^= detail::packed_both;
    available_ ^= detail::packed_both;
  }

  /// Fills a place in, all but its word, which is returned.
  [[nodiscard, gnu::always_inline]] u32 put(const place& here, const segment& piece) {
    here.at->address.template store<Barriers>(raw(piece.at));
    here.at->length.template store<Barriers>(piece.length);
    return here.word | static_cast<u32>(piece.way) << 16;
  }

  // The number of a place.
  [[nodiscard]] u32 place_of(const descriptor* at) const { return static_cast<u32>(at - ring_); }

  // Whether the place at this position is among the `added` last ones that the device has been shown. One that is still to be
  // filled was filled less than no places ago, which is large. After more than a lap without a look the words cannot tell.
  [[nodiscard]] bool passed(u32 position, u64 added) const {
    return newest_[position >> 15] - position < added || added > size_;
  }

  // No position, but for reserved bits.
  [[nodiscard, gnu::noinline]] bool wants_kick_otherwise(u32 suppression, u64 added) const {
    const u32 position = (suppression & (detail::events_mask | 0xffff)) - detail::events_at;
    if (position < positions_) return passed(position, added);
    return (suppression & detail::events_mask) != detail::events_off && added != 0;  // the reserved mode asks for a doorbell, too
  }

  // Without the options the questions cost nothing.
  [[nodiscard]] bool is_indirect() const { return Options.indirect != 0 && indirect_; }
  [[nodiscard]] bool is_in_order() const { return Options.in_order && order_.is_on; }

  [[nodiscard]] const used_descriptor& answer() const { return *reinterpret_cast<const used_descriptor*>(oldest_); }
  [[nodiscard]] descriptor* table_entries(u16 slot) const {
    return reinterpret_cast<descriptor*>(tables_.data + table_bytes * slot);
  }

  // What the device says where its next answer will be: a slot that it has, and how much it wrote.
  [[nodiscard, gnu::always_inline]] errc take_answer(u16& slot, untrusted<u32>& length) {
    const used_descriptor& one = answer();
    // Acquire: the rest of the descriptor and the buffers. Partner: the device's release store of the flags.
    const untrusted<u32> word = one.id_and_flags.template observe<Barriers>();
    const u32 seen = word.unchecked();  // the flags say whose it is, whatever they say; the id is checked below
    if ((seen & detail::packed_both) != used_) return broken_ ? errc::device_misbehaved : errc::not_ready;
    slot = static_cast<u16>(seen);
    if (slot >= Capacity || !table_.may_complete(table_[slot])) [[unlikely]] return mark_broken();
    length = one.length.template fetch<Barriers>();
    return errc::ok;
  }

  // An answer is for a batch, of which it names the last request. That has been published, so this comes to it and to nothing that
  // was not.
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

  // The device has used this chain, and goes on behind it: it has skipped the chain's other places.
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
    // The first lie is final: nothing that this ring says counts any more, and no flags are right.
    broken_ = true;
    used_ = ~detail::packed_both;
    return errc::device_misbehaved;
  }

  // The shared memory.
  descriptor* ring_ = nullptr;
  descriptor* end_ = nullptr;  // behind its last place
  to_device<u32>* driver_events_ = nullptr;
  const from_device<u32>* device_events_ = nullptr;
  dma_area tables_{};

  // The truth, ours alone.
  descriptor* next_ = nullptr;    // the place that the next descriptor goes to
  descriptor* oldest_ = nullptr;  // the place where the device's next answer will be
  descriptor* first_ = nullptr;   // where the first staged descriptor is, and
  u64 unchecked_ = 0;             // places published since the last kick decision, which may be long ago
  u32 first_word_ = 0;            // the word that makes it available; 0: nothing is staged
  u32 available_ = 0;             // flags that make a descriptor available on the driver's lap
  u32 used_ = 0;                  // flags of a used one on the device's lap
  u32 size_ = 0;
  u32 free_places_ = 0;           // which no taken slot has
  u32 positions_ = 0;             // how many positions a device may ask for: none without EVENT_IDX
  u32 shown_lap_ = 0;             // wrap counter where the device has been shown everything
  u32 newest_[2]{};               // the last place that the device has been shown, as positions with wrap counter 0 and 1 count it
  u16 offered_ = 0;               // requests so far, staged included
  u16 published_ = 0;             // those that the device can see
  u16 taken_ = 0;                 // requests that came back
  u16 longest_ = 0;               // descriptors in a chain at most
  u16 reclaim_from_ = 0;
  bool event_idx_ = false;
  bool indirect_ = false;
  bool broken_ = false;
  detail::in_order order_{};
  slot_list<Capacity> free_slots_{};
  slot_table<Capacity> table_{};
};

/// A choice of ring for a driver's type: `packed_queue<256>`, `packed_queue<64, virtio::packed_options{.indirect = 16}>`.
template <u16 Capacity, packed_options Options = packed_options{}>
struct packed_queue {
  template <barrier_set Barriers>
  using ring = packed_ring<Capacity, Options, Barriers>;
};

static_assert(virtqueue<packed_ring<8>> && queue_format<packed_queue<8>>);

}  // namespace virtio
