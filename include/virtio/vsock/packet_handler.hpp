// SPDX-License-Identifier: MIT
// What a packet that arrives does: to its connection, to a listener, or, without either, to the list of replies.
// Spec: virtio 1.4, 5.10.6. Layer: vsock.
#pragma once

#include <virtio/vsock/exchange.hpp>

namespace virtio::vsock::detail {

template <class Exchange>
class packet_handler {
 public:
  explicit packet_handler(Exchange& all) : all_{all} {}

  /// Whether a packet arrived or left, in the call below.
  [[nodiscard]] bool came() const { return came_; }

  /// Does all work that is possible now: reclaims sent buffers, takes events and packets, posts buffers, and sends what
  /// is scheduled. Errors: `device_misbehaved` once, when all connections have ended; `not_started`.
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE errc move_packets() {
    if (!all_.lifecycle().is_up()) return errc::not_started;
    came_ = false;
    errc got = all_.queues.collect(came_);
    if (got == errc::ok) got = take_events();
    // A packet may need a reply, and room for replies is limited: without it packets stay in the queue. Buffers are
    // returned only after the loop, so that the loop ends.
    while (got == errc::ok && all_.has_room_for_reply()) got = take_packet();
    const bool idle = got == errc::not_ready && !came_;
    if (got != errc::ok && got != errc::not_ready) {
      all_.bring_down(got);
      return got;
    }
    // Buffers first: a host that waits for buffers does not read what the driver sends (vhost).
    all_.queues.post_buffers();
    all_.queues.all().kick(all_.queues.receive_queue);
    if (idle) all_.found_nothing();
    else all_.queues.all().found_something();
    if (all_.unsent.has_work()) all_.process_unsent();
    all_.send_scheduled();
    return errc::ok;
  }

 private:
  [[nodiscard]] errc take_events() {
    u32 id = 0;
    const errc got = all_.queues.next_event(id);
    if (got == errc::ok) return handle_events(id);
    return got == errc::not_ready ? errc::ok : got;
  }
  /// Handles an event.
  [[nodiscard, gnu::cold, gnu::noinline]] errc handle_events(u32 id) {
    errc got = errc::ok;
    bool gone = false;
    do gone |= id == transport_reset;
    while ((got = all_.queues.next_event(id)) == errc::ok);
    if (got != errc::not_ready) return got;
    if (!gone) {
      all_.queues.all().kick(all_.queues.event_queue);
      return errc::ok;
    }
    // The host's end of all connections is gone. A restored host sends nothing until it has received a packet.
    all_.end_all(errc::peer_reset);
    if (const auto said = all_.read_cid(); !said || !is_guest(all_.cid())) return errc::device_misbehaved;
    all_.queues.all().kick_always(all_.queues.event_queue);
    return errc::ok;
  }

  [[nodiscard]] errc take_packet() {
    received_packet in;
    const errc got = all_.queues.next(in);
    came_ |= got == errc::ok;
    if (got == errc::ok && !handle_packet(in)) all_.queues.received.give_back(in.buffer);
    return got;
  }

  /// Handles a packet. Returns whether its buffer is kept.
  [[nodiscard]] bool handle_packet(const received_packet& in) {
    const packet& p = in.header;
    if (p.to_cid != all_.cid() || p.from_cid >> 32 != 0 || p.what == static_cast<u16>(op::invalid)) return false;
    const address peer{static_cast<u32>(p.from_cid), p.from_port};
    const u16 found = all_.table.find(p.to_port, peer);
    const kind type = static_cast<kind>(p.type);
    if (!all_.has(type) || (found != 0 && type != all_.kind_of(all_.table[static_cast<u16>(found - 1)]))) {
      all_.replies.answer(p, peer);
      return false;
    }
    if (p.what > static_cast<u16>(op::credit_request)) return false;  // reserved for later specifications
    if (found == 0) {
      if (p.what != static_cast<u16>(op::request) || !accept_request(p, peer)) all_.replies.answer(p, peer);
      return false;
    }
    const u16 one = static_cast<u16>(found - 1);
    return handle_packet(all_.table[one], one, in);
  }

  // `one` is the index of `c`. Both are passed, since each access to the table costs as much as a step of this
  // function.
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE bool handle_packet(connection& c, u16 one, const received_packet& in) {
    const packet& p = in.header;
    const op what = static_cast<op>(p.what);
    // Almost all packets belong to an established connection and do not end it.
    if ((c.now != state::established || what <= op::reset) && !changes(one, p)) return false;
    if (what == op::credit_update) handle_update(c, one, p);
    else all_.note_activity(c);
    update_credit(c, one, p);
    switch (what) {
      case op::data: return keep(c, one, in);
      case op::shutdown:
        handle_shutdown(one, flags<ends>::of(static_cast<u8>(p.flags & static_cast<u32>(ends::both))));
        return false;
      case op::credit_request: all_.schedule(one, pending_packet::credit); return false;
      default: return false;  // CREDIT_UPDATE has been processed; other operations have no meaning here
    }
  }

  /// Handles a packet that begins or ends a connection, or belongs to one that is not established. Returns whether
  /// there is more to do.
  [[nodiscard, gnu::cold, gnu::noinline]] bool changes(u16 one, const packet& p) {
    connection& c = all_.table[one];
    const op what = static_cast<op>(p.what);
    if (c.now == state::leaving || c.now == state::ended) {
      if (what == op::reset) all_.need_not_reset(one);
      // A new peer, while this end of the previous connection is not closed yet
      if (what == op::request) all_.replies.answer(p, c.peer);
      return false;
    }
    if (what == op::reset) {
      const bool expected = c.closed_ends.has(ends::both) || c.peer_closed_ends.has(ends::both);
      all_.finish(one,
                  c.now == state::connecting ? errc::refused
                  : expected                 ? errc::peer_closed
                                             : errc::peer_reset,
                  teardown::silent);
      return false;
    }
    if (c.now == state::connecting) {
      if (what != op::response) {
        all_.finish(one, errc::refused, teardown::reset);
        return false;
      }
      c.now = state::established;
      all_.raise_event(one, {ready::connected, ready::writable});
    } else if (what == op::request) {
      // Packets are not lost or duplicated, so the peer does not have this connection any more. For example, its
      // machine was reset.
      all_.finish(one, errc::peer_reset, teardown::reset);
      return false;
    }
    return true;
  }

  /// Handles CREDIT_UPDATE. One without news is no sign of life: it answers a CREDIT_REQUEST of the driver, and the
  /// host sends it. vhost-device-vsock 0.3.0 answers for programs that were killed. For the program's own request
  /// (`probe`) any answer counts.
  [[gnu::noinline]] void handle_update(connection& c, u16 one, const packet& p) {
    if (c.probed || c.out.would_change(p.allocation, p.forwarded)) all_.note_activity(c);
    c.probed = false;
    // A new connection may request credit again
    if (c.now == state::closing && c.gathered.empty()) c.asked_for_credit = false;
    // The same host drops a SHUTDOWN that arrives while it holds data, so it is sent once more when the host holds
    // none.
    if (!c.closed_ends.has(ends::both) || c.end_repeated || !c.out.is_all_read(p.forwarded) || !c.gathered.empty())
      return;
    if (c.pending.has(pending_packet::shutdown)) return;
    c.end_repeated = true;
    all_.schedule(one, pending_packet::shutdown);
  }

  /// Records the state of the peer's memory, which every packet reports.
  void update_credit(connection& c, u16 one, const packet& p) {
    c.out.update(p.allocation, p.forwarded);
    if (all_.unsent.may_leave(c)) all_.schedule(one, pending_packet::data);
    if (c.out.available() == 0) return;
    c.asked_for_credit = false;
    if (!c.pending.empty()) all_.try_again(one);  // what waited for room
    if (c.wants_bytes != 0) all_.may_have_room(one);
  }

  /// Handles data. Returns whether the buffer is kept.
  [[nodiscard]] bool keep(connection& c, u16 one, const received_packet& in) {
    const u32 length = in.header.length;
    if (!in.whole || !c.in.receive(length)) {  // more than its buffer holds, or than the peer was allowed to send
      all_.finish(one, errc::peer_reset, teardown::reset);
      return false;
    }
    all_.unread.grow_if_used_up(c);
    const bool ends = Exchange::carries_messages(c) && (in.header.flags & end_of_message) != 0;
    const bool skips = Exchange::carries_messages(c) && c.skipping;
    if (skips || c.now == state::closing || c.closed_ends.has(ends::receive) || c.peer_closed_ends.has(ends::send)) {
      // The data is not needed, or the peer has ended its direction, which may have been reported to the program.
      all_.unread.count_read(c, length);
      if (ends) c.skipping = false;
      if (c.now == state::established && all_.is_update_due(c)) all_.schedule(one, pending_packet::credit);
      return false;
    }
    const bool kept = length != 0 && all_.unread.append(c, all_.queues.received, in.buffer, length);
    if (ends) all_.unread.end_message(c, (in.header.flags & end_of_record) != 0 ? boundary::record : boundary::message);
    if (length != 0 || ends) all_.raise_event(one, ready::readable);
    return kept;
  }

  void handle_shutdown(u16 one, flags<ends> given_up) {
    connection& c = all_.table[one];
    c.peer_closed_ends |= given_up;
    all_.unread.update_reservation(c);
    if (c.peer_closed_ends.has(ends::receive)) {
      all_.forget_unsent(one);
      all_.stop_sending(one);
    }
    all_.try_again(one);  // packets that waited for it
    all_.raise_event(one, {ready::readable, ready::writable});
    if (!c.peer_closed_ends.has(ends::both)) return;
    // Both directions have ended; RST confirms that. Send it after all data has been read: an earlier RST makes
    // `receive` fail before the data ends.
    if (c.now == state::closing || c.received.empty()) all_.finish(one, errc::peer_closed, teardown::reset);
  }

  /// Handles a REQUEST from an unknown peer. Returns whether the connection is accepted.
  [[nodiscard]] bool accept_request(const packet& p, address peer) {
    listener* const here = all_.listeners.open_at(p.to_port, static_cast<kind>(p.type));
    if (here == nullptr || all_.reserves_last_places()) return false;
    const result<u16> added = all_.add(p.to_port, peer, static_cast<kind>(p.type), state::established);
    if (!added) return false;
    connection& c = all_.table[*added];
    all_.replies.drop(p.to_port, peer);  // the reply to an earlier packet would end this connection now
    c.out.update(p.allocation, p.forwarded);
    all_.listeners.join(*here, all_.all(), *added);
    all_.to_report.push(all_.all(), *added);
    all_.schedule(*added, pending_packet::response);
    return true;
  }

  Exchange& all_;
  bool came_ = false;
};

}  // namespace virtio::vsock::detail
