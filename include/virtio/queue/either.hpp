// SPDX-License-Identifier: MIT
// A queue whose ring is packed if the device offers packed rings, and split otherwise. `attach` decides; every call
// then takes one branch, which has the same outcome until the next start. The object holds the private state of both
// rings, about twice that of one. They share the DMA storage, and the program contains the code of both.
// Layer: queue (may include base, platform).
#pragma once

#include <virtio/queue/packed.hpp>
#include <virtio/queue/split.hpp>

namespace virtio {

/// Either ring with up to `Capacity` descriptors, a power of two up to 32768. Each member does what the same member of
/// `split_ring` and `packed_ring` does; the `virtqueue` concept describes them.
template <u16 Capacity, ring_options Options = ring_options{}, barrier_set Barriers = smp_barriers>
class either_ring {
  using split_type = split_ring<Capacity, Options, Barriers>;
  using packed_type =
      packed_ring<Capacity, packed_options{.indirect = Options.indirect, .in_order = Options.in_order}, Barriers>;
  static_assert(Options.order == byte_order::little, "legacy devices have no packed ring: choose split_queue");

 public:
  static constexpr u16 slots = Capacity;                   // maximum number of requests in flight
  static constexpr byte_order order = byte_order::little;  // of the ring's fields
  /// Bytes of DMA storage, enough for either ring.
  static constexpr usize dma_bytes =
      split_type::dma_bytes > packed_type::dma_bytes ? split_type::dma_bytes : packed_type::dma_bytes;
  static constexpr feature_set wanted = split_type::wanted | packed_type::wanted;  // features that the rings can use
  static constexpr feature_set required{};                                         // none

  /// `virtqueue` concept: returns the number of entries to use. The split ring's result is right for both.
  [[nodiscard]] static constexpr u16 fit(u16 maximum, ring_size offered) { return split_type::fit(maximum, offered); }

  /// `virtqueue` concept: lays the ring out, packed if `features` has RING_PACKED. Tokens of the other ring are stale.
  [[nodiscard]] result<ring_layout> attach(const dma_area& storage, u16 entries, const feature_set& features) {
    const bool packed = features.has(feature::ring_packed);
    if (packed && !is_packed_) packed_.follow(split_);
    if (!packed && is_packed_) split_.follow(packed_);
    is_packed_ = packed;
    if (packed) return packed_.attach(storage, entries, features);
    return split_.attach(storage, entries, features);
  }

  /// Whether the ring is packed since the last `attach`.
  [[nodiscard]] bool is_packed() const { return is_packed_; }

  /// `virtqueue` concept: the maximum number of descriptors in one chain.
  [[nodiscard]] u16 longest_chain() const { return is_packed_ ? packed_.longest_chain() : split_.longest_chain(); }
  /// `virtqueue` concept: restricts the queue to `most` descriptors.
  void limit(u16 most) { is_packed_ ? packed_.limit(most) : split_.limit(most); }
  /// `virtqueue` concept: the number of requests published and not taken.
  [[nodiscard]] u16 in_flight() const { return is_packed_ ? packed_.in_flight() : split_.in_flight(); }
  /// `virtqueue` concept: returns the slot of the next request.
  [[nodiscard]] result<u16> reserve() { return is_packed_ ? packed_.reserve() : split_.reserve(); }
  /// `virtqueue` concept: writes a chain, invisible to the device until `publish`.
  [[nodiscard]] result<token> stage(u16 slot, const segments& chain, u64 cookie) {
    return is_packed_ ? packed_.stage(slot, chain, cookie) : split_.stage(slot, chain, cookie);
  }
  /// `virtqueue` concept: makes all staged chains visible to the device.
  bool publish() { return is_packed_ ? packed_.publish() : split_.publish(); }
  /// `virtqueue` concept: returns whether the device requests a doorbell.
  [[nodiscard]] bool needs_kick() { return is_packed_ ? packed_.needs_kick() : split_.needs_kick(); }
  /// The position that a doorbell can carry.
  [[nodiscard]] u16 position() const { return is_packed_ ? packed_.position() : split_.position(); }
  /// `virtqueue` concept: takes one used entry.
  [[nodiscard]] result<completion> next_completion() {
    return is_packed_ ? packed_.next_completion() : split_.next_completion();
  }
  /// `virtqueue` concept: takes one used entry into `out`.
  [[nodiscard]] errc take(completion& out) { return is_packed_ ? packed_.take(out) : split_.take(out); }
  /// `virtqueue` concept: frees the slot and the descriptors of a request.
  void release(token t) { is_packed_ ? packed_.release(t) : split_.release(t); }
  /// `virtqueue` concept: returns whether the request was staged and not released.
  [[nodiscard]] bool is_live(token t) const { return is_packed_ ? packed_.is_live(t) : split_.is_live(t); }
  /// `virtqueue` concept: the private record of a slot.
  [[nodiscard]] const slot_record& record(u16 slot) const {
    return is_packed_ ? packed_.record(slot) : split_.record(slot);
  }
  /// `virtqueue` concept: requests an interrupt, and returns whether something is ready.
  [[nodiscard]] bool arm() { return is_packed_ ? packed_.arm() : split_.arm(); }
  /// `virtqueue` concept: requests no interrupts.
  void disarm() { is_packed_ ? packed_.disarm() : split_.disarm(); }
  /// `virtqueue` concept: after a device reset, returns one request that was in flight.
  [[nodiscard]] result<completion> reclaim() { return is_packed_ ? packed_.reclaim() : split_.reclaim(); }

 private:
  bool is_packed_ = false;
  split_type split_{};
  packed_type packed_{};
};

/// The usual choice of ring for a driver's type: `queue<256>`, `queue<64, virtio::ring_options{.indirect = 16}>`.
template <u16 Capacity, ring_options Options = ring_options{}>
struct queue {
  /// The ring, with a platform's barriers.
  template <barrier_set Barriers>
  using ring = either_ring<Capacity, Options, Barriers>;
};

static_assert(virtqueue<either_ring<8>> && queue_format<queue<8>>);

}  // namespace virtio
