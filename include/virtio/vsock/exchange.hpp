// SPDX-License-Identifier: MIT
// The state of all connections of a device: how they begin and end, what each owes its peer, and the sending of it when there is room.
// Packets that arrive (arrivals.hpp) and calls of the user (device.hpp) change that state; nothing is sent but from here.
// Layer: vsock.
#pragma once

#include <virtio/vsock/inbox.hpp>
#include <virtio/vsock/listeners.hpp>
#include <virtio/vsock/outbox.hpp>
#include <virtio/vsock/packets.hpp>
#include <virtio/vsock/pieces.hpp>
#include <virtio/vsock/replies.hpp>

namespace virtio::vsock {

namespace detail {

/// How a connection ends: with an RST to the peer, or without a word, since the peer was first or is gone.
enum class parting : u8 { reset, silent };

template <platform P, transport T, queue_format Q, limits L>
class exchange {
 public:
  using queues_type = packet_queues<P, T, Q, L>;
  static constexpr limits bounds = L;

  queues_type queues{};
  connection_table<L.connections> table{};
  inbox<typename queues_type::receive_pool, L> unread{};
  outbox<typename queues_type::send_pool, L> unsent{};
  detail::listeners<L.listeners> listeners{};
  detail::replies<L.replies> replies{};  // to packets of no connection
  held_pieces<L.pieces> pieces{};
  line_of<&connection::to_tell> to_tell{};

  /// Before a start: as if there had never been anything.
  void forget(seed from) {
    to_send_ = {};
    to_tell = {};
    closing_ = {};
    listeners.clear();
    replies.clear();
    unsent.start();
    table.start(from);
    unread.start();
    pieces.forget();
  }

  [[nodiscard]] device_life<P, T>& life() { return queues.all().life(); }
  [[nodiscard]] const device_life<P, T>& life() const { return queues.all().life(); }
  [[nodiscard]] connection* all() { return table.all(); }
  [[nodiscard]] u32 cid() const { return cid_; }

  [[nodiscard]] result<void> read_cid() {
    u64 said = 0;
    const auto fill_in = [this](u64& picture) -> result<void> {
      VIRTIO_TRY_ASSIGN(picture, read_field(life().session().transport(), config::guest_cid));
      return {};
    };
    VIRTIO_TRY(read_config(life().session().transport(), said, fill_in));
    cid_ = static_cast<u32>(said);  // its upper half is reserved
    return {};
  }

  // Connections ----------------------------------------------------------------------------------------------------------

  [[nodiscard]] socket name_of(u16 one) const { return {one, table[one].generation}; }
  void forget_name(u16 one) {
    unread.discard(table[one], queues.received);
    ++table[one].generation;
    table[one].news = {};
    to_tell.remove(all(), one);
  }
  [[nodiscard]] result<u16> find(socket which) const {
    if (which.slot >= L.connections || (which.generation & 1) == 0) return errc::stale_handle;
    if (table[which.slot].generation != which.generation) return errc::stale_handle;
    return which.slot;
  }
  [[nodiscard]] result<u16> add(u32 local_port, address peer, kind what, state now) {
    if (table.is_full() && !make_place(local_port, peer)) return errc::table_full;
    VIRTIO_TRY_ASSIGN(const u16 one, table.add(local_port, peer, what));
    table[one].now = now;
    table[one].heard_at = ticks_;
    unread.begin_window(table[one]);
    return one;
  }
  /// Frees a place for a connection between these addresses, if that can have it: of the connections that are being closed the oldest
  /// does without its peer's agreement which has delivered everything. Its RST waits with those to strangers, so that its place is
  /// free at once. The others are asked how much they have read: some hosts never say it by themselves (vhost-device-vsock).
  [[nodiscard, gnu::cold, gnu::noinline]] bool make_place(u32 local_port, address peer) {
    if (!table.takes(local_port, peer) || !has_room_for_reply()) return false;
    constexpr u16 most_looks = 16;  // a flood of requests costs no more, and all have their turn
    for (u16 looks = 0; looks < most_looks && !closing_.empty(); ++looks) {
      const u16 one = closing_.first();
      const connection& c = table[one];
      if (is_delivered(c)) {
        replies.add(c.local_port, c.peer, static_cast<u16>(kind_of(c)));
        release(one);
        return true;
      }
      closing_.remove(all(), one);
      closing_.push(all(), one);
      if (c.out.unconfirmed() != 0) ask_for_credit(one);
    }
    return false;
  }
  /// Of one that is being closed: whether the peer has read everything, and knows that it was everything.
  [[nodiscard]] static bool is_delivered(const connection& c) {
    return c.gathered.empty() && !c.owed.has(debt::shutdown) && c.out.unconfirmed() == 0;
  }
  /// Whether the places that are left are not for one more that waits to be accepted: the program must be able to connect.
  [[nodiscard]] bool keeps_last_places() const {
    return listeners.waiting() != 0 && closing_.empty() && table.unused() <= L.outgoing;
  }

  // Age ------------------------------------------------------------------------------------------------------------------

  void heard_from(connection& c) { c.heard_at = ticks_; }
  [[nodiscard]] u32 quiet_for(const connection& c) const { return ticks_ - c.heard_at; }
  void tick(const ages& most) {
    ++ticks_;
    for (u16 one = 0; one < L.connections; ++one) {
      connection& c = table[one];
      const u32 quiet = quiet_for(c);
      if (c.now == state::connecting && is_over(quiet, most.connecting)) finish(one, errc::peer_silent, parting::reset);
      if (c.now == state::closing && is_over(quiet, most.closing)) finish(one, errc::canceled, parting::reset);
      if (c.now != state::established || !is_over(quiet, most.idle) || !is_over(ticks_ - c.idle_told_at, most.idle)) continue;
      c.idle_told_at = ticks_;
      tell(one, ready::idle);
    }
    send_owed();
  }

  void tell(u16 one, flags<ready> what) {
    connection& c = table[one];
    if ((c.generation & 1) == 0) return;  // nobody has its name any more
    c.news |= what;
    if (c.accepted) to_tell.push(all(), one);
  }

  /// The end of a connection. Who has its name may still read what arrived, and then learns `why`.
  void finish(u16 one, errc why, parting how) {
    connection& c = table[one];
    forget_unsent(one);
    c.owed = {};
    c.wants_room = false;
    to_send_.remove(all(), one);
    unsent.stop_waiting(all(), one);
    unsent.forget_promise(table[one]);
    if (c.accepted) closing_.remove(all(), one);  // else the link is that of its listener's line
    c.why = why;
    unread.close_window(c);
    const bool known = (c.generation & 1) != 0 && (c.accepted || !c.received.empty());
    c.now = known ? state::ended : state::leaving;
    if (known) tell(one, {ready::readable, ready::closed});
    else if (!c.accepted) leave_line(one);
    if (how == parting::reset) owe(one, debt::reset);
    else if (!known) release(one);
  }
  /// The peer was first: RST never answers RST.
  void need_not_reset(u16 one) {
    table[one].owed = {};
    to_send_.remove(all(), one);
    if (table[one].now == state::leaving) release(one);
  }
  /// Nobody has its name any more. What was sent still arrives.
  void begin_closing(u16 one) {
    connection& c = table[one];
    c.now = state::closing;
    closing_.push(all(), one);
    heard_from(c);  // its age as one that is being closed
    c.gave_up = ends::both;
    unread.settle(c);
    if (!c.gathered.empty()) owe(one, debt::data);
    owe(one, debt::shutdown);
    send_owed();
  }
  /// A connection that has ended and whose name is gone.
  void leave(u16 one) {
    table[one].now = state::leaving;
    if (!table[one].owed.has(debt::reset)) release(one);
  }
  void release(u16 one) {
    forget_unsent(one);
    unread.close_window(table[one]);
    to_send_.remove(all(), one);
    to_tell.remove(all(), one);
    unsent.stop_waiting(all(), one);
    unsent.forget_promise(table[one]);
    closing_.remove(all(), one);
    unread.discard(table[one], queues.received);
    table.remove(one);
  }
  void forget_unsent(u16 one) {
    if (table[one].gathered.empty()) return;
    unsent.forget(all(), one, queues.sent);
    table[one].owed -= debt::data;
  }
  /// Out of the line of those who wait to be accepted.
  void leave_line(u16 one) {
    listeners.leave(all(), one);
    to_tell.remove(all(), one);
  }

  void end_all(errc why) {
    for (u16 one = 0; one < L.connections; ++one) {
      const state now = table[one].now;
      if (now == state::leaving || now == state::ended) need_not_reset(one);  // a host that has forgotten everything
      else if (now != state::unused) finish(one, why, parting::silent);
    }
    replies.clear();
  }
  void discard_all() {
    pieces.forget();
    for (u16 one = 0; one < L.connections; ++one) unread.discard(table[one], queues.received);
  }
  /// The device goes down, and every connection with it. Returns what `device_life::take_down` does: of interest to those who give
  /// the storage back, since no call has a buffer that the device could keep.
  errc fall(errc why) {
    const errc how = queues.all().take_down(why);
    end_all(why);
    return how;
  }

  /// A poll has looked at everything.
  void found_nothing() { queues.all().found_nothing(looks_in_poll); }
  /// Asks for interrupts ahead of a sleep. True: something is there already.
  [[nodiscard]] bool arm() {
    if (!life().is_up()) return false;
    const bool has_slept = queues.all().outlasts_sleep();
    flush_all();
    if (!life().is_up() || queues.all().arm()) return life().is_up();
    if (has_slept && unsent.is_gathering() && by_sleeps_.is_due()) {  // what is gathered waits as long as we do
      ask_oldest();
      send_owed();
    }
    return false;
  }

  // What is owed ---------------------------------------------------------------------------------------------------------

  void owe(u16 one, debt what) {
    table[one].owed |= what;
    to_send_.push(all(), one);
  }
  /// What it owes and could not send may leave now.
  void try_again(u16 one) {
    if (!table[one].owed.empty()) to_send_.push(all(), one);
  }

  /// Sends what is owed as far as there is room, and shows it to the device.
  void send_owed() {
    if (!life().is_up()) return;
    stage_owed();
    queues.all().kick(queues.transmit_queue);
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
  void ask_for_credit(u16 one) {
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

  // Sending --------------------------------------------------------------------------------------------------------------

  [[nodiscard]] static kind kind_of(const connection& c) { return c.messages ? kind::seqpacket : kind::stream; }

  /// Whether connections can carry this. Devices of before NO_IMPLIED_STREAM have streams whatever they say (5.10.3).
  [[nodiscard]] bool has(kind what) const {
    const feature_set& accepted = life().session().features();
    if (what == kind::seqpacket) return L.messages && accepted.has(feature::seqpacket);
    return what == kind::stream && (accepted.has(feature::stream) || !accepted.has(feature::no_implied_stream));
  }

  [[nodiscard]] result<void> may_send(const connection& c) const {
    if (c.now == state::connecting) return errc::not_ready;
    if (c.now == state::ended) return c.why;
    if (c.gave_up.has(ends::send)) return errc::invalid_argument;
    if (c.peer_gave_up.has(ends::receive)) return errc::peer_closed;
    return {};
  }

  /// Copies a whole message into buffers of its own. Errors: `too_long`, `no_credit`, `no_buffer`.
  [[nodiscard]] result<void> gather_message(u16 one, const detail::joined& data, border end) {
    VIRTIO_TRY(unsent.takes_message(table[one], data.size()));
    return gather_whole(one, data, end);
  }
  /// Likewise of a stream: behind what is gathered, or in buffers of its own once that has left.
  [[nodiscard]] result<void> gather_all(u16 one, const detail::joined& data) {
    connection& c = table[one];
    const usize size = data.size();
    if (size > usize{L.send_packet} * L.send_packets || size > c.out.allocation()) return errc::too_long;
    if (unsent.room(c) < size) return errc::no_credit;
    if (unsent.join(c, queues.sent, data, size)) return {};
    if (!c.gathered.empty()) {
      owe(one, debt::data);
      send_owed();
      if (!c.gathered.empty()) return c.out.available() == 0 ? errc::no_credit : errc::no_buffer;
    }
    return gather_whole(one, data, border::message);
  }
  [[nodiscard]] result<void> gather_whole(u16 one, const detail::joined& data, border end) {
    const usize size = data.size();
    const u32 buffers = buffers_for(size);
    if (!have_buffers(one, buffers)) return errc::no_buffer;
    unsent.takes(table[one], buffers);
    buffer_list whole{};
    for (usize at = 0; at < size; at += L.send_packet) {
      const buffer_index buffer = queues.sent.take();
      whole.push(queues.sent, buffer);
      data.copy(at, queues.sent.payload(buffer), virtio::detail::smaller<usize>(size - at, L.send_packet));
    }
    asks_begin_again();
    unsent.take_message(all(), one, whole, static_cast<u32>(size), end);
    return {};
  }
  [[nodiscard]] static constexpr u32 buffers_for(usize size) {
    return static_cast<u32>((size + (L.send_packet - 1)) / L.send_packet);
  }

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
    unsent.poll();
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

  void tell_room(u16 one) {
    table[one].wants_room = false;
    unsent.stop_waiting(all(), one);
    tell(one, ready::writable);
  }

  // Reading ---------------------------------------------------------------------------------------------------------------

  /// The peer hears of room when half its window would open.
  void after_reading(u16 one) {
    connection& c = table[one];
    if (c.now != state::established) return;
    if (c.received.empty() && c.peer_gave_up.has(ends::both)) {
      finish(one, errc::peer_closed, parting::reset);
    } else {
      if (!wants_telling(c)) return;
      owe(one, debt::credit);
    }
    send_owed();
  }
  [[nodiscard]] bool wants_telling(const connection& c) const {
    const u32 wanted = unread.wanted_window(c);
    return c.in.gain(wanted) >= (wanted + 1) / 2;
  }
  /// No message is whole yet. When there is no room for more of it, and never will be, it is dropped, and so is the rest as it comes.
  [[nodiscard]] errc nothing_whole(u16 one) {
    connection& c = table[one];
    if (c.received.empty() || c.in.left() != 0 || c.now != state::established) return nothing_to_read(c);
    if (c.in.gain(unread.wanted_window(c)) != 0) {
      owe(one, debt::credit);
      send_owed();
      return errc::not_ready;
    }
    unread.discard(c, queues.received);
    c.skipping = true;
    after_reading(one);
    return errc::too_long;
  }
  [[nodiscard]] static errc nothing_to_read(const connection& c) {
    if (c.now == state::ended) return c.why;
    if (c.peer_gave_up.has(ends::send)) return errc::peer_closed;
    return c.gave_up.has(ends::receive) ? errc::invalid_argument : errc::not_ready;
  }

 private:
  static constexpr u32 looks_in_poll = 64;  // it is heavier than one, and vhost-device-vsock has us wait more often: 1024 are enough

  [[nodiscard]] static constexpr bool is_over(u32 age, u32 most) { return most != 0 && age >= most; }

  u32 cid_ = 0;
  u32 ticks_ = 0;
  ever_rarer<64> by_polls_{};
  ever_rarer<1> by_sleeps_{};  // those that brought nothing
  line_of<&connection::to_send> to_send_{};
  line_of<&connection::in_line> closing_{};
};

}  // namespace detail
}  // namespace virtio::vsock
