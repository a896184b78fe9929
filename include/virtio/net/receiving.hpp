// SPDX-License-Identifier: MIT
// Frames that have arrived in a network device's receive buffers: assembled, checked, shown, kept.
//
// A receive buffer is free, with the device, part of the next frame, or part of a kept one. The header is before the
// frame in the first of its buffers, so that one descriptor is enough if the device accepts that, and a frame starts
// two bytes after a multiple of four: the bytes after the Ethernet header are aligned. Spec: virtio 1.4, 5.1.6.3 and
// 5.1.6.4.
// Layer: net (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/buffer_pool.hpp>
#include <virtio/net/protocol.hpp>

namespace virtio::net::detail {

/// The form of headers, as negotiated.
struct header_form {
  u16 bytes = 0;           // of a header
  bool mergeable = false;  // num_buffers is the number of a frame's buffers
  bool apart = false;      // the header has its own descriptor: a legacy device without ANY_LAYOUT (5.1.6.6.1)
  bool checksums = false;  // GUEST_CSUM
};

/// The receive queue's buffers. All-zero until `start`.
template <class Ring, class Barriers, byte_order Order, options O>
class received_frames {
  static constexpr u32 frame_at = 18;  // offset in a buffer, plus a multiple of 64
  static constexpr u32 buffer_bytes = virtio::detail::round_up(frame_at + O.frame_bytes(), 64);
  using pool = buffer_pool<O.receive_buffers, buffer_bytes>;
  using cells = header_cells<from_device, Order>;
  static_assert(sizeof(cells) == long_header);

  // The maximum number of buffers of a frame: after the first one, the header's room is available too.
  static constexpr u32 room = buffer_bytes - frame_at;
  static constexpr u32 more = O.longest_frame() > room ? O.longest_frame() - room : 0;

 public:
  static constexpr usize dma_bytes = pool::dma_bytes;
  static constexpr u32 most_buffers = 1 + (more + room + long_header - 1) / (room + long_header);
  static_assert(Ring::slots >= most_buffers,
                "a frame does not fit into a queue of buffers: a larger queue, or larger options::frame_bytes");
  static_assert(O.receive_buffers >= most_buffers,
                "a frame does not fit into all receive buffers: more options::receive_buffers");
  /// Frames that can be kept while another arrives.
  static constexpr u16 most_kept = static_cast<u16>(O.receive_buffers / most_buffers - 1);

  /// Only after `forget` and `end_kept`.
  void start(const dma_area& memory, header_form form, u16 mtu) {
    pool_.start(memory);
    form_ = form;
    most_behind_header_ = u32{mtu} + 4;
    shown_ |= 1;
    counts_ = {};
  }
  /// Drops the next frame, of a device that is down.
  void forget() { next_ = {}; }
  /// Makes all names stale.
  void end_kept() {
    for (u32& one : kept_as_) one = 0;
  }

  [[nodiscard]] bool has_next() const { return next_.is_complete; }
  [[nodiscard]] const drop_counts& counts() const { return counts_; }

  /// Stages free buffers until the ring is full.
  [[gnu::noinline]] void post(Ring& ring) {
    while (pool_.has_free()) {
      const buffer_index one = pool_.take();
      if (!stage(ring, one)) return pool_.give_back(one);
    }
  }

  /// Assembles the next frame from buffers that have arrived. Errors: `not_ready` (none is complete);
  /// `device_misbehaved`. `came` becomes true if any buffer arrived.
  [[nodiscard]] errc fetch(Ring& ring, bool& came) {
    if (next_.is_complete) return errc::ok;
    // Dropped frames count as none: a flood of them is processed for one round only.
    for (u32 looks = 0; looks < Ring::slots; ++looks) {
      buffer_index one;
      u32 length;
      const errc got = pool::arrived(ring, one, length);
      if (got != errc::ok) return got;
      came = true;
      if (const errc wrong = add(one, length); wrong != errc::ok) return wrong;
      if (next_.is_complete) return errc::ok;
    }
    return errc::not_ready;
  }

  /// Shows the next frame and removes it. `look` may do anything except use this array of pieces.
  template <class F>
  [[nodiscard, gnu::always_inline]] buffer_index show(F&& look, after_look& what) {
    const_bytes pieces[most_buffers];
    frame shown;
    const buffer_index first = next_.first;
    u32 at = frame_at;
    usize count = 0;
    for (buffer_index one = first; !one.is_none(); one = pool_.after(one)) {
      if (const u32 size = size_[one.number()]; size != 0) pieces[count++] = {pool_.payload(one) + at, size};
      at = frame_at - form_.bytes;
    }
    shown.pieces = {pieces, count};
    shown.size = next_.size;
    shown.sum = next_.sum;
    shown.compute = next_.compute;
    shown.name = {static_cast<u16>(first.number()), shown_ += 2};
    next_.is_complete = false;
    what = look(static_cast<const frame&>(shown));
    return first;
  }
  /// Handles the result of a look. With a ring, the frame's buffers are staged again at once.
  [[gnu::always_inline]] void finish_look(buffer_index first, after_look what, Ring* ring) {
    if (what == after_look::keep) return void(kept_as_[first.number()] = shown_);
    for (buffer_index one = first; !one.is_none();) {
      const buffer_index after = pool_.after(one);
      pool_.after(one) = no_buffer;
      if (ring == nullptr || !stage(*ring, one)) pool_.give_back(one);
      one = after;
    }
  }
  /// Returns a kept frame. Errors: `stale_handle`.
  [[nodiscard]] result<void> give_back(kept_frame name) {
    if (name.slot >= O.receive_buffers || name.generation == 0 || kept_as_[name.slot] != name.generation)
      return errc::stale_handle;
    kept_as_[name.slot] = 0;
    recycle(buffer_index{name.slot});
    return {};
  }

 private:
  // The next frame, or the part of it that has arrived.
  struct arriving {
    buffer_index first{}, last{};  // of its buffers, which are linked
    u32 size = 0;
    u16 missing = 0;  // number of buffers that have not arrived
    bool is_complete = false;
    bool too_long = false;  // in more buffers than a frame can have: further ones are returned
    bool segmented = false;
    u8 flags = 0;
    checksum sum{};
    to_compute compute{};
  };

  [[nodiscard]] cells& header(buffer_index one) const {
    return *reinterpret_cast<cells*>(pool_.payload(one) + (frame_at - form_.bytes));
  }

  // Stages a buffer that is linked to no other. False if there is no room.
  [[nodiscard]] bool stage(Ring& ring, buffer_index one) {
    const auto slot = ring.reserve();
    if (!slot) return false;
    cells& here = header(one);  // a device may return a buffer without writing to it
    here.flags.clear_before_use();
    here.gso_type.clear_before_use();
    here.hdr_len.clear_before_use();
    here.gso_size.clear_before_use();
    here.csum_start.clear_before_use();
    here.csum_offset.clear_before_use();
    here.num_buffers.clear_before_use();  // with a short header, the frame's first bytes
    segment pieces[2];
    segments chain{pieces};
    const u32 at = frame_at - form_.bytes;
    if (form_.apart) {
      pool_.append(chain, one, direction::from_device, at, form_.bytes);
      pool_.append(chain, one, direction::from_device, frame_at, buffer_bytes - frame_at);
    } else {
      pool_.append(chain, one, direction::from_device, at, buffer_bytes - at);
    }
    return ring.stage(*slot, chain, one.cookie()).has_value();
  }

  // Takes one buffer. Every field of a header is read once; hdr_len and gso_size are not read. Errors:
  // `device_misbehaved`.
  [[nodiscard, gnu::always_inline]] errc add(buffer_index one, u32 length) {
    if (next_.missing != 0) return go_on(one, length);
    if (length < form_.bytes) return drop(one, counts_.too_short);
    const cells& said = header(one);
    u16 count = 1;
    if (form_.mergeable) {
      const auto told = said.num_buffers.template fetch<Barriers>().below(static_cast<u16>(Ring::slots + 1u));
      if (!told) return errc::device_misbehaved;  // more than the buffer has
      count = *told;
      if (count == 0) return drop(one, counts_.no_buffers);
    }
    length -= form_.bytes;
    size_[one.number()] = static_cast<u16>(length);  // at most a buffer's size
    next_.first = next_.last = one;
    next_.size = length;
    next_.segmented = !said.gso_type.template fetch<Barriers>().equals(0);
    next_.flags = 0;
    next_.compute = {};
    if (form_.checksums) {  // otherwise the flags have no meaning. Known bits are compared, others ignored
      next_.flags = said.flags.template fetch<Barriers>().unchecked();
      if ((next_.flags & (needs_csum | rsc_info)) == needs_csum)  // compared with the frame's size when that is known
        next_.compute = {said.csum_start.template fetch<Barriers>().unchecked(),
                         said.csum_offset.template fetch<Barriers>().unchecked()};
    }
    if (count == 1) return complete();
    next_.missing = static_cast<u16>(count - 1);
    next_.too_long = count > most_buffers;
    if (next_.too_long) pool_.give_back(one);
    return errc::ok;
  }
  // Takes a further buffer of a frame.
  [[nodiscard, gnu::noinline]] errc go_on(buffer_index one, u32 length) {
    --next_.missing;
    if (next_.too_long) {
      pool_.give_back(one);
      if (next_.missing == 0) ++counts_.too_long;
      return errc::ok;
    }
    size_[one.number()] = static_cast<u16>(length);
    next_.size += length;
    pool_.after(next_.last) = one;
    next_.last = one;
    return next_.missing == 0 ? complete() : errc::ok;
  }
  [[nodiscard, gnu::always_inline]] errc complete() {
    if (next_.size - header_bytes > most_behind_header_ || next_.segmented) [[unlikely]]
      return drop_next();
    next_.is_complete = true;
    next_.sum = checksum::unknown;
    if (next_.flags != 0) [[unlikely]]
      judge_checksum();
    return errc::ok;
  }
  void judge_checksum() {
    const to_compute at = next_.compute;
    if (at.start >= header_bytes && u32{at.start} + at.offset + 2 <= next_.size) {
      next_.sum = checksum::missing;
    } else {
      next_.compute = {};
      if ((next_.flags & (needs_csum | data_valid)) == data_valid) next_.sum = checksum::right;
    }
  }
  [[nodiscard]] errc drop(buffer_index one, u32& counter) {
    ++counter;
    pool_.give_back(one);
    return errc::ok;
  }
  [[nodiscard, gnu::noinline]] errc drop_next() {
    ++(next_.size < header_bytes                         ? counts_.too_short
       : next_.size - header_bytes > most_behind_header_ ? counts_.too_long
                                                         : counts_.segmented);
    recycle(next_.first);
    return errc::ok;
  }
  void recycle(buffer_index one) {
    while (!one.is_none()) {
      const buffer_index after = pool_.after(one);
      pool_.give_back(one);
      one = after;
    }
  }

  pool pool_{};
  header_form form_{};
  arriving next_{};
  u32 most_behind_header_ = 0;  // bytes of a frame
  drop_counts counts_{};
  u16 size_[O.receive_buffers]{};     // bytes of its frame in each buffer
  u32 shown_ = 0;                     // odd: the name of the last frame that was shown
  u32 kept_as_[O.receive_buffers]{};  // the name of the kept frame that begins in this buffer
};

}  // namespace virtio::net::detail
