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
  [[nodiscard]] static constexpr u16 fit(u16 maximum, bool fixed) { return fixed ? u16{0} : detail::smaller(maximum, Capacity); }

  [[nodiscard, gnu::always_inline]] result<ring_layout> attach(const dma_area& storage, u16 entries,
                                                               const feature_set& features) {
    if (entries == 0 || entries > Capacity || !features.has(feature::ring_packed)) return errc::unsupported;
    if (storage.size < dma_bytes) return errc::no_space;
    if (reinterpret_cast<uptr>(storage.data) % dma_page != 0 || raw(storage.at) % 16 != 0) return errc::misaligned;

    // Zero is what every descriptor and both event words must start as (2.8.10.1); and nothing of ours leaks.
    for (usize i = 0; i < dma_bytes; ++i) storage.data[i] = 0;

    storage_ = storage.data;
    if constexpr (Options.indirect != 0) {
      tables_ = storage.part(tables_at, table_bytes * Capacity);
      indirect_ = features.has(feature::indirect_desc);
    }
    size_ = entries;
    event_idx_ = features.has(feature::event_idx);
    position_wish_ = event_idx_ ? detail::events_at : ~detail::events_mask;

    // Both laps start with the wrap counter at 1 (2.8.1).
    order_.start(features.has(feature::in_order));
    free_places_ = entries - u32{order_.kept_free(entries)};
    next_ = 0;
    shown_ = 0x8000;
    taken_at_ = 0;
    available_ = detail::packed_avail;
    used_ = detail::packed_both;
    table_.clear();
    for (u32 i = 0; i < Capacity; ++i) next_slot_[i] = static_cast<u16>(i + 1);
    free_slot_ = 0;
    offered_ = published_ = taken_ = 0;
    unchecked_places_ = staged_places_ = 0;
    reclaim_from_ = 0;
    broken_ = false;
    disarm();
    return ring_layout{0, static_cast<u32>(driver_at), static_cast<u32>(device_at)};
  }

  /// The longest chain that an empty queue can take.
  [[nodiscard]] u16 longest_chain() const {
    // A table has no more descriptors than the ring (2.8.8).
    const u16 size = static_cast<u16>(size_);
    return is_indirect() ? detail::smaller(Options.indirect, size) : static_cast<u16>(size - order_.kept_free(size_));
  }

  /// Chains that the device may have.
  [[nodiscard]] u16 in_flight() const { return static_cast<u16>(published_ - taken_); }

  [[nodiscard]] result<u16> reserve() {
    if constexpr (Options.in_order)
      if (order_.is_on()) return free_places_ == 0 ? result<u16>{errc::queue_full} : order_.reserve(table_, next_, size_);
    // While a slot is free there may be no place, when chains of several descriptors fill the ring: stage() sees to that.
    if (free_slot_ >= size_) [[unlikely]] return errc::queue_full;
    return free_slot_;
  }

  [[nodiscard, gnu::always_inline]] result<token> stage(u16 slot, const segments& chain, u64 cookie) {
    VIRTIO_ASSERT(slot == next_slot());  // the slot that reserve() named, with nothing staged since
    const u16 count = chain.size();
    const bool through_table = is_indirect() && count > 1;
    const u16 needed = through_table ? u16{1} : count;
    // One comparison for none and for too many: 0 - 1 is large.
    if (needed - 1u >= free_places_ || (through_table && count > longest_chain())) [[unlikely]]
      return count == 0 ? errc::invalid_argument : count > longest_chain() ? errc::out_of_range : errc::queue_full;

    if (chain.bytes() >> 32 != 0) [[unlikely]] return errc::out_of_range;  // 2.8.8

    place here{next_, available_ | slot};
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
        u32 word;
        do {
          step(here);
          word = put(here, *++piece) | more;
          ring()[here.at].id_and_flags.template hint<Barriers>(word);
        } while (piece != last);
        ring()[here.at].id_and_flags.template hint<Barriers>(word ^ more);
      }
    }
    step(here);
    // The first descriptor of everything staged stays as it is until publish(): the device stops there, and sees none of the
    // others before it.
    if (staged_places_ == 0) {
      first_at_ = next_;
      first_word_ = first_word;
    } else {
      ring()[next_].id_and_flags.store(first_word);
    }
    next_ = here.at;
    available_ = here.word & detail::packed_both;

    slot_record& record = table_.begin(slot, cookie, static_cast<u32>(chain.writable_bytes()));
    record.count = needed;
    if (!order_.is_on()) free_slot_ = next_slot_[usize{slot}];
    free_places_ -= needed;
    staged_places_ += needed;
    ++offered_;
    return token{slot, record.generation};
  }

  bool publish() {
    if (staged_places_ == 0) return false;
    published_ = offered_;
    table_.publish();
    unchecked_places_ += staged_places_;
    staged_places_ = 0;
    shown_ = next_ | (available_ == detail::packed_avail ? 0x8000u : 0u);
    // Release: everything that was staged before the word that makes the first of it available. Partner: the device's acquire
    // load of these flags (2.8.21.1).
    ring()[first_at_].id_and_flags.template publish<Barriers>(first_word_);
    return true;
  }

  [[nodiscard]] bool needs_kick() {
    const u32 added = unchecked_places_;
    unchecked_places_ = 0;
    // Full fence: our flags before our load of the device's wish. Partner: the device stores its wish, fences, and looks at the
    // descriptor again (2.8.21.3.1).
    Barriers::full();
    // One load for both halves. Any value is a legal wish; a false one costs the device its doorbell or us one register write.
    const u32 wish = device_events().template fetch<Barriers>().unchecked();
    const u32 how = wish & detail::events_mask;
    if (how != position_wish_) return how != detail::events_off && added != 0;  // what is reserved asks for a doorbell, too
    // How many places ago the one that was asked for was filled. One that is still to be filled is below zero, which is large. The
    // wrap counters tell this lap from the last.
    u32 ago = (shown_ & 0x7fffu) - (wish & 0x7fffu);
    if (((wish ^ shown_) & 0x8000u) != 0) ago += size_;
    return ago - 1 < added || added > size_;  // after more than a lap without a look the words cannot tell
  }

  /// The first place that the device has not been shown, and its lap in the top bit: what the doorbell can tell.
  [[nodiscard]] u16 position() const { return static_cast<u16>(shown_); }

  [[nodiscard]] result<completion> next_completion() {
    completion one;
    const errc got = take(one);
    return got == errc::ok ? result<completion>{one} : result<completion>{got};
  }

  [[nodiscard]] errc take(completion& out) {
    if constexpr (Options.in_order)
      if (order_.in_batch()) return take_of_batch(out);
    const used_descriptor& one = used_places()[taken_at_];
    // Acquire: the rest of the descriptor and the buffers. Partner: the device's release store of the flags.
    const untrusted<u32> word = one.id_and_flags.template observe<Barriers>();
    const u32 seen = word.unchecked();  // the flags say whose it is, whatever they say; the id is checked below
    if ((seen & detail::packed_both) != used_) return broken_ ? errc::device_misbehaved : errc::not_ready;
    const u16 slot = static_cast<u16>(seen);
    if (slot >= Capacity) [[unlikely]] return lie();
    slot_record& record = table_[slot];
    if (!table_.may_complete(record)) [[unlikely]] return lie();
    const untrusted<u32> length = one.length.template fetch<Barriers>();
    if constexpr (Options.in_order) {
      if (order_.is_on() && slot != order_.slot_at(taken_at_)) {
        order_.begin_batch(slot, length);
        return take_of_batch(out);
      }
    }
    record.batch = 0;
    // The length is cut, never judged: honest devices differ in what they report.
    out = {token{slot, record.generation}, record.cookie, length.clamped(record.writable), true};
    pass(record.count);
    return errc::ok;
  }

  void release(token t) {
    (void)table_.release(t);
    if (order_.is_on()) return;  // its place has it again
    next_slot_[usize{t.slot}] = free_slot_;
    free_slot_ = t.slot;
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
    const u32 lap = used_ != 0 ? 0x8000u : 0u;  // of a broken ring it does not matter
    driver_events().template hint<Barriers>(event_idx_ ? detail::events_at | lap | taken_at_ : detail::events_on);
    // Full fence: our wish before our second look. Partner: the device stores its flags, fences, and reads our wish; one of the
    // two sees the other, so no completion is slept through (2.8.21.3.1).
    Barriers::full();
    const u32 seen = used_places()[taken_at_].id_and_flags.template observe<Barriers>().unchecked();
    return broken_ || (seen & detail::packed_both) == used_;
  }

  void disarm() { driver_events().template hint<Barriers>(detail::events_off); }

  [[nodiscard]] result<completion> reclaim() {
    if (const auto one = table_.reclaim(reclaim_from_, Capacity)) return one;
    // Nothing is in flight any more: neither of a batch, nor staged for a publish(), whose word would go into memory of the caller's.
    published_ = offered_ = taken_;
    staged_places_ = 0;
    order_.start(order_.is_on());
    return errc::not_ready;
  }

 private:
  using used_descriptor = detail::packed_used;
  struct descriptor : detail::packed_descriptor {
    void write(const segment& piece, u32 word) {
      address.store(raw(piece.at));
      length.store(piece.length);
      id_and_flags.store(word);
    }
  };

  /// A place in the ring, and the word that makes it available on this lap, to which the segment's direction is still to come.
  struct place {
    u32 at;
    u32 word;
  };
  void step(place& here) const {
    if (++here.at != size_) [[likely]] return;
    here.at = 0;
    here.word ^= detail::packed_both;
  }

  /// Fills a place in, all but its word, which is returned.
  [[nodiscard, gnu::always_inline]] u32 put(const place& here, const segment& piece) {
    descriptor& one = ring()[here.at];
    one.address.store(raw(piece.at));
    one.length.store(piece.length);
    return here.word | static_cast<u32>(piece.way) << 16;
  }

  [[nodiscard]] bool is_indirect() const { return Options.indirect != 0 && indirect_; }

  [[nodiscard]] descriptor* ring() const { return reinterpret_cast<descriptor*>(storage_); }
  [[nodiscard]] const used_descriptor* used_places() const { return reinterpret_cast<const used_descriptor*>(storage_); }
  [[nodiscard]] descriptor* table_entries(u16 slot) const {
    return reinterpret_cast<descriptor*>(tables_.data + table_bytes * slot);
  }
  [[nodiscard]] to_device<u32>& driver_events() { return *reinterpret_cast<to_device<u32>*>(storage_ + driver_at); }
  [[nodiscard]] const from_device<u32>& device_events() const {
    return *reinterpret_cast<const from_device<u32>*>(storage_ + device_at);
  }

  // The device has used a chain of `count` descriptors, and goes on behind it.
  [[gnu::always_inline]] void pass(u32 count) {
    ++taken_;
    // It has skipped the chain's other places, whichever chain of the ring this was.
    free_places_ += count;
    u32 behind = taken_at_ + count;
    if (behind >= size_) [[unlikely]] {
      behind -= size_;
      used_ ^= detail::packed_both;
    }
    taken_at_ = behind;
  }

  // The oldest request. What ends the batch has been published, so this comes to it and to nothing that was not.
  [[nodiscard]] errc take_of_batch(completion& out) {
    const u16 slot = order_.slot_at(taken_at_);
    slot_record& record = table_[slot];
    const bool last = order_.ends_batch(slot);
    record.batch = 0;
    out = {token{slot, record.generation}, record.cookie, last ? order_.length().clamped(record.writable) : 0, last};
    pass(record.count);
    return errc::ok;
  }

  // The slot that the next request gets.
  [[nodiscard]] u32 next_slot() const {
    if constexpr (Options.in_order)
      if (order_.is_on()) return order_.slot_at(next_);
    return free_slot_;
  }

  [[nodiscard]] errc lie() {
    // The first lie is final: nothing that this ring says counts any more, and no flags are right.
    broken_ = true;
    used_ = ~detail::packed_both;
    return errc::device_misbehaved;
  }

  // The shared memory.
  u8* storage_ = nullptr;
  dma_area tables_{};

  // The truth, ours alone.
  u32 size_ = 0;
  u32 next_ = 0;               // the place that the next descriptor goes to
  u32 taken_at_ = 0;           // the place where the device's next answer will be
  u32 free_places_ = 0;
  u32 available_ = 0;          // flags that make a descriptor available on the driver's lap
  u32 used_ = 0;               // flags of a used one on the device's lap
  u32 first_at_ = 0;           // where the first staged descriptor is,
  u32 staged_places_ = 0;      // how many there are, and
  u32 first_word_ = 0;         // the word that makes the first available
  u16 offered_ = 0;            // requests so far, staged included
  u16 published_ = 0;          // those that the device can see
  u32 shown_ = 0;              // the first place that the device has not been shown, with the driver's wrap counter in bit 15
  u32 position_wish_ = 0;      // how a device asks for a position; without EVENT_IDX there is no such word
  u32 unchecked_places_ = 0;   // published since the last kick decision
  u16 taken_ = 0;              // requests that came back
  u16 reclaim_from_ = 0;
  u16 free_slot_ = 0;          // head of the free slots, which next_slot_ links; size_ or more: none
  bool event_idx_ = false;
  bool indirect_ = false;
  bool broken_ = false;
  u16 next_slot_[Capacity]{};
  slot_table<Capacity> table_{};
  VIRTIO_EMPTY_MEMBER detail::conditional<Options.in_order, detail::in_order_queue<Capacity>, detail::no_order> order_{};
};

/// A choice of ring for a driver's type: `packed_queue<256>`, `packed_queue<64, virtio::packed_options{.indirect = 16}>`.
template <u16 Capacity, packed_options Options = packed_options{}>
struct packed_queue {
  template <barrier_set Barriers>
  using ring = packed_ring<Capacity, Options, Barriers>;
};

static_assert(virtqueue<packed_ring<8>> && queue_format<packed_queue<8>>);

}  // namespace virtio
