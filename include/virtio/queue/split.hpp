// SPDX-License-Identifier: MIT
// Split virtqueue: a table of descriptors, a ring in which the driver offers chains, a ring in which the device returns
// them. Private state (slots, indices, the free list) is in the object; the three parts are in the caller's DMA
// storage. One layout serves legacy and modern devices: the used ring starts at a page. Pages that the device writes
// are thereby separate from those that only the driver writes.
// Spec: virtio 1.4, 2.7. Layer: queue (may include base, platform).
#pragma once

#include <virtio/config.hpp>
#include <virtio/queue/in_order.hpp>
#include <virtio/queue/suppression.hpp>

namespace virtio {

/// Choices of a ring that change its layout.
struct ring_options {
  u16 indirect = 0;      // entries of each slot's indirect table; 0: no indirect descriptors
  u16 ring_entries = 0;  // ring memory for devices that dictate their size (legacy PCI); 0: as many as descriptors
  byte_order order = byte_order::little;  // a legacy device on a big-endian guest requires native_order
  bool in_order = false;  // accept IN_ORDER: a batch has only its last request's length, and one descriptor stays free
};

namespace detail {

// Flags of the two rings.
inline constexpr u16 avail_no_interrupt = 1;
inline constexpr u16 used_no_notify = 1;

/// A descriptor, written in two stores: its address; then length, flags and next in one word.
template <byte_order Order>
struct split_descriptor {
  to_device<u64, Order> address;
  to_device<u64, Order> rest;

  /// `more` are flags besides the segment's own.
  template <class Barriers>
  void write(const segment& piece, u32 more, u32 next) {
    address.template store<Barriers>(raw(piece.at));
    // In a big-endian ring the order of the fields is the same: length, flags, next.
    if constexpr (Order == byte_order::little)
      rest.template store<Barriers>(piece.length_and_way() | ((u64{more} | u64{next} << 16) << 32));
    else rest.template store<Barriers>(u64{piece.length} << 32 | ((static_cast<u32>(piece.way) | more) << 16 | next));
  }
};
static_assert(sizeof(split_descriptor<byte_order::little>) == 16);

template <byte_order Order>
struct split_used_element {
  from_device<u32, Order> id;
  from_device<u32, Order> length;
};
static_assert(sizeof(split_used_element<byte_order::little>) == 8);

}  // namespace detail

/// A split ring with up to `Capacity` descriptors, a power of two up to 32768. All-zero until `attach`. Every call is
/// O(chain) or O(1), and none waits. `needs_kick` and `arm` have one full fence each. The `virtqueue` concept describes
/// the members.
template <u16 Capacity, ring_options Options = ring_options{}, barrier_set Barriers = smp_barriers>
class split_ring {
  static_assert(detail::is_power_of_two(Capacity) && Capacity <= 32768,
                "a split ring has a power-of-two size up to 32768");
  static_assert(Options.indirect == 0 || Options.indirect >= 3,
                "an indirect table holds a header, data and a status: 3 entries");
  static_assert(u64{16} * Options.indirect * Capacity < 0x4000'0000,
                "the indirect tables of all slots must stay below 1 GiB");
  static_assert(Options.ring_entries == 0 ||
                (detail::is_power_of_two(Options.ring_entries) && Options.ring_entries <= 32768));

  static constexpr u16 most_entries = Options.ring_entries > Capacity ? Options.ring_entries : Capacity;

  static constexpr usize driver_offset(usize n) { return 16 * n; }
  static constexpr usize device_offset(usize n) { return detail::round_up(driver_offset(n) + 6 + 2 * n, dma_page); }
  static constexpr usize ring_bytes(usize n) { return detail::round_up(device_offset(n) + 6 + 8 * n, dma_page); }
  static constexpr usize table_bytes = usize{16} * Options.indirect;

 public:
  static constexpr u16 slots = Capacity;              // maximum number of requests in flight
  static constexpr byte_order order = Options.order;  // of the ring's fields
  /// Bytes of DMA storage: rings and indirect tables, in pages.
  static constexpr usize dma_bytes = detail::round_up(ring_bytes(most_entries) + table_bytes * Capacity, dma_page);
  /// Features that the ring can use.
  static constexpr feature_set wanted = feature_set{feature::event_idx} |
                                        (Options.indirect != 0 ? feature_set{feature::indirect_desc} : feature_set{}) |
                                        (Options.in_order ? feature_set{feature::in_order} : feature_set{});
  static constexpr feature_set required{};  // none

  /// `virtqueue` concept: returns the number of entries to use with a device whose maximum this is; 0 if this storage
  /// cannot hold the device's ring.
  [[nodiscard]] static constexpr u16 fit(u16 maximum, ring_size offered) {
    if (offered == ring_size::exactly)
      return detail::is_power_of_two(maximum) && maximum <= most_entries ? maximum : u16{0};
    // A modern device may allow a size that is no power of two; the ring then takes the next one below.
    u16 n = Capacity;
    while (n > maximum) n = static_cast<u16>(n / 2);
    return n;
  }

  /// `virtqueue` concept: zeroes the storage and lays the ring out.
  // Inlined into its one caller, which uses the parts of the layout at once.
  [[nodiscard, gnu::always_inline]] result<ring_layout> attach(const dma_area& storage, u16 entries,
                                                               const feature_set& features) {
    if (!detail::is_power_of_two(entries) || entries > most_entries) return errc::unsupported;
    if (storage.size < dma_bytes) return errc::no_space;
    if (reinterpret_cast<uptr>(storage.data) % dma_page != 0 || raw(storage.at) % 16 != 0) return errc::misaligned;

    // Every part must start as zeros, including the used ring's flags (2.7.8.1). Old data must not leak.
    for (usize i = 0; i < dma_bytes; ++i) storage.data[i] = 0;

    descriptors_ = reinterpret_cast<descriptor*>(storage.data);
    driver_ = reinterpret_cast<to_device<u16, order>*>(storage.data + driver_offset(entries));
    device_ = storage.data + device_offset(entries);
    if constexpr (Options.indirect != 0) {
      tables_ = storage.part(ring_bytes(most_entries), table_bytes * Capacity);
      indirect_ = features.has(feature::indirect_desc);
    }
    mask_ = entries - 1u;
    event_idx_ = features.has(feature::event_idx);

    usable_ = detail::smaller(entries, Capacity);
    free_count_ = usable_;
    if constexpr (Options.in_order) {
      free_count_ -= order_.start(features, usable_);
      free_slots_.start(usable_);
    }
    longest_ = static_cast<u16>(free_count_);
    free_ = 0;
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i < Capacity; ++i) next_[i] = static_cast<u16>(i + 1);
    next_[usable_ - 1] = 0;  // with IN_ORDER the list is a circle; without it this link is never used
    table_.clear();
    offered_ = published_ = taken_ = seen_ = 0;
    unpassed_ = 0x10000;
    reclaim_from_ = 0;
    broken_ = false;
    // The device's suppression word: avail_event, after the ring's elements, or the flags, before them.
    device_suppression_ =
        reinterpret_cast<const from_device<u16, order>*>(device_ + (event_idx_ ? 4 + 8 * usize{entries} : 0));
    disarm();
    return ring_layout{0, static_cast<u32>(driver_offset(entries)), static_cast<u32>(device_offset(entries))};
  }

  /// `virtqueue` concept: the longest chain that an empty queue can take, in descriptors.
  [[nodiscard]] u16 longest_chain() const {
    // Even in a table, a chain must not have more descriptors than the ring has entries (2.7.5.3.1).
    return is_indirect() ? detail::smaller(Options.indirect, static_cast<u16>(mask_ + 1)) : longest_;
  }

  /// `virtqueue` concept: restricts the queue to `most` descriptors.
  void limit(u16 most) {
    free_count_ = detail::smaller(u32{most}, free_count_);
    longest_ = detail::smaller(most, longest_);
  }

  /// `virtqueue` concept: the number of chains that the device may hold.
  [[nodiscard]] u16 in_flight() const { return static_cast<u16>(published_ - taken_); }

  /// `virtqueue` concept: returns the slot of the next request.
  [[nodiscard]] result<u16> reserve() {
    if (free_count_ == 0) [[unlikely]]
      return errc::queue_full;
    return next_slot();
  }

  /// `virtqueue` concept: writes a chain, invisible to the device until `publish`. Cost: two stores for each
  /// descriptor, and one for the ring entry.
  // Inlined: a driver calls it in one place, and it is the larger half of a request's cost.
  VIRTIO_INLINE_ON_CLANG VIRTIO_INLINE_FOR_SPEED [[nodiscard]] result<token> stage(u16 slot, const segments& chain,
                                                                                   u64 cookie) {
    VIRTIO_ASSERT(slot == next_slot());  // the slot that reserve() named, with nothing staged since
    const u16 count = chain.size();
    const bool through_table = is_indirect() && count > 1;
    const u32 needed = through_table ? 1u : count;
    if (const errc no = detail::admit(*this, chain, needed, free_count_); no != errc::ok) [[unlikely]]
      return no;

    // Descriptors are taken from the free list. Without IN_ORDER its head is also the slot. With IN_ORDER the list
    // never changes, so descriptors are used in ring order (2.7.5).
    const u32 head = free_;
    descriptor* const table = through_table ? table_entries(slot) : descriptors_;
    u32 at = through_table ? 0u : head;
    const segment* piece = chain.begin();
    for (const segment* const last = piece + (count - 1); piece != last; ++piece) {
      const u32 next = through_table ? at + 1 : next_[at];
      table[at].template write<Barriers>(*piece, detail::desc_next, next);
      at = next;
    }
    table[at].template write<Barriers>(*piece, 0, 0);
    if (through_table) {
      const segment whole{table_address(slot), u32{16} * count, direction::to_device, 0};
      descriptors_[head].template write<Barriers>(whole, detail::desc_indirect, 0);
    }

    slot_record& record = table_.begin(slot, cookie, static_cast<u32>(chain.writable_bytes()));
    const u32 end = through_table ? head : at;
    record.last = end;
    record.count = needed;
    free_ = next_[end];
    free_count_ -= needed;
    if (is_in_order()) {
      record.last = head;
      free_slots_.take_first();
    }
    driver_[ring_start + usize{offered_ & mask_}].template store<Barriers>(static_cast<u16>(head));
    ++offered_;
    return token{slot, record.generation};
  }

  /// `virtqueue` concept: makes all staged chains visible by one store. Returns whether there were any.
  bool publish() {
    const u16 added = static_cast<u16>(offered_ - published_);
    if (added == 0) return false;
    unpassed_ -= added;
    published_ = offered_;
    table_.publish();
    // Release: descriptors and ring entries before the index. Partner: the device's acquire load of the index
    // (2.7.13.3.1).
    driver_[index_word].template publish<Barriers>(offered_);
    return true;
  }

  /// `virtqueue` concept: returns whether the device requests a doorbell.
  [[nodiscard]] bool needs_kick() {
    const s64 added = 0x10000 - unpassed_;
    unpassed_ = 0x10000;
    // Full fence: the store of the index before the load of the device's suppression word. Partner: the device stores
    // that word, fences, and reads the index again. Without both fences, each side could miss the other's store, and
    // the request would hang (2.7.13.4.1).
    Barriers::full();
    // Any value is valid. A wrong one costs the device its doorbell or the driver one register write.
    const u16 suppression = device_suppression_->template fetch<Barriers>().unchecked();
    if (event_idx_) return need_event(suppression, published_, added);
    // Only bit 0 has a meaning; the device may write anything into the others.
    return (suppression & detail::used_no_notify) == 0 && added != 0;
  }

  /// The available index, for transports that write it to the doorbell.
  [[nodiscard]] u16 position() const { return published_; }

  /// `virtqueue` concept: takes one used entry.
  [[nodiscard]] result<completion> next_completion() {
    completion one;
    const errc got = take(one);
    return got == errc::ok ? result<completion>{one} : result<completion>{got};
  }

  /// `virtqueue` concept: takes one used entry into `out`.
  [[nodiscard]] errc take(completion& out) {
    if (taken_ == seen_) {
      if (broken_) [[unlikely]]
        return errc::device_misbehaved;
      // Acquire: the used elements and buffers that the index covers. Partner: the device's release store of the index.
      const untrusted<u16> index = used_word(index_word).template observe<Barriers>();
      const u16 arrived = static_cast<u16>(index.unchecked() - taken_);  // checked two lines below
      if (arrived == 0) return errc::not_ready;
      if (arrived > in_flight()) [[unlikely]]
        return mark_broken();
      seen_ = static_cast<u16>(taken_ + arrived);
    }
    if (is_in_order()) return take_in_order(out);
    const used_element& element = used_elements()[usize{taken_ & mask_}];
    const result<u32> id = element.id.template fetch<Barriers>().below(Capacity);
    if (!id) [[unlikely]]
      return mark_broken();
    if (!table_.may_complete(table_[*id])) [[unlikely]]
      return mark_broken();
    ++taken_;
    table_.end(*id, element.length.template fetch<Barriers>(), used_length::known, out);
    return errc::ok;
  }

  /// `virtqueue` concept: frees the slot and the descriptors of a request.
  void release(token t) {
    const slot_record& record = table_.release(t);
    free_count_ += record.count;
    if (is_in_order()) {
      free_slots_.put_last(t.slot);
    } else {
      next_[record.last] = free_;
      free_ = t.slot;
    }
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
    if (event_idx_) used_event().template hint<Barriers>(taken_);
    else driver_[flags_word].template hint<Barriers>(0);
    // Full fence: the store of the request before the second load of the index. Partner: the device stores its index,
    // fences, and reads the request. One of the two sees the other's store, so a sleep misses no completion (2.7.7,
    // 2.7.8).
    Barriers::full();
    return broken_ || seen_ != taken_ || !used_word(index_word).template observe<Barriers>().equals(taken_);
  }

  /// `virtqueue` concept: requests no interrupts.
  void disarm() {
    // With EVENT_IDX the flags must stay 0 (2.7.7.1). The event before the current one is 65535 completions away.
    if (event_idx_) used_event().template hint<Barriers>(static_cast<u16>(taken_ - 1));
    else driver_[flags_word].template hint<Barriers>(detail::avail_no_interrupt);
  }

  /// `virtqueue` concept: after a device reset, returns one request that was in flight.
  [[nodiscard]] result<completion> reclaim() {
    if (const auto one = table_.reclaim(reclaim_from_, usable_)) return one;
    published_ = offered_ = taken_ = seen_;  // no request is in flight
    order_ = {.is_on = order_.is_on, .oldest = free_slots_.first()};
    return errc::not_ready;
  }

 private:
  using descriptor = detail::split_descriptor<Options.order>;
  using used_element = detail::split_used_element<Options.order>;

  // Words of the available ring, counted in u16: flags, index, the ring, used_event. The used ring starts the same way.
  static constexpr u32 flags_word = 0;
  static constexpr u32 index_word = 1;
  static constexpr u32 ring_start = 2;

  // Without the option the check costs nothing.
  [[nodiscard]] bool is_indirect() const { return Options.indirect != 0 && indirect_; }
  [[nodiscard]] bool is_in_order() const { return Options.in_order && order_.is_on; }

  [[nodiscard]] to_device<u16, order>& used_event() { return driver_[ring_start + u32{mask_} + 1]; }
  [[nodiscard]] const from_device<u16, order>& used_word(u32 which) const {
    return reinterpret_cast<const from_device<u16, order>*>(device_)[which];
  }
  [[nodiscard]] const used_element* used_elements() const { return reinterpret_cast<const used_element*>(device_ + 4); }

  [[nodiscard]] dma_addr table_address(u16 slot) const { return tables_.at + table_bytes * slot; }

  [[nodiscard]] descriptor* table_entries(u16 slot) const {
    return reinterpret_cast<descriptor*>(tables_.data + table_bytes * slot);
  }

  // The slot of the next request, if there is room for a request.
  [[nodiscard]] u16 next_slot() const { return is_in_order() ? free_slots_.first() : free_; }

  // A batch's element is in the place of its first chain and names the head of its last; the index counts all chains.
  // The index covers only published requests, so the oldest request was published.
  [[nodiscard]] errc take_in_order(completion& out) {
    if (!order_.in_batch) {
      const used_element& element = used_elements()[usize{taken_ & mask_}];
      order_.last = element.id.template fetch<Barriers>();
      order_.length = element.length.template fetch<Barriers>();
    }
    const u16 slot = order_.oldest;
    const bool last = order_.last.equals(table_[slot].last);
    // If no chain that the index covers has this head:
    if (!last && static_cast<u16>(taken_ + 1) == seen_) [[unlikely]]
      return mark_broken();
    order_.in_batch = !last;
    order_.oldest = free_slots_.after(slot);
    ++taken_;
    table_.end(slot, order_.length, used_length{last}, out);
    return errc::ok;
  }

  [[nodiscard]] errc mark_broken() {
    // The first invalid entry is final: later contents of the ring are ignored.
    broken_ = true;
    seen_ = taken_;
    return errc::device_misbehaved;
  }

  // Memory shared with the device.
  descriptor* descriptors_ = nullptr;
  to_device<u16, order>* driver_ = nullptr;
  u8* device_ = nullptr;
  const from_device<u16, order>* device_suppression_ = nullptr;
  dma_area tables_{};

  // Private state. Indices use all 16 bits; the mask makes a place in the ring of them.
  s64 unpassed_ = 0;    // 65,536 less the requests published since the last kick decision, which may be long ago
  u32 mask_ = 0;        // entries less one
  u32 free_count_ = 0;  // descriptors that belong to no taken slot
  u16 free_ = 0;        // head of the free descriptors, which next_ links
  u16 offered_ = 0;     // available index, staged included
  u16 published_ = 0;   // available index, as the device sees it
  u16 taken_ = 0;       // used index up to which completions were taken
  u16 seen_ = 0;        // used index as last read
  u16 usable_ = 0;      // descriptors in use: the smaller of the ring and the capacity
  u16 longest_ = 0;     // maximum number of them in one chain
  u16 reclaim_from_ = 0;
  bool event_idx_ = false;
  bool indirect_ = false;
  bool broken_ = false;
  detail::in_order order_{};
  u16 next_[Capacity]{};
  slot_table<Capacity> table_{};
  slot_list<Options.in_order ? Capacity : 1> free_slots_{};  // with IN_ORDER; otherwise slots are descriptors
};

/// A choice of ring for a driver's type: `split_queue<256>`, `split_queue<64, virtio::ring_options{.indirect = 16}>`.
/// The driver instantiates it with its platform's barriers, so that the two cannot differ.
template <u16 Capacity, ring_options Options = ring_options{}>
struct split_queue {
  /// The ring, with a platform's barriers.
  template <barrier_set Barriers>
  using ring = split_ring<Capacity, Options, Barriers>;
};

static_assert(virtqueue<split_ring<8>> && queue_format<split_queue<8>>);

}  // namespace virtio
