// SPDX-License-Identifier: MIT
// All of a device's connections: how they begin, grow old, are closed and read from. Packets that arrive (packet_handler.hpp) and calls of
// the user (device.hpp) go through here.
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
  using base::all, base::request_credit_again, base::request_credit, base::finish, base::flush_all, base::forget, base::has_room_for_reply;
  using base::note_activity, base::kind_of, base::lifecycle, base::schedule, base::schedule_now, base::idle_for, base::release;
  using base::send_scheduled, base::stop_sending, base::serve_waiting, base::raise_event;
  using base::listeners, base::queues, base::replies, base::table, base::unread, base::unsent;

  // Beginnings -----------------------------------------------------------------------------------------------------------

  [[nodiscard]] result<u16> add(u32 local_port, address peer, kind what, state now) {
    if (table.is_full() && !evict_closing(local_port, peer)) return errc::table_full;
    VIRTIO_TRY_ASSIGN(const u16 one, table.add(local_port, peer, what));
    table[one].now = now;
    table[one].last_activity = ticks_;
    unread.begin_window(table[one]);
    return one;
  }
  /// Frees a place for a connection between these addresses, if that can have it: of the connections that are being closed the oldest
  /// does without its peer's agreement which has delivered everything. Its RST waits with those to strangers, so that its place is
  /// free at once. The others are asked how much they have read: some hosts never say it by themselves (vhost-device-vsock).
  [[nodiscard, gnu::cold, gnu::noinline]] bool evict_closing(u32 local_port, address peer) {
    if (!table.takes(local_port, peer) || !has_room_for_reply() || !move_delivered_first(1)) return false;
    const u16 one = closing_.first();
    const connection& c = table[one];
    replies.add(c.local_port, c.peer, static_cast<u16>(kind_of(c)));
    release(one);
    return true;
  }
  /// Whether `n` connections that have delivered everything lead the list of those that are being closed, once others were put behind.
  [[nodiscard, gnu::cold, gnu::noinline]] bool move_delivered_first(u32 n) {
    u32 most_others = 16;  // a flood of requests costs no more, and all have their turn
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
  /// Of one that is being closed: whether the peer has read everything, and knows that it was everything.
  [[nodiscard]] static bool is_delivered(const connection& c) {
    return c.gathered.empty() && !c.pending.has(pending_packet::shutdown) && c.out.unconfirmed() == 0;
  }
  /// Whether the places that are left are not for one more that waits to be accepted: the program must be able to connect. A place that
  /// `evict_closing` would free at once is as good as a free one.
  [[nodiscard]] bool reserves_last_places() {
    if (listeners.waiting() == 0 || table.unused() > L.outgoing) return false;
    return !move_delivered_first(L.outgoing + 1u - table.unused());
  }

  // Age ------------------------------------------------------------------------------------------------------------------

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

  /// Without a division, for which some processors need a function. `b` is not 0.
  [[nodiscard]] static constexpr bool is_multiple(u32 a, u32 b) {
    for (u32 shift = static_cast<u32>(__builtin_clz(b)) + 1; shift-- != 0;)
      if (a >> shift >= b) a -= b << shift;
    return a == 0;
  }

  // Closing, and sleep ---------------------------------------------------------------------------------------------------

  /// Nobody has its name any more. What was sent still arrives.
  void begin_closing(u16 one) {
    connection& c = table[one];
    c.now = state::closing;
    closing_.push(all(), one);
    note_activity(c);  // its age as one that is being closed
    c.closed_ends = ends::both;
    unread.update_reservation(c);
    shut(one);
  }
  /// SHUTDOWN is sent, behind what was sent before.
  void shut(u16 one) {
    const connection& c = table[one];
    if (c.closed_ends.has(ends::send)) stop_sending(one);
    if (!c.gathered.empty()) schedule(one, pending_packet::data);
    schedule_now(one, pending_packet::shutdown);
  }
  /// A poll has looked at everything.
  void found_nothing() { queues.all().found_nothing(looks_in_poll); }
  /// Asks for interrupts ahead of a sleep. True: something is there already.
  [[nodiscard]] bool arm() {
    if (!lifecycle().is_up()) return false;
    const bool has_slept = queues.all().slept_idle();
    flush_all();
    if (!lifecycle().is_up()) return false;
    if (unsent.has_waiting()) {  // there may be no poll in which an unused reservation would expire
      unsent.expire_all(all());
      if (serve_waiting()) {
        send_scheduled();
        return lifecycle().is_up();
      }
    }
    if (queues.all().arm()) return true;
    if (has_slept && unsent.awaits_credit_update()) {  // what is gathered waits as long as we do
      request_credit_again();
      send_scheduled();
    }
    return false;
  }

  // Reading --------------------------------------------------------------------------------------------------------------

  /// The peer hears of room when half its window would open, what the program holds of it left aside: that may be more than half.
  /// One that can send nothing more hears of any room when the program was shown bytes and has left some, since it may wait for more behind
  /// them: a frame that is not whole, say. Of a packet's room when it has copied some, with what leaves next.
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
  /// The program wants another window for a connection.
  void set_window(u16 one, u32 packets) {
    connection& c = table[one];
    unread.set_window(c, packets);
    if (c.now != state::established || c.in.gain(unread.wanted_window(c)) == 0) return;
    schedule_now(one, pending_packet::credit);
  }
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE bool is_update_due(const connection& c) const {
    const u32 wanted = unread.wanted_window(c), gain = c.in.gain(wanted);
    if constexpr (L.pieces != 0) return gain != 0 && gain >= (wanted - virtio::detail::smaller(c.taken, wanted) + 1) / 2;
    return gain >= (wanted + 1) / 2;
  }
  /// No message is whole yet. When there is no room for more of it, and never will be, it is dropped, and so is the rest as it comes.
  [[nodiscard]] errc nothing_whole(u16 one) {
    connection& c = table[one];
    if (!is_full(one)) return nothing_to_read(c);
    unread.discard(c, queues.received);
    c.skipping = true;
    after_reading(one);
    return errc::too_long;
  }
  /// Whether the peer has sent all that it may before some of it is read, and cannot be allowed more.
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

  static constexpr u32 looks_in_poll = 64;  // it is heavier than one, and vhost-device-vsock has us wait more often: 1024 are enough

  [[nodiscard]] static constexpr bool is_over(u32 age, u32 most) { return most != 0 && age >= most; }
};

}  // namespace virtio::vsock::detail
