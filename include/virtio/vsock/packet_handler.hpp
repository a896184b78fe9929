// SPDX-License-Identifier: MIT
// What a packet that arrives does: to the connection it names, to whoever listens, or to nobody.
// Spec: virtio 1.4, 5.10.6. Layer: vsock.
#pragma once

#include <virtio/vsock/exchange.hpp>

namespace virtio::vsock::detail {

template <class Exchange>
class packet_handler {
 public:
  explicit packet_handler(Exchange& all) : all_{all} {}

  /// Whether a packet came or left, in the call below.
  [[nodiscard]] bool came() const { return came_; }

  /// Everything that can be done now: sent buffers come back, events and packets are taken, buffers go to the device, and what is
  /// owed is sent. Errors: `device_misbehaved` once, and all connections have ended then; `not_started`.
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE errc move_packets() {
    if (!all_.lifecycle().is_up()) return errc::not_started;
    came_ = false;
    errc got = all_.queues.collect(came_);
    if (got == errc::ok) got = take_events();
    // A packet may want an answer, and there is room for some only: beyond that packets stay where they are. No buffer goes back
    // before the loop has ended, so that it does.
    while (got == errc::ok && all_.has_room_for_reply()) got = take_packet();
    const bool idle = got == errc::not_ready && !came_;
    if (got != errc::ok && got != errc::not_ready) {
      all_.bring_down(got);
      return got;
    }
    // Buffers first: a host that waits for some does not read what we send (vhost).
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
  /// An event has come.
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
    // The host's end of everything is gone. One that was restored sends nothing before it has heard of us.
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

  /// What a packet does. Whether its buffer is kept.
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
    if (p.what > static_cast<u16>(op::credit_request)) return false;  // of a specification to come
    if (found == 0) {
      if (p.what != static_cast<u16>(op::request) || !accept_request(p, peer)) all_.replies.answer(p, peer);
      return false;
    }
    const u16 one = static_cast<u16>(found - 1);
    return handle_packet(all_.table[one], one, in);
  }

  // `one` is the index of `c`: both are handed on, since every look into the table costs as much as a step of this.
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE bool handle_packet(connection& c, u16 one, const received_packet& in) {
    const packet& p = in.header;
    const op what = static_cast<op>(p.what);
    // Almost all are of an established connection, and do not end it.
    if ((c.now != state::established || what <= op::reset) && !changes(one, p)) return false;
    if (what == op::credit_update) handle_update(c, one, p);
    else all_.note_activity(c);
    update_credit(c, one, p);
    switch (what) {
      case op::data: return keep(c, one, in);
      case op::shutdown: handle_shutdown(one, flags<ends>::of(static_cast<u8>(p.flags & static_cast<u32>(ends::both)))); return false;
      case op::credit_request: all_.schedule(one, pending_packet::credit); return false;
      default: return false;  // CREDIT_UPDATE has said all it had to; the rest means nothing here
    }
  }

  /// A packet that begins or ends a connection, or is of one that is not established. Whether there is more to it.
  [[nodiscard, gnu::cold, gnu::noinline]] bool changes(u16 one, const packet& p) {
    connection& c = all_.table[one];
    const op what = static_cast<op>(p.what);
    if (c.now == state::leaving || c.now == state::ended) {
      if (what == op::reset) all_.need_not_reset(one);
      if (what == op::request) all_.replies.answer(p, c.peer);  // somebody new, where our end of the last one is not closed yet
      return false;
    }
    if (what == op::reset) {
      const bool expected = c.closed_ends.has(ends::both) || c.peer_closed_ends.has(ends::both);
      all_.finish(one, c.now == state::connecting ? errc::refused : expected ? errc::peer_closed : errc::peer_reset, teardown::silent);
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
      // No packet gets lost or comes twice: the peer does not know this connection any more. Its machine was reset, say.
      all_.finish(one, errc::peer_reset, teardown::reset);
      return false;
    }
    return true;
  }

  /// CREDIT_UPDATE. One that repeats what is known is no sign of life: it answers a CREDIT_REQUEST of the driver's own, and comes from the
  /// host; vhost-device-vsock 0.3.0 answers for programs that were killed. The program's own question (`probe`) takes any answer.
  [[gnu::noinline]] void handle_update(connection& c, u16 one, const packet& p) {
    if (c.probed || c.out.would_change(p.allocation, p.forwarded)) all_.note_activity(c);
    c.probed = false;
    if (c.now == state::closing && c.gathered.empty()) c.asked_for_credit = false;  // a newcomer may want to know again
    // The same host forgets a SHUTDOWN that comes while it holds data: it hears it again, once, when it holds none.
    if (!c.closed_ends.has(ends::both) || c.end_repeated || !c.out.is_all_read(p.forwarded) || !c.gathered.empty()) return;
    if (c.pending.has(pending_packet::shutdown)) return;
    c.end_repeated = true;
    all_.schedule(one, pending_packet::shutdown);
  }

  /// What every packet tells about the peer's memory.
  void update_credit(connection& c, u16 one, const packet& p) {
    c.out.update(p.allocation, p.forwarded);
    if (all_.unsent.may_leave(c)) all_.schedule(one, pending_packet::data);
    if (c.out.available() == 0) return;
    c.asked_for_credit = false;
    if (!c.pending.empty()) all_.try_again(one);  // what waited for room
    if (c.wants_bytes != 0) all_.may_have_room(one);
  }

  /// Data.
  [[nodiscard]] bool keep(connection& c, u16 one, const received_packet& in) {
    const u32 length = in.header.length;
    if (!in.whole || !c.in.receive(length)) {  // more than its buffer holds, or than it was allowed
      all_.finish(one, errc::peer_reset, teardown::reset);
      return false;
    }
    all_.unread.grow_if_used_up(c);
    const bool ends = Exchange::carries_messages(c) && (in.header.flags & end_of_message) != 0;
    const bool skips = Exchange::carries_messages(c) && c.skipping;
    if (skips || c.now == state::closing || c.closed_ends.has(ends::receive) || c.peer_closed_ends.has(ends::send)) {
      // It is not wanted; or the peer has said that there is none, which the program may have been told.
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
    all_.try_again(one);  // what waited behind that
    all_.raise_event(one, {ready::readable, ready::writable});
    if (!c.peer_closed_ends.has(ends::both)) return;
    // Both ends are done; RST says that we know. Not before everything was read: it would cut that short for programs that ask.
    if (c.now == state::closing || c.received.empty()) all_.finish(one, errc::peer_closed, teardown::reset);
  }

  /// A REQUEST of somebody new. Whether they may come in.
  [[nodiscard]] bool accept_request(const packet& p, address peer) {
    listener* const here = all_.listeners.open_at(p.to_port, static_cast<kind>(p.type));
    if (here == nullptr || all_.reserves_last_places()) return false;
    const result<u16> added = all_.add(p.to_port, peer, static_cast<kind>(p.type), state::established);
    if (!added) return false;
    connection& c = all_.table[*added];
    all_.replies.drop(p.to_port, peer);  // to a packet of before: it would end this connection now
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
