// SPDX-License-Identifier: MIT
// Pieces of received data that the program holds: each is a buffer that belongs neither to the device nor to a
// connection's list until it is returned. They have memory of their own, in addition to what peers are promised:
// holding them without a limit takes nothing from other connections.
// Layer: vsock.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock {

/// Bytes that have arrived and that the program holds. All-zero: none.
struct piece {
  const_bytes data{};  // valid until `give_back`
  u16 place = 0;       // in the driver's table
  u32 generation = 0;  // odd; 0 names none
};

/// Whether the peer may send more while the program holds received bytes.
enum class holding : u8 {
  in_window = 0,   // they count as unread: the window bounds how many are held
  outside_window,  // they count as read: only `limits::pieces` bounds them, and the peer continues
};

namespace detail {

/// At most `Most` of them.
template <u16 Most>
class held_pieces {
 public:
  struct held {
    buffer_index buffer{};
    u32 counted = 0;  // bytes of the window
    u32 generation = 0;
    u16 next_free = 0;  // index plus one
    socket from{};
  };

  /// Holds none; earlier names are stale.
  void forget() {
    for (u16 i = 0; i < places; ++i) {
      all_[i].generation = (all_[i].generation + 1) & ~u32{1};
      all_[i].next_free = static_cast<u16>(i + 1 < places ? i + 2 : 0);
    }
    free_ = Most == 0 ? u16{0} : u16{1};
    left_ = Most;
  }
  [[nodiscard]] bool is_full() const { return free_ == 0; }
  [[nodiscard]] u16 left() const { return left_; }
  /// Holds a piece. Only if not full.
  [[nodiscard]] piece hold(buffer_index buffer, const_bytes data, socket from, u32 counted) {
    const u16 place = static_cast<u16>(free_ - 1);
    held& one = all_[place];
    free_ = one.next_free;
    --left_;
    one.buffer = buffer;
    one.counted = counted;
    one.from = from;
    return {data, place, ++one.generation};
  }
  /// The record of a piece; null if it is not held.
  [[nodiscard]] const held* find(const piece& which) const {
    if (which.place >= places || (which.generation & 1) == 0 || all_[which.place].generation != which.generation)
      return nullptr;
    return &all_[which.place];
  }
  /// Releases a piece that is held.
  void release(u16 place) {
    ++all_[place].generation;
    all_[place].next_free = free_;
    free_ = static_cast<u16>(place + 1);
    ++left_;
  }

 private:
  static constexpr u16 places = Most == 0 ? u16{1} : Most;
  u16 free_ = 0;
  u16 left_ = 0;  // number of further pieces
  held all_[places]{};
};

}  // namespace detail
}  // namespace virtio::vsock
