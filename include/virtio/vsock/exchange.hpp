// SPDX-License-Identifier: MIT
// All connections of a device: how they begin, age, are closed and read. Packets that arrive (packet_handler.hpp) and
// calls of the user (device.hpp) are processed through this class.
// Layer: vsock.
#pragma once

#include <virtio/vsock/sender.hpp>

namespace virtio::vsock::detail {

/// What the program has just done with bytes that had arrived.
enum class reading : u8 { other, copied, shown };

template <platform P, transport T, queue_format Q, limits L>
class exchange : public sender<P, T, Q, L> {
  using base = sender<P, T, Q, L>;

 public:
  using base::all, base::request_credit_again, base::request_credit, base::finish, base::flush_all, base::forget,
      base::has_room_for_reply;
  using base::note_activity, base::kind_of, base::lifecycle, base::schedule, base::schedule_now, base::idle_for,
      base::release;
  using base::send_scheduled, base::stop_sending, base::serve_waiting, base::raise_event;
  using base::listeners, base::queues, base::replies, base::table, base::unread, base::unsent;

  // Beginnings --------------------------------------------------------------------------------------------------------

  [[nodiscard]] result<u16> add(u32 local_port, address peer, kind what, state now) {
    if (table.is_full() && !evict_closing(local_port, peer)) return errc::table_full;
    VIRTIO_TRY_ASSIGN(const u16 one, table.add(local_port, peer, what));
    table[one].now = now;
    table[one].last_activity = ticks_;
    unread.begin_window(table[one]);
    return one;
  }
  /// Frees a place for a connection between these addresses, if the table accepts them. Of the connections that are
  /// being closed, the oldest that has delivered everything ends without its peer's agreement. Its RST waits among
  /// those to unknown peers, so that its place is free at once. The other peers receive a CREDIT_REQUEST: some hosts do
  /// not report by themselves how much they have read (vhost-device-vsock).
  [[nodiscard, gnu::cold, gnu::noinline]] bool evict_closing(u32 local_port, address peer) {
    if (!table.takes(local_port, peer) || !has_room_for_reply() || !move_delivered_first(1)) return false;
    const u16 one = closing_.first();
    const connection& c = table[one];
    replies.add(c.local_port, c.peer, static_cast<u16>(kind_of(c)));
    release(one);
    return true;
  }
  /// Whether the list of connections being closed begins with `n` that have delivered everything, after others were
  /// moved to its end.
  [[nodiscard, gnu::cold, gnu::noinline]] bool move_delivered_first(u32 n) {
    u32 most_others = 16;  // bounds the cost of a flood of requests; each connection has its turn
    u32 found = 0;
    u16 next = static_cast<u16>(closing_.first_and_one());
    while (next != 0) {
      const u16 one = static_cast<u16>(next - 1);
      connection& c = table[one];
      next = c.in_queue.next;
      if (is_delivered(c)) {
        if (++found == n) return true;
        continue;
      }
      if (most_others-- == 0) return false;
      closing_.remove(all(), one);
      closing_.push(all(), one);
      if (c.out.unconfirmed() != 0) request_credit(one);
    }
    return false;
  }
  /// For a connection being closed: whether the peer has read everything and has received SHUTDOWN.
  [[nodiscard]] static bool is_delivered(const connection& c) {
    return c.gathered.empty() && !c.pending.has(pending_packet::shutdown) && c.out.unconfirmed() == 0;
  }
  /// Whether the remaining places are reserved, since the program must be able to connect. A place that `evict_closing`
  /// would free at once counts as free.
  [[nodiscard]] bool reserves_last_places() {
    if (listeners.waiting() == 0 || table.unused() > L.outgoing) return false;
    return !move_delivered_first(L.outgoing + 1u - table.unused());
  }

  // Age ---------------------------------------------------------------------------------------------------------------

  void tick(const ages& most) {
    ++ticks_;
    for (u16 one = 0; one < L.connections; ++one) {
      connection& c = table[one];
      const u32 idle = idle_for(c);
      if (c.now == state::connecting && is_over(idle, most.connecting)) finish(one, errc::peer_silent, teardown::reset);
      if (c.now == state::closing && is_over(idle, most.closing)) finish(one, errc::canceled, teardown::reset);
      if (c.now != state::established || !is_over(idle, most.idle)) continue;
      if (is_multiple(idle, most.idle)) raise_event(one, ready::idle);
    }
    send_scheduled();
  }

  /// Without a division, which some processors do by a function. `b` is not 0.
  [[nodiscard]] static constexpr bool is_multiple(u32 a, u32 b) {
    for (u32 shift = static_cast<u32>(__builtin_clz(b)) + 1; shift-- != 0;)
      if (a >> shift >= b) a -= b << shift;
    return a == 0;
  }

  // Closing and sleep -------------------------------------------------------------------------------------------------

  /// Makes the name stale. What was sent still arrives.
  void begin_closing(u16 one) {
    connection& c = table[one];
    c.now = state::closing;
    closing_.push(all(), one);
    note_activity(c);  // start of its age as a closing connection
    c.closed_ends = ends::both;
    unread.update_reservation(c);
    shut(one);
  }
  /// Sends SHUTDOWN after what was sent before.
  void shut(u16 one) {
    const connection& c = table[one];
    if (c.closed_ends.has(ends::send)) stop_sending(one);
    if (!c.gathered.empty()) schedule(one, pending_packet::data);
    schedule_now(one, pending_packet::shutdown);
  }
  /// A poll has found nothing in any queue.
  void found_nothing() { queues.all().found_nothing(looks_in_poll); }
  /// Requests interrupts before a sleep. True: work is already present.
  [[nodiscard]] bool arm() {
    if (!lifecycle().is_up()) return false;
    const bool has_slept = queues.all().slept_idle();
    flush_all();
    if (!lifecycle().is_up()) return false;
    if (unsent.has_waiting()) {  // an unused reservation would expire in a poll, which may not happen
      unsent.expire_all(all());
      if (serve_waiting()) {
        send_scheduled();
        return lifecycle().is_up();
      }
    }
    if (queues.all().arm()) return true;
    if (has_slept && unsent.awaits_credit_update()) {  // gathered bytes wait as long as the program sleeps
      request_credit_again();
      send_scheduled();
    }
    return false;
  }

  // Reading -----------------------------------------------------------------------------------------------------------

  /// Informs the peer of room when half its window would open. Pieces that the program holds are excluded, since they
  /// may be more than half. If the peer can send nothing more, and the program was shown bytes and left some, the peer
  /// is informed of any room: the program may wait for the bytes after them, as of an incomplete frame. If the program
  /// has copied some, one packet's room is enough, and the next packet to leave reports it.
  template <reading How = reading::other>
  void after_reading(u16 one) {
    connection& c = table[one];
    if (c.now != state::established) return;
    if (c.received.empty() && c.peer_closed_ends.has(ends::both)) {
      finish(one, errc::peer_closed, teardown::reset);
    } else {
      if (!is_update_due(c)) {
        if (How == reading::other || c.in.left() != 0 || !must_update_stuck_peer(one, How)) return;
      }
      schedule(one, pending_packet::credit);
    }
    send_scheduled();
  }
  [[nodiscard, gnu::cold, gnu::noinline]] bool must_update_stuck_peer(u16 one, reading how) {
    const u32 gain = table[one].in.gain(unread.wanted_window(table[one]));
    if (how == reading::shown) return gain != 0;
    if (gain >= L.receive_packet) schedule(one, pending_packet::credit);
    return false;
  }
  /// Sets a connection's window for the program.
  void set_window(u16 one, u32 packets) {
    connection& c = table[one];
    unread.set_window(c, packets);
    if (c.now != state::established || c.in.gain(unread.wanted_window(c)) == 0) return;
    schedule_now(one, pending_packet::credit);
  }
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE bool is_update_due(const connection& c) const {
    const u32 wanted = unread.wanted_window(c), gain = c.in.gain(wanted);
    if constexpr (L.pieces != 0)
      return gain != 0 && gain >= (wanted - virtio::detail::smaller(c.taken, wanted) + 1) / 2;
    return gain >= (wanted + 1) / 2;
  }
  /// No message is complete. If there is no room for its rest, and never will be, the message is dropped, including the
  /// part that has not arrived.
  [[nodiscard]] errc nothing_whole(u16 one) {
    connection& c = table[one];
    if (!is_full(one)) return nothing_to_read(c);
    unread.discard(c, queues.received);
    c.skipping = true;
    after_reading(one);
    return errc::too_long;
  }
  /// Whether the peer has sent all it may until some bytes are read, and cannot be allowed more.
  [[nodiscard]] bool is_full(u16 one) {
    connection& c = table[one];
    if (c.received.empty() || c.in.left() != 0 || c.now != state::established) return false;
    if (c.in.gain(unread.wanted_window(c)) == 0) return true;
    schedule_now(one, pending_packet::credit);
    return false;
  }
  [[nodiscard]] static errc nothing_to_read(const connection& c) {
    if (c.now == state::ended) return c.why;
    if (c.peer_closed_ends.has(ends::send)) return errc::peer_closed;
    return c.closed_ends.has(ends::receive) ? errc::invalid_argument : errc::not_ready;
  }

 private:
  using base::closing_, base::ticks_;

  // A look costs more here, and vhost-device-vsock causes more waits: 1024 are enough
  static constexpr u32 looks_in_poll = 64;

  [[nodiscard]] static constexpr bool is_over(u32 age, u32 most) { return most != 0 && age >= most; }
};

}  // namespace virtio::vsock::detail
