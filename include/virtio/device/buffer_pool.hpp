// SPDX-License-Identifier: MIT
// Buffers in a driver's DMA storage: receive buffers, which the driver posts, the device fills, and the driver holds
// and returns; and send buffers. Data is copied in and out, so a device that fails keeps no memory of the user.
//
// A receive buffer is free, with the device, or held by the driver after its packet arrived. A send buffer is free,
// held while it is filled, or with the device. The pool records the free buffers and the ring those with the device;
// the driver must return the ones that it holds.
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
  /// Names the buffer with this number.
  constexpr explicit buffer_index(u32 number) : above_{static_cast<u16>(number + 1)} {}

  [[nodiscard]] constexpr bool is_none() const { return above_ == 0; }  // whether this names no buffer
  /// The buffer's number in the pool, from 0. Call it only if `is_none` returns false.
  [[nodiscard]] constexpr usize number() const { return usize{above_} - 1; }

  /// The index as the 64 bits that a chain carries through the ring. None is 0.
  [[nodiscard]] constexpr u64 cookie() const { return above_; }
  /// The index of a chain's cookie.
  [[nodiscard]] static constexpr buffer_index of_cookie(u64 cookie) {
    buffer_index one;
    one.above_ = static_cast<u16>(cookie);
    return one;
  }

  [[nodiscard]] friend constexpr bool operator==(const buffer_index&, const buffer_index&) = default;

 private:
  u16 above_ = 0;  // the number and one
};

inline constexpr buffer_index no_buffer{};  // names no buffer

/// Held buffers, first in, first out, linked through their pool. All-zero: empty.
class buffer_list {
 public:
  [[nodiscard]] bool empty() const { return first_.is_none(); }  // whether it has no buffer
  [[nodiscard]] buffer_index first() const { return first_; }    // the oldest buffer, or none
  [[nodiscard]] buffer_index last() const { return last_; }      // the newest buffer, or none

  /// Appends a held buffer.
  template <class Pool>
  void push(Pool& pool, buffer_index one) {
    pool.after(one) = no_buffer;
    (first_.is_none() ? first_ : pool.after(last_)) = one;
    last_ = one;
  }
  /// Removes the first buffer and returns it. The list must not be empty.
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

/// `Count` buffers of `Payload` bytes each, at least 1, and `Header` bytes each in a separate place; 0 for no headers.
/// Payloads are contiguous: they can contain cells whose alignment divides `Payload`. One context owns the pool. All
/// calls are O(1) except `start`, `post` and `collect`.
template <u32 Count, u32 Payload, u32 Header = 0>
class buffer_pool {
  static_assert(Count >= 1 && Count < 0xffff, "16 bits number the buffers, and one of their values is none");
  static_assert(Payload >= 1, "no ring takes a piece without a byte");
  static_assert(Header % 4 == 0, "headers are contiguous cells of up to four bytes");

  // Payloads start at a page: a payload whose size divides a page never crosses a page boundary.
  static constexpr usize payloads_at = detail::round_up(usize{Header} * Count, dma_page);
  static_assert(u64{payloads_at} + u64{Payload} * Count < 0x8000'0000, "a pool of buffers must stay below 2 GiB");

 public:
  static constexpr u32 count = Count;            // number of buffers
  static constexpr u32 payload_bytes = Payload;  // bytes of one payload
  /// Bytes of DMA storage that the pool needs, in pages.
  static constexpr usize dma_bytes = detail::round_up(payloads_at + usize{Payload} * Count, dma_page);

  /// Places the pool in `memory`, which starts at a page. All buffers are free.
  void start(const dma_area& memory) {
    memory_ = memory;
    VIRTIO_SCALAR_LOOP
    for (u32 i = 0; i + 1 < Count; ++i) next_[i] = buffer_index{i + 1};
    next_[Count - 1] = no_buffer;
    free_ = buffer_index{0};
  }

  /// Returns a free buffer, or none. The caller holds it until `give_back`, or until it is staged.
  [[nodiscard]] buffer_index take() {
    const buffer_index one = free_;
    if (one.is_none()) return one;
    free_ = next_[one.number()];
    next_[one.number()] = no_buffer;
    return one;
  }
  /// Returns a held buffer to the pool.
  void give_back(buffer_index one) {
    next_[one.number()] = free_;
    free_ = one;
  }
  [[nodiscard]] bool has_free() const { return !free_.is_none(); }  // whether a buffer is free
  /// Whether at least `n` buffers are free; `n` is at least 1. O(n).
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE bool has_free(u32 n) const {
    buffer_index one = free_;
    while (!one.is_none() && --n != 0) one = next_[one.number()];
    return !one.is_none();
  }

  /// The buffer's payload, of `payload_bytes` bytes.
  [[nodiscard]] u8* payload(buffer_index one) const { return memory_.data + payload_offset(one); }
  /// The buffer's payload, as cells that the device sees.
  template <class Cells>
  [[nodiscard]] Cells& cells(buffer_index one) const {
    static_assert(sizeof(Cells) <= Payload && Payload % alignof(Cells) == 0);
    return *reinterpret_cast<Cells*>(payload(one));
  }
  /// The buffer's header, as cells that the device sees.
  template <class Cells>
  [[nodiscard]] Cells& header(buffer_index one) const {
    static_assert(sizeof(Cells) == Header);
    return reinterpret_cast<Cells*>(memory_.data)[one.number()];
  }

  /// Appends `size` bytes of the payload, from `from` on, to a chain that has room for one piece.
  void append(segments& chain, buffer_index one, direction way, u32 from = 0, u32 size = Payload) const {
    chain.append(memory_.at + (payload_offset(one) + from), size, way);
  }

  /// Stages free buffers for the device to write, until `ring` is full: the header first, then the payload. Calls
  /// `prepare(buffer)` before each, which clears the header of an earlier packet.
  template <virtqueue Ring, class Prepare>
  void post(Ring& ring, Prepare&& prepare) {
    while (has_free()) {
      const auto slot = ring.reserve();
      if (!slot) return;
      const buffer_index one = free_;
      segment room[2];
      segments chain{room};
      if constexpr (Header != 0)
        chain.append(memory_.at + usize{Header} * one.number(), Header, direction::from_device);
      append(chain, one, direction::from_device);
      prepare(one);
      if (!ring.stage(*slot, chain, one.cookie())) return;  // a slot is free, but not enough descriptors
      free_ = next_[one.number()];
    }
  }
  /// The same without `prepare`.
  template <virtqueue Ring>
  void post(Ring& ring) {
    post(ring, [](buffer_index) {});
  }

  /// Returns the next buffer that the device has written, and the used length, header included, which is at most the
  /// buffer's size. The caller holds the buffer until `give_back`. Errors: those of the ring's `take`.
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

  /// Frees every buffer that the device has sent; chains with the cookie 0 have no buffer. Sets `some` if it took any
  /// chain. Errors: `device_misbehaved`.
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

  /// The link of a held buffer: the next one in its `buffer_list`.
  [[nodiscard]] buffer_index& after(buffer_index one) { return next_[one.number()]; }
  /// The same, const.
  [[nodiscard]] buffer_index after(buffer_index one) const { return next_[one.number()]; }

 private:
  [[nodiscard]] static constexpr usize payload_offset(buffer_index one) {
    return payloads_at + usize{Payload} * one.number();
  }

  dma_area memory_{};
  buffer_index free_{};
  buffer_index next_[Count]{};
};

}  // namespace virtio
