// SPDX-License-Identifier: MIT
// What connections send: scheduled packets, and bytes of the program, as far as there is room.
// Layer: vsock.
#pragma once

#include <virtio/vsock/connections.hpp>

namespace virtio::vsock::detail {

template <platform P, transport T, queue_format Q, limits L>
class sender : public connections<P, T, Q, L> {
  using base = connections<P, T, Q, L>;

 public:
  using base::all, base::bring_down, base::finish, base::lifecycle, base::schedule, base::release, base::raise_event,
      base::try_again;
  using base::kind_of, base::queues, base::replies, base::table, base::unread, base::unsent;

  // Scheduled packets -------------------------------------------------------------------------------------------------

  /// Sends scheduled packets as far as there is room, and publishes them.
  VIRTIO_NOINLINE_FOR_SIZE void send_scheduled() {
    if (!to_send_.empty() || !replies.empty() || queues.has_unshown()) send_now();
  }
  VIRTIO_NOINLINE_FOR_SIZE void schedule_now(u16 one, pending_packet what) {
    schedule(one, what);
    send_scheduled();
  }
  void stage_scheduled() {
    while (!to_send_.empty()) {
      const u16 one = to_send_.first();
      if (!stage_pending(one)) return;
      to_send_.remove(all(), one);
      if (table[one].now == state::leaving) release(one);
    }
    // Unknown peers last: a flood of them must not delay connections.
    for (; !replies.empty() && queues.send(replies.first(cid_)); replies.pop()) {}
  }

  [[gnu::noinline]] void send_now() {
    if (!lifecycle().is_up()) return;
    stage_scheduled();
    queues.show_sent();
  }

  /// Stages everything that one connection has scheduled, except data for which the peer has no room, and SHUTDOWN
  /// after it. False: the queue is full.
  [[nodiscard]] bool stage_pending(u16 one) {
    static constexpr op packets[] = {op::reset,    op::request,        op::response,     op::data,
                                     op::shutdown, op::credit_request, op::credit_update};
    connection& c = table[one];
    u32 stay = 0;  // scheduled after this call
    while (const u32 left = c.pending.raw() & ~stay) {
      const pending_packet next = static_cast<pending_packet>(left & (0 - left));
      if (next == pending_packet::data) {
        if (!send_gathered(one)) return false;
        if (c.pending.has(pending_packet::data)) stay = flags{pending_packet::data, pending_packet::shutdown}.raw();
        continue;
      }
      if (!queues.send(
              header(c, packets[__builtin_ctz(left)], 0, next == pending_packet::shutdown ? c.closed_ends.raw() : 0)))
        return false;
      c.pending -= next;
    }
    return true;
  }

  /// Sends gathered bytes. Without room at the peer they stay scheduled. False: the queue is full.
  [[nodiscard]] bool send_gathered(u16 one) {
    connection& c = table[one];
    while (!c.gathered.empty()) {
      outgoing_data next;
      const blocked_by found = unsent.next(all(), one, queues.sent, next);
      if (found == blocked_by::no_credit) request_credit(one);
      if (found != blocked_by::none) return true;
      if (!queues.send(header(c, op::data, next.length, next.flags), next.buffer, next.from)) {
        unsent.has_not_left(queues.sent, next);
        return false;
      }
      unsent.has_left(all(), one, queues.sent, next);
    }
    c.pending -= pending_packet::data;
    if (c.wants_bytes != 0) may_have_room(one);  // a send may have waited for this buffer
    return true;
  }
  /// Requests credit once, until some arrives.
  VIRTIO_NOINLINE_FOR_SIZE void request_credit(u16 one) {
    if (table[one].asked_for_credit) return;
    table[one].asked_for_credit = true;
    schedule(one, pending_packet::credit_request);
  }

  /// Makes a packet's header. Each packet reports how far the peer may send, which may be further than before, except
  /// on a connection being closed, where data would be dropped. A peer that could send no more also gets a
  /// CREDIT_UPDATE: vhost-device-vsock 0.3.0 resumes only at that packet.
  [[nodiscard]] packet header(connection& c, op what, u32 length = 0, u32 flags = 0) {
    if (what != op::shutdown && (c.now == state::established || c.now == state::connecting)) {
      const bool stuck = c.in.left() == 0 && c.now == state::established;
      unread.open_window(c);
      if (stuck && c.in.left() != 0 && what != op::credit_update && what != op::response)
        c.pending |= pending_packet::credit;
    }
    return {cid_,
            c.peer.cid,
            c.local_port,
            c.peer.port,
            length,
            static_cast<u16>(kind_of(c)),
            static_cast<u16>(what),
            flags,
            c.in.promised(),
            c.in.consumed()};
  }

  [[nodiscard]] bool has_room_for_reply() {
    if (replies.full()) send_scheduled();
    return !replies.full();
  }

  // Bytes of the program ----------------------------------------------------------------------------------------------

  [[nodiscard]] result<void> may_send(const connection& c) const {
    if (c.now == state::connecting) return errc::not_ready;
    if (c.now == state::ended) return c.why;
    if (c.closed_ends.has(ends::send)) return errc::invalid_argument;
    if (c.peer_closed_ends.has(ends::receive)) return errc::peer_closed;
    return {};
  }

  /// Copies a whole message of `size` bytes into buffers of its own. Errors: `too_long`, `no_credit`, `no_buffer`.
  [[nodiscard]] result<void> gather_message(u16 one, scatter<const_bytes> data, u64 size, boundary end) {
    VIRTIO_TRY(unsent.takes_message(all(), one, queues.sent, size));
    VIRTIO_TRY(gather_whole(one, data, static_cast<u32>(size)));
    unsent.end_message(table[one], end);
    return {};
  }
  /// The same for a stream: into the buffer that is being filled, or into buffers of its own after that one, which
  /// leaves first if it can.
  [[nodiscard]] result<void> gather_all(u16 one, scatter<const_bytes> data, u64 all_bytes) {
    connection& c = table[one];
    if (all_bytes > unsent.most_bytes(c)) return errc::too_long;
    const u32 size = static_cast<u32>(all_bytes);
    if (!unsent.peer_takes(all(), one, queues.sent, size)) return errc::no_credit;
    if (unsent.join(c, queues.sent, data, size)) return {};
    if (!c.gathered.empty()) {
      schedule_now(one, pending_packet::data);
    }
    return gather_whole(one, data, size);
  }
  [[nodiscard]] result<void> gather_whole(u16 one, scatter<const_bytes> data, u32 size) {
    const u32 buffers = unsent.buffers_for(size);
    if (!have_buffers(one, buffers)) return errc::no_buffer;
    unsent.takes(all(), one, buffers);
    for (u32 at = 0; at < size; at += L.send_packet) {
      const buffer_index buffer = queues.sent.take();
      const u32 here = virtio::detail::smaller(size - at, L.send_packet);
      copy_out(data, at, queues.sent.payload(buffer), here);
      unsent.begin(all(), one, queues.sent, buffer);
      unsent.count(table[one], buffer, here);
    }
    return {};
  }

  /// Takes bytes to send from the front of `data`, as many as have room; full buffers leave.
  void gather(u16 one, const_bytes& data) {
    const connection& c = table[one];
    while (!data.empty()) {
      const blocked_by found = unsent.gather(table[one], queues.sent, data);
      if (found == blocked_by::no_credit) return;
      if (found == blocked_by::full_buffer) {
        schedule(one, pending_packet::data);
        stage_scheduled();
        if (!c.gathered.empty()) return;
      }
      if (found == blocked_by::no_buffer) {
        if (data.size() < send_window::small && unsent.may_not_gather(all(), c)) return;
        if (!have_buffers(one, 1)) return;
        unsent.takes(all(), one, 1);
        unsent.begin(all(), one, queues.sent, queues.sent.take());
      }
    }
  }

  /// Whether `n` send buffers are free for a connection. If not, reclaims buffers from the device, and sends those of
  /// the connection that has gathered longest.
  [[nodiscard]] bool have_buffers(u16 one, u32 n) {
    if (unsent.may_take(all(), one, queues.sent, n)) return true;
    bool some = false;
    if (const errc got = queues.collect(some); got != errc::ok) {
      bring_down(got);
      return false;
    }
    if (unsent.may_take(all(), one, queues.sent, n)) return true;
    if (queues.sent.has_free(n)) return false;  // another connection is first in the queue
    flush_oldest();
    return table[one].now == state::established && unsent.may_take(all(), one, queues.sent, n);
  }
  [[gnu::cold, gnu::noinline]] void flush_oldest() {
    if (!unsent.is_gathering()) return;
    const u16 oldest = unsent.oldest(all());
    if (unsent.is_slow(table[oldest]) && !queues.is_idle()) return;  // all remaining buffers belong to slow peers
    schedule_now(oldest, pending_packet::data);
    // None is with the device, and this peer has withdrawn the room that it had for the gathered bytes: others must not
    // wait for it.
    if (queues.is_idle() && !table[oldest].gathered.empty()) finish(oldest, errc::peer_reset, teardown::reset);
  }
  /// A send of at least `size` bytes was not possible. Returns the reason: `no_credit`, `no_buffer`, or why the
  /// connection has ended meanwhile.
  [[nodiscard, gnu::noinline]] errc want_room(u16 one, u32 size) {
    connection& c = table[one];
    if (c.now == state::ended) return c.why;
    c.wants_bytes = size;
    // No more is gathered, and it blocks a message
    if (!c.gathered.empty() && !unsent.is_slow(c)) schedule(one, pending_packet::data);
    if (!unsent.peer_takes(all(), one, queues.sent, size)) {
      if (unsent.wait_for_credit(all(), one)) request_credit(one);  // and again, at growing intervals
      return errc::no_credit;
    }
    if (c.gathered.empty()) unsent.wait(all(), one);
    else if (c.awaits_credit) unsent.stop_waiting(all(), one);
    return errc::no_buffer;
  }
  /// The peer has reported room, or buffers have left. Reports `writable` if the send that found no room would find it
  /// now. A connection that waits for buffers keeps its place in the queue.
  [[gnu::noinline]] void may_have_room(u16 one) {
    const connection& c = table[one];
    if (!unsent.awaits_buffer(c) && unsent.peer_takes(all(), one, queues.sent, c.wants_bytes)) raise_writable(one);
  }
  /// Buffers are free again, or connections that gather can release some.
  [[gnu::noinline]] void process_unsent() {
    unsent.poll(all());
    if (unsent.has_waiting() && !serve_waiting()) {
      flush_oldest();
      (void)serve_waiting();
    }
    if (!unsent.awaits_credit_update() || ++polls_ < polls_between_requests) return;
    polls_ = 0;
    request_credit_again();
  }
  /// Serves the first in the queue, and those after it. Returns whether any was served.
  bool serve_waiting() {
    u16 one = 0;
    bool some = false;
    for (; unsent.serve(all(), queues.sent, one); some = true) {
      try_again(one);  // data may be waiting
      if (table[one].wants_bytes != 0) raise_writable(one);
    }
    return some;
  }
  /// A slow peer may not report that it has caught up, or reports less than is needed. It receives a CREDIT_REQUEST
  /// while bytes wait for it: on each call of this function, then on every second, fourth and so on, until the state
  /// changes.
  [[gnu::cold, gnu::noinline]] void request_credit_again() {
    ++times_asked_;
    unsent.for_each_without_credit(all(), [this](u16 one) { request_credit_again(one); });
    unsent.for_each_gathering(all(), [this](u16 one) {
      if (!table[one].awaits_credit) request_credit_again(one);
    });
  }
  [[gnu::cold, gnu::noinline]] void request_credit_again(u16 one) {
    connection& c = table[one];
    if ((times_asked_ & ((u32{1} << c.backoff) - 1)) != 0) return;
    // Waits for room in the queue of this end
    if (!c.awaits_credit && unsent.may_leave(c) && c.out.available() != 0) return;
    if (c.backoff < max_backoff) c.backoff = (c.backoff + 1u) & max_backoff;
    c.asked_for_credit = false;
    request_credit(one);
  }
  /// Sends gathered bytes before a wait, except to a peer that has far too many small packets. That peer received a
  /// CREDIT_REQUEST when they were gathered, and receives others from `process_unsent` and after a sleep without
  /// arrivals.
  void flush_unless_slow(u16 one) {
    if (!table[one].gathered.empty() && !unsent.is_slow(table[one])) schedule(one, pending_packet::data);
  }
  void flush_all() {
    if (!unsent.is_gathering()) return;
    unsent.for_each_gathering(all(), [this](u16 one) { flush_unless_slow(one); });
    send_scheduled();
  }

  VIRTIO_NOINLINE_FOR_SIZE void raise_writable(u16 one) {
    table[one].wants_bytes = 0;
    table[one].backoff = 0;
    if (table[one].awaits_credit) unsent.stop_waiting(all(), one);
    raise_event(one, ready::writable);
  }

 protected:
  using base::cid_, base::to_send_;

  static constexpr u32 polls_between_requests = 64;
  static constexpr u32 max_backoff = 15;
  u32 polls_ = 0;  // since the last CREDIT_REQUEST
  u32 times_asked_ = 0;
};

}  // namespace virtio::vsock::detail
