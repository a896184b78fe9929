// SPDX-License-Identifier: MIT
// Credit: how far ahead each end of a connection may send, in arithmetic modulo 2^32. Each end reports how many bytes
// it has consumed and how many more it has room for. Their sum is the edge that the other end must not pass.
// Spec: virtio 1.4, 5.10.6.3. Layer: vsock.
#pragma once

#include <virtio/base/types.hpp>
#include <virtio/config.hpp>

namespace virtio::vsock {

/// What the peer allows this end to send. A peer reports bytes; some peers also count packets, which they do not
/// report: Linux 6.12.92 and later reset a connection whose unread packets, at some 600 bytes of bookkeeping each,
/// would need more memory than the window has bytes.
class send_window {
 public:
  /// Packets of fewer bytes than this need more memory at the peer than they carry.
  static constexpr u32 small = 1024;

  constexpr send_window() = default;
  /// Starts after `counted` bytes.
  constexpr explicit send_window(u32 counted) : sent_{counted}, confirmed_{counted}, mark_{counted} {}

  /// Records both numbers of a packet from the peer. A peer can have consumed at most what was sent, and no less than
  /// it reported before: other numbers are ignored.
  VIRTIO_NOINLINE_FOR_SIZE constexpr void update(u32 allocation, u32 forwarded) {
    allocation_ = allocation;
    if (!is_plausible(forwarded)) return;
    if (forwarded - confirmed_ >= mark_ - confirmed_) {  // what was sent before the mark has been read
      small_before_ = small_since_;
      small_since_ = 0;
      mark_ = sent_;
    }
    confirmed_ = forwarded;
  }
  /// Whether `update` would change the state.
  [[nodiscard]] constexpr bool would_change(u32 allocation, u32 forwarded) const {
    return allocation != allocation_ || (forwarded != confirmed_ && is_plausible(forwarded));
  }
  /// Whether this number means that the peer has read everything that was sent.
  [[nodiscard]] constexpr bool is_all_read(u32 forwarded) const { return forwarded == sent_; }
  /// Counts a packet that leaves.
  constexpr void sent(u32 bytes) {
    sent_ += bytes;
    if (bytes < small && small_since_ != 0xffff) ++small_since_;
  }

  /// Bytes that the peer has room for. 0 if the peer has withdrawn room.
  [[nodiscard]] constexpr u32 available() const {
    return allocation_ > unconfirmed() ? allocation_ - unconfirmed() : 0;
  }
  /// Bytes that the peer has room for after it has read everything.
  [[nodiscard]] constexpr u32 allocation() const { return allocation_; }
  /// Bytes that were sent and that the peer has not confirmed.
  [[nodiscard]] constexpr u32 unconfirmed() const { return sent_ - confirmed_; }
  /// Whether the peer may have so many small packets unread, after `more` have left, that it should get no more of
  /// them.
  [[nodiscard]] constexpr bool is_crowded(u32 more = 0) const {
    return unconfirmed() != 0 && u32{small_before_} + small_since_ + more > allocation_ / (4 * small);
  }
  /// Whether even data that must leave now, before the program sleeps, should wait. The limit is half of what such a
  /// peer accepts, and twice that of `is_crowded`.
  [[nodiscard]] constexpr bool is_overcrowded() const {
    return unconfirmed() != 0 && u32{small_before_} + small_since_ > allocation_ / (2 * small);
  }

 private:
  [[nodiscard]] constexpr bool is_plausible(u32 forwarded) const {
    return forwarded - confirmed_ <= sent_ - confirmed_;
  }

  u32 allocation_ = 0;
  u32 sent_ = 0;
  u32 confirmed_ = 0;
  u32 mark_ = 0;          // bytes sent at the last confirmation that separated small packets
  u16 small_before_ = 0;  // sent before the mark
  u16 small_since_ = 0;
};

/// What this end allows the peer to send. Its edge never moves back: the peer may be sending up to it at this moment.
class receive_window {
 public:
  constexpr receive_window() = default;
  /// Starts after `counted` bytes.
  constexpr explicit receive_window(u32 counted) : edge_{counted}, received_{counted}, consumed_{counted} {}

  /// Counts bytes that have arrived. Returns false, and counts nothing, if the peer was not allowed to send as many.
  [[nodiscard]] constexpr bool receive(u32 bytes) {
    if (bytes > left()) return false;
    received_ += bytes;
    return true;
  }
  /// Counts bytes that the program has read.
  constexpr void consume(u32 bytes) { consumed_ += bytes; }
  /// Promises room for `size` bytes after the consumed ones, if that is more than was promised.
  constexpr void open(u32 size) { edge_ += gain(size); }

  /// Allows no more bytes.
  constexpr void close() { edge_ = received_; }

  /// By how many bytes open() would move the edge.
  [[nodiscard]] constexpr u32 gain(u32 size) const { return size > promised() ? size - promised() : 0; }
  /// Bytes that must have room: unread ones, and those that may still arrive. This is buf_alloc.
  [[nodiscard]] constexpr u32 promised() const { return edge_ - consumed_; }
  /// Bytes that the peer may still send.
  [[nodiscard]] constexpr u32 left() const { return edge_ - received_; }
  /// Bytes that have arrived and are unread.
  [[nodiscard]] constexpr u32 unread() const { return received_ - consumed_; }
  /// Bytes that the program has read, modulo 2^32. This is fwd_cnt.
  [[nodiscard]] constexpr u32 consumed() const { return consumed_; }

 private:
  u32 edge_ = 0;
  u32 received_ = 0;
  u32 consumed_ = 0;
};

/// Receive memory that all connections share, counted in packets. Each connection has one packet for certain; what it
/// is promised beyond that comes from here, at most half of what is left, rounded up. While two packets or more are
/// left, the next connection gets some.
class receive_budget {
 public:
  /// Starts with `packets` free.
  constexpr void start(u32 packets) { free_ = packets; }

  /// How many packets a connection that holds `extra` of these should be promised, at most `most`.
  [[nodiscard]] constexpr u32 share(u32 extra, u32 most) const {
    return 1 + virtio::detail::smaller(most - 1, (free_ + extra + 1) / 2);
  }
  /// Changes a connection's reservation to `extra`, at most what `share` returned.
  constexpr void update_reservation(u16& held, u32 extra) {
    free_ = free_ + held - extra;
    held = static_cast<u16>(extra);
  }
  /// Packets that no connection holds.
  [[nodiscard]] constexpr u32 free() const { return free_; }

 private:
  u32 free_ = 0;
};

}  // namespace virtio::vsock
