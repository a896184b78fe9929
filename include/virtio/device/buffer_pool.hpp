// SPDX-License-Identifier: MIT
// Buffers of a driver's own, in its DMA storage: receive buffers that are posted, filled by the device, held and given back, and send
// buffers. Data is copied in and out, so a device that fails keeps no memory of a user.
//
// A receive buffer is in one of three places: free, with the device, or held by the driver since its packet arrived. A send buffer is
// free, held while it is filled, or with the device. The pool holds the free ones; the ring knows the second; the driver must give
// back what it holds.
// Layer: device.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/config.hpp>
#include <virtio/queue/concepts.hpp>

namespace virtio {

/// Names one buffer of a pool, or none. All-zero is none.
class buffer_index {
 public:
  constexpr buffer_index() = default;
  constexpr explicit buffer_index(u32 number) : above_{static_cast<u16>(number + 1)} {}

  [[nodiscard]] constexpr bool is_none() const { return above_ == 0; }
  /// Its number in the pool, from 0. Only of one that is not none.
  [[nodiscard]] constexpr usize number() const { return usize{above_} - 1; }

  /// As the 64 bits that travel with a chain through the ring, and back. None is 0.
  [[nodiscard]] constexpr u64 cookie() const { return above_; }
  [[nodiscard]] static constexpr buffer_index of_cookie(u64 cookie) {
    buffer_index one;
    one.above_ = static_cast<u16>(cookie);
    return one;
  }

  [[nodiscard]] friend constexpr bool operator==(const buffer_index&, const buffer_index&) = default;

 private:
  u16 above_ = 0;  // the number and one
};

inline constexpr buffer_index no_buffer{};

/// Buffers that are held, first in, first out, through the links that their pool has. All-zero: empty.
class buffer_list {
 public:
  [[nodiscard]] bool empty() const { return first_.is_none(); }
  [[nodiscard]] buffer_index first() const { return first_; }
  [[nodiscard]] buffer_index last() const { return last_; }

  template <class Pool>
  void push(Pool& pool, buffer_index one) {
    pool.after(one) = no_buffer;
    (first_.is_none() ? first_ : pool.after(last_)) = one;
    last_ = one;
  }
  /// Takes the first one out. Only if there is one.
  template <class Pool>
  buffer_index pop(Pool& pool) {
    const buffer_index one = first_;
    first_ = pool.after(one);
    if (first_.is_none()) last_ = no_buffer;
    return one;
  }

 private:
  buffer_index first_{};
  buffer_index last_{};
};

/// `Count` buffers of `Payload` bytes each, at least 1, and `Header` bytes each in a place of their own; 0 for none. Payloads lie one
/// behind the other: cells may stand in them whose alignment divides `Payload`. One context owns the pool. All calls are O(1) but `start`,
/// `post` and `collect`.
template <u32 Count, u32 Payload, u32 Header = 0>
class buffer_pool {
  static_assert(Count >= 1 && Count < 0xffff, "16 bits number the buffers, and one of their values is none");
  static_assert(Payload >= 1, "no ring takes a piece without a byte");
  static_assert(Header % 4 == 0, "headers are cells of up to four bytes, one behind the other");

  // Payloads start at a page: one whose size divides a page never lies across two.
  static constexpr usize payloads_at = detail::round_up(usize{Header} * Count, dma_page);
  static_assert(u64{payloads_at} + u64{Payload} * Count < 0x8000'0000, "a pool of buffers must stay below 2 GiB");

 public:
  static constexpr u32 count = Count;
  static constexpr u32 payload_bytes = Payload;
  /// DMA storage that the pool needs, in pages.
  static constexpr usize dma_bytes = detail::round_up(payloads_at + usize{Payload} * Count, dma_page);

  /// All buffers are free, in `memory`, which starts at a page.
  void start(const dma_area& memory) {
    memory_ = memory;
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i + 1 < Count; ++i) next_[i] = buffer_index{i + 1};
    next_[Count - 1] = no_buffer;
    free_ = buffer_index{0};
  }

  /// A free buffer; none when there is none. It is the caller's until `give_back`, or until it is staged.
  [[nodiscard]] buffer_index take() {
    const buffer_index one = free_;
    if (one.is_none()) return one;
    free_ = next_[one.number()];
    next_[one.number()] = no_buffer;
    return one;
  }
  void give_back(buffer_index one) {
    next_[one.number()] = free_;
    free_ = one;
  }
  [[nodiscard]] bool has_free() const { return !free_.is_none(); }
  /// Whether `n` are free, at least 1. O(n).
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE bool has_free(u32 n) const {
    buffer_index one = free_;
    while (!one.is_none() && --n != 0) one = next_[one.number()];
    return !one.is_none();
  }

  [[nodiscard]] u8* payload(buffer_index one) const { return memory_.data + payload_offset(one); }
  /// Its payload, as cells that the device sees.
  template <class Cells>
  [[nodiscard]] Cells& cells(buffer_index one) const {
    static_assert(sizeof(Cells) <= Payload && Payload % alignof(Cells) == 0);
    return *reinterpret_cast<Cells*>(payload(one));
  }
  /// Its header, as cells that the device sees.
  template <class Cells>
  [[nodiscard]] Cells& header(buffer_index one) const {
    static_assert(sizeof(Cells) == Header);
    return reinterpret_cast<Cells*>(memory_.data)[one.number()];
  }

  /// Appends `size` bytes of the payload, from `from` on, to a chain that has room.
  void append(segments& chain, buffer_index one, direction way, u32 from = 0, u32 size = Payload) const {
    chain.append(memory_.at + (payload_offset(one) + from), size, way);
  }

  /// Stages free buffers for the device to write to until `ring` takes no more: the header first, then the payload. `prepare(buffer)`
  /// is called ahead of each; what an earlier packet left in a header is cleared there.
  template <virtqueue Ring, class Prepare>
  void post(Ring& ring, Prepare&& prepare) {
    while (has_free()) {
      const auto slot = ring.reserve();
      if (!slot) return;
      const buffer_index one = free_;
      segment room[2];
      segments chain{room};
      if constexpr (Header != 0) chain.append(memory_.at + usize{Header} * one.number(), Header, direction::from_device);
      append(chain, one, direction::from_device);
      prepare(one);
      if (!ring.stage(*slot, chain, one.cookie())) return;  // a slot, but not the descriptors
      free_ = next_[one.number()];
    }
  }
  template <virtqueue Ring>
  void post(Ring& ring) {
    post(ring, [](buffer_index) {});
  }

  /// The next buffer that the device has written to, and how many bytes it says to have written, header included: no more than there
  /// are. The caller's until `give_back`. Errors: those of the ring's `take`.
  template <virtqueue Ring>
  [[nodiscard]] static errc arrived(Ring& ring, buffer_index& one, u32& length) {
    completion ended;
    const errc got = ring.take(ended);
    if (got != errc::ok) return got;
    ring.release(ended.which);
    one = buffer_index::of_cookie(ended.cookie);
    length = ended.length;
    return errc::ok;
  }

  /// Takes back every buffer that the device has sent; chains with the cookie 0 had none. `some` becomes true if there was any chain.
  /// Errors: `device_misbehaved`.
  template <virtqueue Ring>
  [[nodiscard]] errc collect(Ring& ring, bool& some) {
    for (completion ended;;) {
      const errc got = ring.take(ended);
      if (got != errc::ok) return got == errc::not_ready ? errc::ok : got;
      some = true;
      ring.release(ended.which);
      if (const buffer_index one = buffer_index::of_cookie(ended.cookie); !one.is_none()) give_back(one);
    }
  }

  /// The link of a buffer that is held: the one after it in a `buffer_list`.
  [[nodiscard]] buffer_index& after(buffer_index one) { return next_[one.number()]; }
  [[nodiscard]] buffer_index after(buffer_index one) const { return next_[one.number()]; }

 private:
  [[nodiscard]] static constexpr usize payload_offset(buffer_index one) { return payloads_at + usize{Payload} * one.number(); }

  dma_area memory_{};
  buffer_index free_{};
  buffer_index next_[Count]{};
};

}  // namespace virtio
