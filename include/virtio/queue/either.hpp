// SPDX-License-Identifier: MIT
// A queue whose ring is packed where the device offers that, and split elsewhere. Which one is known once a start; every call then
// takes one branch that never changes its mind. Private state is kept for both, so it needs about twice as much of that; the DMA
// storage is shared, and code for both is in the program.
// Layer: queue (may include base, platform).
#pragma once

#include <virtio/queue/packed.hpp>
#include <virtio/queue/split.hpp>

namespace virtio {

/// Either ring with up to `Capacity` descriptors, a power of two up to 32768. The contract is that of both.
template <u16 Capacity, ring_options Options = ring_options{}, barrier_set Barriers = smp_barriers>
class either_ring {
  using split_type = split_ring<Capacity, Options, Barriers>;
  using packed_type = packed_ring<Capacity, packed_options{.indirect = Options.indirect, .in_order = Options.in_order}, Barriers>;
  static_assert(Options.order == byte_order::little, "devices of before 1.0 know no packed ring: choose split_queue");

 public:
  static constexpr u16 slots = Capacity;
  static constexpr byte_order order = byte_order::little;
  static constexpr usize dma_bytes =
      split_type::dma_bytes > packed_type::dma_bytes ? split_type::dma_bytes : packed_type::dma_bytes;
  static constexpr feature_set wanted = split_type::wanted | packed_type::wanted;
  static constexpr feature_set required{};

  /// As the split ring's, which is right for both.
  [[nodiscard]] static constexpr u16 fit(u16 maximum, ring_size offered) { return split_type::fit(maximum, offered); }

  [[nodiscard]] result<ring_layout> attach(const dma_area& storage, u16 entries, const feature_set& features) {
    const bool packed = features.has(feature::ring_packed);
    if (packed && !is_packed_) packed_.follow(split_);
    if (!packed && is_packed_) split_.follow(packed_);
    is_packed_ = packed;
    if (packed) return packed_.attach(storage, entries, features);
    return split_.attach(storage, entries, features);
  }

  [[nodiscard]] bool is_packed() const { return is_packed_; }

  [[nodiscard]] u16 longest_chain() const { return is_packed_ ? packed_.longest_chain() : split_.longest_chain(); }
  void limit(u16 most) { is_packed_ ? packed_.limit(most) : split_.limit(most); }
  [[nodiscard]] u16 in_flight() const { return is_packed_ ? packed_.in_flight() : split_.in_flight(); }
  [[nodiscard]] result<u16> reserve() { return is_packed_ ? packed_.reserve() : split_.reserve(); }
  [[nodiscard]] result<token> stage(u16 slot, const segments& chain, u64 cookie) {
    return is_packed_ ? packed_.stage(slot, chain, cookie) : split_.stage(slot, chain, cookie);
  }
  bool publish() { return is_packed_ ? packed_.publish() : split_.publish(); }
  [[nodiscard]] bool needs_kick() { return is_packed_ ? packed_.needs_kick() : split_.needs_kick(); }
  [[nodiscard]] u16 position() const { return is_packed_ ? packed_.position() : split_.position(); }
  [[nodiscard]] result<completion> next_completion() {
    return is_packed_ ? packed_.next_completion() : split_.next_completion();
  }
  [[nodiscard]] errc take(completion& out) { return is_packed_ ? packed_.take(out) : split_.take(out); }
  void release(token t) { is_packed_ ? packed_.release(t) : split_.release(t); }
  [[nodiscard]] bool is_live(token t) const { return is_packed_ ? packed_.is_live(t) : split_.is_live(t); }
  [[nodiscard]] const slot_record& record(u16 slot) const { return is_packed_ ? packed_.record(slot) : split_.record(slot); }
  [[nodiscard]] bool arm() { return is_packed_ ? packed_.arm() : split_.arm(); }
  void disarm() { is_packed_ ? packed_.disarm() : split_.disarm(); }
  [[nodiscard]] result<completion> reclaim() { return is_packed_ ? packed_.reclaim() : split_.reclaim(); }

 private:
  bool is_packed_ = false;
  split_type split_{};
  packed_type packed_{};
};

/// The usual choice of ring for a driver's type: `queue<256>`, `queue<64, virtio::ring_options{.indirect = 16}>`.
template <u16 Capacity, ring_options Options = ring_options{}>
struct queue {
  template <barrier_set Barriers>
  using ring = either_ring<Capacity, Options, Barriers>;
};

static_assert(virtqueue<either_ring<8>> && queue_format<queue<8>>);

}  // namespace virtio
