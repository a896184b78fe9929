// SPDX-License-Identifier: MIT
// Frames to send: copied into the driver's buffers, each with its header, and reclaimed when no buffer is free.
// Spec: virtio 1.4, 5.1.6.2. Layer: net (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/device/buffer_pool.hpp>
#include <virtio/net/receiving.hpp>

namespace virtio::net::detail {

/// The transmit queue's buffers. All-zero until `start`.
template <class Ring, byte_order Order, options O>
class sent_frames {
  static constexpr u32 frame_at = 16;
  static constexpr u32 buffer_bytes = virtio::detail::round_up(frame_at + u32{O.mtu} + header_bytes, 64);
  using pool = buffer_pool<O.send_buffers, buffer_bytes>;
  using cells = header_cells<to_device, Order>;

 public:
  static constexpr usize dma_bytes = pool::dma_bytes;

  void start(const dma_area& memory, header_form form) {
    pool_.start(memory);
    header_bytes_ = form.bytes;
    apart_ = form.apart;
    // Fields that no frame changes are zero: gso_type, gso_size, num_buffers
    for (u32 i = 0; i < O.send_buffers; ++i) {
      u8* const header = pool_.payload(buffer_index{i});
      for (u32 at = 0; at < frame_at; ++at) header[at] = 0;
    }
  }

  [[nodiscard]] bool has_free() const { return pool_.has_free(); }
  /// Reclaims what the device has sent; `some` becomes true if there was any. Errors: `device_misbehaved`.
  [[nodiscard]] errc collect(Ring& ring, bool& some) { return pool_.collect(ring, some); }

  /// Copies a frame of `size` bytes, which fit, and stages it. False if there is no room now.
  [[nodiscard]] bool stage(Ring& ring, const scatter<const_bytes>& pieces, u32 size, to_compute compute) {
    const auto slot = ring.reserve();
    if (!slot || !pool_.has_free()) return false;
    const buffer_index one = pool_.take();
    u8* const buffer = pool_.payload(one);
    const u32 at = frame_at - header_bytes_;
    segment room[2];
    segments chain{room};
    if (apart_) {
      pool_.append(chain, one, direction::to_device, at, header_bytes_);
      pool_.append(chain, one, direction::to_device, frame_at, size);
    } else {
      pool_.append(chain, one, direction::to_device, at, header_bytes_ + size);
    }
    if (!ring.stage(*slot, chain, one.cookie())) {  // a slot is free, but not enough descriptors
      pool_.give_back(one);
      return false;
    }
    cells& header = *reinterpret_cast<cells*>(buffer + at);
    header.flags.store(compute.start != 0 ? u8{needs_csum} : u8{0});
    // At least the headers' size, which is what a device can use (5.1.6.2.1)
    header.hdr_len.store(static_cast<u16>(size));
    header.csum_start.store(compute.start);
    header.csum_offset.store(compute.offset);
    u8* to = buffer + frame_at;
    for (const const_bytes& piece : pieces) {
      if (piece.empty()) continue;
      __builtin_memcpy(to, piece.data(), piece.size());
      to += piece.size();
    }
    return true;
  }

 private:
  pool pool_{};
  u16 header_bytes_ = 0;
  bool apart_ = false;
};

}  // namespace virtio::net::detail
