// SPDX-License-Identifier: MIT
// Ports on which the program listens, and the connections that wait there to be accepted. Layer: vsock.
#pragma once

#include <virtio/vsock/table.hpp>

namespace virtio::vsock::detail {

/// A port with a listener. Its connections wait in a queue, through `connection::in_queue`.
struct listener {
  u32 port = 0;
  u16 backlog = 0;  // 0: this place is free
  u16 waiting = 0;
  kind carries{};  // of a place in use
  connection_list_of<&connection::in_queue> queue{};
};

/// At most `Most` of them. All-zero: none.
template <u16 Most>
class listeners {
 public:
  void clear() {
    waiting_ = 0;
    for (listener& one : all_) one = {};
  }

  [[nodiscard]] listener* at(u32 port) {
    for (listener& one : all_)
      if (one.backlog != 0 && one.port == port) return &one;
    return nullptr;
  }

  /// Adds a listener. Errors: `in_use`, `table_full`.
  [[nodiscard]] result<void> add(u32 port, u16 backlog, kind carries) {
    if (at(port) != nullptr) return errc::in_use;
    for (listener& one : all_) {
      if (one.backlog != 0) continue;
      one = {.port = port, .backlog = backlog, .carries = carries};
      return {};
    }
    return errc::table_full;
  }

  /// The listener where a new connection to `port` may wait; null if there is none or its queue is full.
  [[nodiscard]] listener* open_at(u32 port, kind what) {
    listener* const here = at(port);
    return here != nullptr && here->carries == what && here->waiting < here->backlog ? here : nullptr;
  }

  void join(listener& here, connection* all, u16 one) {
    here.queue.push(all, one);
    ++here.waiting;
    ++waiting_;
  }
  /// Connections that wait at any listener.
  [[nodiscard]] u16 waiting() const { return waiting_; }
  /// Removes a connection that waits.
  void leave(connection* all, u16 one) {
    listener& here = *at(all[one].local_port);
    here.queue.remove(all, one);
    --here.waiting;
    --waiting_;
  }

 private:
  u16 waiting_ = 0;
  listener all_[Most]{};
};

}  // namespace virtio::vsock::detail
