// SPDX-License-Identifier: MIT
// RSTs for packets that belong to no connection, until the transmit queue has room for them. Layer: vsock.
#pragma once

#include <virtio/vsock/protocol.hpp>

namespace virtio::vsock::detail {

/// At most `Most` of them, first in, first out. All-zero: none.
template <u16 Most>
class replies {
 public:
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] bool full() const { return count_ == Most; }
  void clear() { first_ = count_ = 0; }

  /// Adds the answer to `p`, which `peer` sent; none if `p` is an RST. Only if not full.
  void answer(const packet& p, address peer) {
    if (p.what != static_cast<u16>(op::reset)) add(p.to_port, peer, p.type);
  }
  /// Adds an RST to `peer` from `local_port`. Only if not full.
  VIRTIO_NOINLINE_FOR_SIZE void add(u32 local_port, address peer, u16 type) {
    const u32 at = u32{first_} + count_;
    waiting_[at < Most ? at : at - Most] = {peer, local_port, type};
    ++count_;
  }

  /// Whether an RST to `peer` from `local_port` is waiting: it would end a connection that begins there now.
  [[nodiscard]] bool has(u32 local_port, address peer) const {
    for (u16 i = 0, at = first_; i < count_; ++i, at = at + 1 < Most ? static_cast<u16>(at + 1) : u16{0})
      if (waiting_[at].local_port == local_port && waiting_[at].peer == peer) return true;
    return false;
  }
  /// Drops RSTs to `peer` from `local_port`.
  void drop(u32 local_port, address peer) {
    if (!has(local_port, peer)) return;
    for (u16 left = count_; left != 0; --left) {
      const reply one = waiting_[first_];
      pop();
      if (one.local_port != local_port || !(one.peer == peer)) add(one.local_port, one.peer, one.type);
    }
  }
  /// The packet that has waited longest, from `cid`. Only if not empty.
  [[nodiscard]] packet first(u32 cid) const {
    const reply& to = waiting_[first_];
    return {cid, to.peer.cid, to.local_port, to.peer.port, 0, to.type, static_cast<u16>(op::reset), 0, 0, 0};
  }
  void pop() {
    first_ = first_ + 1 < Most ? static_cast<u16>(first_ + 1) : u16{0};
    --count_;
  }

 private:
  struct reply {
    address peer;
    u32 local_port;
    u16 type;
  };

  u16 first_ = 0;
  u16 count_ = 0;
  reply waiting_[Most]{};
};

}  // namespace virtio::vsock::detail
