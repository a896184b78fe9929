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

  /// Answers `p`, which came from `peer`; nothing when it was an RST itself. Only if not full.
  void answer(const packet& p, address peer) {
    if (p.what == static_cast<u16>(op::reset)) return;
    const u32 at = u32{first_} + count_;
    waiting_[at < Most ? at : at - Most] = {peer, p.to_port, p.type};
    ++count_;
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
