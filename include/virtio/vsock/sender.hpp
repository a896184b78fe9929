// SPDX-License-Identifier: MIT
// What connections send: packets that they owe, and bytes that the program gives them, as far as there is room.
// Layer: vsock.
#pragma once

#include <virtio/vsock/connections.hpp>

namespace virtio::vsock::detail {

template <platform P, transport T, queue_format Q, limits L>
class sender : public connections<P, T, Q, L> {
  using base = connections<P, T, Q, L>;

 public:
  using base::all, base::fall, base::finish, base::life, base::owe, base::release, base::tell, base::try_again;
  using base::kind_of, base::queues, base::replies, base::table, base::unread, base::unsent;

  // What is owed ---------------------------------------------------------------------------------------------------------

  /// Sends what is owed as far as there is room, and shows it to the device.
  VIRTIO_NOINLINE_FOR_SIZE void send_owed() {
    if (!to_send_.empty() || !replies.empty() || queues.has_unshown()) send_now();
  }
  void stage_owed() {
    while (!to_send_.empty()) {
      const u16 one = to_send_.first();
      if (!pay(one)) return;
      to_send_.remove(all(), one);
      if (table[one].now == state::leaving) release(one);
    }
    // Strangers last: a flood of them must not keep connections from their turn.
    for (; !replies.empty() && queues.send(replies.first(cid_)); replies.pop()) {}
  }

  [[gnu::noinline]] void send_now() {
    if (!life().is_up()) return;
    stage_owed();
    queues.show_sent();
  }

  /// Everything that one connection owes, but data for which the peer has no room, and what comes behind it. False: the queue is full.
  [[nodiscard]] bool pay(u16 one) {
    connection& c = table[one];
    if (!pay(c, debt::reset, op::reset)) return false;
    if (!pay(c, debt::request, op::request)) return false;
    if (!pay(c, debt::response, op::response)) return false;
    if (c.owed.has(debt::data) && !send_gathered(one)) return false;
    if (!c.owed.has(debt::data) && !pay(c, debt::shutdown, op::shutdown, c.gave_up.raw())) return false;
    if (!pay(c, debt::credit_request, op::credit_request)) return false;
    return pay(c, debt::credit, op::credit_update);
  }
  [[nodiscard]] bool pay(connection& c, debt which, op what, u32 flags = 0) {
    if (!c.owed.has(which)) return true;
    if (!queues.send(header(c, what, 0, flags))) return false;
    c.owed -= which;
    return true;
  }

  /// False: the queue is full. Without room at the peer it stays owed.
  [[nodiscard]] bool send_gathered(u16 one) {
    connection& c = table[one];
    while (!c.gathered.empty()) {
      parcel next;
      const obstacle found = unsent.next(all(), one, queues.sent, next);
      if (found == obstacle::no_credit) ask_for_credit(one);
      if (found != obstacle::none) return true;
      if (!queues.send(header(c, op::data, next.length, next.flags), next.buffer, next.from)) {
        unsent.has_not_left(queues.sent, next);
        return false;
      }
      unsent.has_left(all(), one, queues.sent, next);
    }
    c.owed -= debt::data;
    if (c.wants_room && c.out.available() != 0) tell_room(one);  // it was for want of this buffer
    return true;
  }
  /// Once, until there is some.
  VIRTIO_NOINLINE_FOR_SIZE void ask_for_credit(u16 one) {
    if (table[one].asked_for_credit) return;
    table[one].asked_for_credit = true;
    owe(one, debt::credit_request);
  }

  /// A packet of a connection. Each tells the peer how far it may send, which may be further than before, unless it would be dropped, in a
  /// connection that is being closed. A peer that could send no more is told once again, by a packet for that alone:
  /// vhost-device-vsock 0.3.0 takes up sending at no other.
  [[nodiscard]] packet header(connection& c, op what, u32 length = 0, u32 flags = 0) {
    if (what != op::shutdown && (c.now == state::established || c.now == state::connecting)) {
      const bool stuck = c.in.left() == 0 && c.now == state::established;
      unread.open_window(c);
      if (stuck && c.in.left() != 0 && what != op::credit_update && what != op::response) c.owed |= debt::credit;
    }
    return {cid_, c.peer.cid, c.local_port, c.peer.port, length, static_cast<u16>(kind_of(c)), static_cast<u16>(what),
            flags, c.in.promised(), c.in.consumed()};
  }

  [[nodiscard]] bool has_room_for_reply() {
    if (replies.full()) send_owed();
    return !replies.full();
  }

  // Bytes of the program -------------------------------------------------------------------------------------------------

  [[nodiscard]] result<void> may_send(const connection& c) const {
    if (c.now == state::connecting) return errc::not_ready;
    if (c.now == state::ended) return c.why;
    if (c.gave_up.has(ends::send)) return errc::invalid_argument;
    if (c.peer_gave_up.has(ends::receive)) return errc::peer_closed;
    return {};
  }

  /// Copies a whole message into buffers of its own. Errors: `too_long`, `no_credit`, `no_buffer`.
  [[nodiscard]] result<void> gather_message(u16 one, scatter<const_bytes> data, border end) {
    VIRTIO_TRY(unsent.takes_message(table[one], queues.sent, data.size()));
    VIRTIO_TRY(gather_whole(one, data, static_cast<u32>(data.size())));
    unsent.end_message(table[one], end);
    return {};
  }
  /// Likewise of a stream: in the buffer that is gathered in, or in buffers of its own behind that, which leaves first if it can.
  [[nodiscard]] result<void> gather_all(u16 one, scatter<const_bytes> data) {
    connection& c = table[one];
    if (data.size() > unsent.most_bytes(c)) return errc::too_long;
    const u32 size = static_cast<u32>(data.size());
    if (unsent.room(c) < size) return errc::no_credit;
    if (unsent.join(c, queues.sent, data, size)) return {};
    if (!c.gathered.empty()) {
      owe(one, debt::data);
      send_owed();
    }
    return gather_whole(one, data, size);
  }
  [[nodiscard]] result<void> gather_whole(u16 one, scatter<const_bytes> data, u32 size) {
    const u32 buffers = buffers_for(size);
    if (!have_buffers(one, buffers)) return errc::no_buffer;
    unsent.takes(table[one], buffers);
    asks_begin_again();
    for (u32 at = 0; at < size; at += L.send_packet) {
      const buffer_index buffer = queues.sent.take();
      const u32 here = virtio::detail::smaller(size - at, L.send_packet);
      copy_out(data, at, queues.sent.payload(buffer), here);
      unsent.begin(all(), one, queues.sent, buffer);
      unsent.count(table[one], buffer, here);
    }
    return {};
  }
  [[nodiscard]] static constexpr u32 buffers_for(u32 size) { return 1 + (size - 1) / L.send_packet; }

  /// Takes bytes to send off the front of `data`, as many as there is room for; full buffers leave.
  void gather(u16 one, const_bytes& data) {
    const connection& c = table[one];
    while (!data.empty()) {
      const obstacle found = unsent.gather(table[one], queues.sent, data);
      if (found == obstacle::no_credit) return;
      if (found == obstacle::full_buffer) {
        owe(one, debt::data);
        stage_owed();
        if (!c.gathered.empty()) return;
      }
      if (found == obstacle::no_buffer) {
        if (!have_buffers(one, 1)) return;
        unsent.takes(table[one], 1);
        asks_begin_again();
        unsent.begin(all(), one, queues.sent, queues.sent.take());
      }
    }
  }

  /// Whether `n` send buffers are there for a connection. When too few are, the device may be done with some; and the connection that has
  /// gathered longest then has gathered enough.
  [[nodiscard]] bool have_buffers(u16 one, u32 n) {
    if (unsent.may_take(all(), one, queues.sent, n)) return true;
    bool some = false;
    if (const errc got = queues.collect(some); got != errc::ok) {
      fall(got);
      return false;
    }
    if (unsent.may_take(all(), one, queues.sent, n)) return true;
    if (queues.sent.has_free(n)) return false;  // it is another's turn
    squeeze();
    return table[one].now == state::established && unsent.may_take(all(), one, queues.sent, n);
  }
  [[gnu::cold, gnu::noinline]] void squeeze() {
    if (!unsent.is_gathering()) return;
    const u16 oldest = unsent.oldest(all());
    owe(oldest, debt::data);
    send_owed();
    // None is with the device, and this peer has taken back the room that it had for what is gathered: others must not wait for it.
    if (queues.is_idle() && !table[oldest].gathered.empty()) finish(oldest, errc::peer_reset, parting::reset);
  }
  /// A send of at least `size` bytes was not possible.
  void want_room(u16 one, u32 size) {
    connection& c = table[one];
    c.wants_room = true;
    const bool peer_has_room = unsent.room(c) >= size && !(c.messages && c.out.is_crowded());
    if (!c.gathered.empty()) owe(one, debt::data);  // it will not become more, and is in the way of a message
    if (!peer_has_room) ask_for_credit(one);
    else if (c.gathered.empty()) unsent.wait(all(), one, buffers_for(size));
  }
  /// Buffers have come back, or can be had from those who gather in them.
  [[gnu::noinline]] void work_on_unsent() {
    serve_waiting();
    if (unsent.is_gathering() && by_polls_.is_due()) ask_oldest();
  }
  void serve_waiting() {
    unsent.poll(all());
    u16 one = 0;
    if (!unsent.serve(all(), queues.sent, one)) {
      if (unsent.has_waiting()) squeeze();
      if (!unsent.serve(all(), queues.sent, one)) return;
    }
    do {
      try_again(one);  // it may be data that waits
      tell_room(one);
    } while (unsent.serve(all(), queues.sent, one));
  }
  /// Ahead of what is gathered when nothing was.
  void asks_begin_again() {
    if (unsent.is_gathering()) return;
    by_polls_.begin_again();
    by_sleeps_.begin_again();
  }
  /// A peer that is slow to read does not say when it has caught up. It is asked now and then, when there is something for it, and more
  /// and more seldom.
  [[gnu::cold]] void ask_oldest() {
    const u16 one = unsent.oldest(all());
    table[one].asked_for_credit = false;
    ask_for_credit(one);
  }
  /// Ahead of a sleep: what is gathered leaves, but to a peer that has far too many small packets: that was asked for
  /// its word when they were gathered, and is asked again by `work_on_unsent` and after a sleep that brought nothing.
  void flush_all() {
    if (!unsent.is_gathering()) return;
    unsent.for_each_gathering(all(), [this](u16 one) {
      if (!table[one].out.is_overcrowded()) owe(one, debt::data);
    });
    send_owed();
  }

  VIRTIO_NOINLINE_FOR_SIZE void tell_room(u16 one) {
    table[one].wants_room = false;
    unsent.stop_waiting(all(), one);
    tell(one, ready::writable);
  }

 protected:
  using base::cid_, base::to_send_;

  ever_rarer<64> by_polls_{};
  ever_rarer<1> by_sleeps_{};  // those that brought nothing
};

}  // namespace virtio::vsock::detail
