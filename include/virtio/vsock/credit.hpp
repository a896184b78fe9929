// SPDX-License-Identifier: MIT
// Credit: how far ahead either end of a connection may send, in arithmetic modulo 2^32. Each end tells the other how many bytes it has
// consumed and how many more it has room for; their sum is an edge that the other must not send beyond.
// Spec: virtio 1.4, 5.10.6.3. Layer: vsock.
#pragma once

#include <virtio/base/types.hpp>
#include <virtio/config.hpp>

namespace virtio::vsock {

/// What the peer lets us send. Bytes it counts by itself; packets some peers count in secret: Linux 6.12.92 and later reset a
/// connection whose unread packets, at some 600 bytes of bookkeeping each, would need more memory than the window has bytes.
class send_window {
 public:
  /// Packets of fewer bytes than this need more memory at the peer than they carry.
  static constexpr u32 small = 1024;

  constexpr send_window() = default;
  constexpr explicit send_window(u32 counted) : sent_{counted}, confirmed_{counted}, mark_{counted} {}

  /// Any packet of the peer tells both numbers. A peer can have consumed no more than was sent, and no less than it said before:
  /// such a number is not believed.
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
  /// Whether `update` would change what is known.
  [[nodiscard]] constexpr bool would_change(u32 allocation, u32 forwarded) const {
    return allocation != allocation_ || (forwarded != confirmed_ && is_plausible(forwarded));
  }
  /// Whether such a number says that everything that was sent has been read.
  [[nodiscard]] constexpr bool is_all_read(u32 forwarded) const { return forwarded == sent_; }
  /// A packet leaves.
  constexpr void sent(u32 bytes) {
    sent_ += bytes;
    if (bytes < small && small_since_ != 0xffff) ++small_since_;
  }

  /// Bytes that the peer has room for. None when it has taken back what it had promised.
  [[nodiscard]] constexpr u32 available() const { return allocation_ > unconfirmed() ? allocation_ - unconfirmed() : 0; }
  /// Bytes that the peer has room for when it has read everything.
  [[nodiscard]] constexpr u32 allocation() const { return allocation_; }
  /// Bytes that were sent and that the peer has not said to have consumed.
  [[nodiscard]] constexpr u32 unconfirmed() const { return sent_ - confirmed_; }
  /// Whether the peer may have so many small packets unread that it should get no more of them, once `more` have left.
  [[nodiscard]] constexpr bool is_crowded(u32 more = 0) const {
    return unconfirmed() != 0 && u32{small_before_} + small_since_ + more > allocation_ / (4 * small);
  }
  /// Whether even what must leave now, since the program sleeps, had better wait: half of what such a peer takes, and twice the above.
  [[nodiscard]] constexpr bool is_overcrowded() const {
    return unconfirmed() != 0 && u32{small_before_} + small_since_ > allocation_ / (2 * small);
  }

 private:
  [[nodiscard]] constexpr bool is_plausible(u32 forwarded) const { return forwarded - confirmed_ <= sent_ - confirmed_; }

  u32 allocation_ = 0;
  u32 sent_ = 0;
  u32 confirmed_ = 0;
  u32 mark_ = 0;          // bytes sent when small packets were last told apart
  u16 small_before_ = 0;  // sent before the mark
  u16 small_since_ = 0;
};

/// What we let the peer send. Its edge never moves back: the peer may be sending up to it at this moment.
class receive_window {
 public:
  constexpr receive_window() = default;
  constexpr explicit receive_window(u32 counted) : edge_{counted}, received_{counted}, consumed_{counted} {}

  /// Whether the peer may have sent so much; if so it is counted.
  [[nodiscard]] constexpr bool receive(u32 bytes) {
    if (bytes > left()) return false;
    received_ += bytes;
    return true;
  }
  constexpr void consume(u32 bytes) { consumed_ += bytes; }
  /// Promises room for `size` bytes from what was consumed on, if that is more than was promised.
  constexpr void open(u32 size) { edge_ += gain(size); }

  /// Nothing more will come.
  constexpr void close() { edge_ = received_; }

  /// By how much open() would move the edge.
  [[nodiscard]] constexpr u32 gain(u32 size) const { return size > promised() ? size - promised() : 0; }
  /// Bytes that there must be room for: unread ones, and those that may still come. This is buf_alloc.
  [[nodiscard]] constexpr u32 promised() const { return edge_ - consumed_; }
  /// Bytes that the peer may still send.
  [[nodiscard]] constexpr u32 left() const { return edge_ - received_; }
  [[nodiscard]] constexpr u32 unread() const { return received_ - consumed_; }
  /// This is fwd_cnt.
  [[nodiscard]] constexpr u32 consumed() const { return consumed_; }

 private:
  u32 edge_ = 0;
  u32 received_ = 0;
  u32 consumed_ = 0;
};

/// Receive memory that all connections share, counted in packets. Each connection is sure of one packet; what it is promised beyond
/// that comes from here, at most half of what is left, rounded up. So while two packets or more are left, the next one gets some.
class receive_budget {
 public:
  constexpr void start(u32 packets) { free_ = packets; }

  /// How many packets' room a connection that holds `extra` of these should be promised, `most` at most.
  [[nodiscard]] constexpr u32 share(u32 extra, u32 most) const {
    return 1 + virtio::detail::smaller(most - 1, (free_ + extra + 1) / 2);
  }
  /// A connection holds `extra` of these from now on; at most what `share` said.
  constexpr void update_reservation(u16& held, u32 extra) {
    free_ = free_ + held - extra;
    held = static_cast<u16>(extra);
  }
  [[nodiscard]] constexpr u32 free() const { return free_; }

 private:
  u32 free_ = 0;
};

}  // namespace virtio::vsock
