// SPDX-License-Identifier: MIT
// The state of all connections of a device, and how each ends. Nothing is sent from here: what a change of state asks for is owed
// (sender.hpp).
// Layer: vsock.
#pragma once

#include <virtio/config.hpp>
#include <virtio/vsock/inbox.hpp>
#include <virtio/vsock/listeners.hpp>
#include <virtio/vsock/outbox.hpp>
#include <virtio/vsock/packets.hpp>
#include <virtio/vsock/pieces.hpp>
#include <virtio/vsock/replies.hpp>

namespace virtio::vsock::detail {

/// How a connection ends: with an RST to the peer, or without a word, since the peer was first or is gone.
enum class parting : u8 { reset, silent };

template <platform P, transport T, queue_format Q, limits L>
class connections {
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

  [[nodiscard]] device_lifecycle<P, T>& lifecycle() { return queues.all().lifecycle(); }
  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return queues.all().lifecycle(); }
  [[nodiscard]] connection* all() { return table.all(); }
  [[nodiscard]] u32 cid() const { return cid_; }

  [[nodiscard]] result<void> read_cid() {
    u64 said = 0;
    const auto fill_in = [this](u64& picture) -> result<void> {
      VIRTIO_TRY_ASSIGN(picture, read_field(lifecycle().session().transport(), config::guest_cid));
      return {};
    };
    VIRTIO_TRY(read_config(lifecycle().session().transport(), said, fill_in));
    cid_ = static_cast<u32>(said);  // its upper half is reserved
    return {};
  }
  [[nodiscard]] static bool carries_messages(const connection& c) { return detail::carries_messages<L>(c); }
  [[nodiscard]] static kind kind_of(const connection& c) { return carries_messages(c) ? kind::seqpacket : kind::stream; }

  /// Whether connections can carry this. Devices of before NO_IMPLIED_STREAM have streams whatever they say (5.10.3).
  [[nodiscard]] bool has(kind what) const {
    const feature_set& accepted = lifecycle().session().features();
    if (what == kind::seqpacket) return L.messages && accepted.has(feature::seqpacket);
    return what == kind::stream && (accepted.has(feature::stream) || !accepted.has(feature::no_implied_stream));
  }

  // Names, and what is told ----------------------------------------------------------------------------------------------

  [[nodiscard]] socket name_of(u16 one) const { return {one, table[one].generation}; }
  void forget_name(u16 one) {
    unread.discard(table[one], queues.received);
    ++table[one].generation;
    table[one].news = {};
    to_tell.remove(all(), one);
  }
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE result<u16> find(socket which) const {
    if (which.slot >= L.connections || (which.generation & 1) == 0) return errc::stale_handle;
    if (table[which.slot].generation != which.generation) return errc::stale_handle;
    return which.slot;
  }
  void heard_from(connection& c) { c.heard_at = ticks_; }
  [[nodiscard]] u32 quiet_for(const connection& c) const { return ticks_ - c.heard_at; }
  void tell(u16 one, flags<ready> what) {
    connection& c = table[one];
    if ((c.generation & 1) == 0) return;  // nobody has its name any more
    c.news |= what;
    if (c.accepted) to_tell.push(all(), one);
  }

  // What is owed ---------------------------------------------------------------------------------------------------------

  VIRTIO_NOINLINE_FOR_SIZE void owe(u16 one, debt what) {
    table[one].owed |= what;
    to_send_.push(all(), one);
  }
  /// What it owes and could not send may leave now.
  VIRTIO_NOINLINE_FOR_SIZE void try_again(u16 one) {
    if (!table[one].owed.empty()) to_send_.push(all(), one);
  }

  // Ends -----------------------------------------------------------------------------------------------------------------

  /// The end of a connection. Who has its name may still read what arrived, and then learns `why`.
  void finish(u16 one, errc why, parting how) {
    connection& c = table[one];
    stop(one);
    if (c.accepted) closing_.remove(all(), one);  // else the link is that of its listener's line
    c.why = why;
    const bool known = (c.generation & 1) != 0 && (c.accepted || !c.received.empty());
    c.now = known ? state::ended : state::leaving;
    if (known) tell(one, {ready::readable, ready::closed});
    else if (!c.accepted) leave_line(one);
    if (how == parting::reset) owe(one, debt::reset);
    else if (!known) release(one);
  }
  /// The peer was first: RST never answers RST.
  void need_not_reset(u16 one) {
    owes_nothing(one);
    if (table[one].now == state::leaving) release(one);
  }
  /// A connection that has ended and whose name is gone.
  void leave(u16 one) {
    table[one].now = state::leaving;
    if (!table[one].owed.has(debt::reset)) release(one);
  }
  void release(u16 one) {
    stop(one);
    to_tell.remove(all(), one);
    closing_.remove(all(), one);
    unread.discard(table[one], queues.received);
    table.remove(one);
  }
  /// Nothing more is sent, nor taken to send, nor expected.
  VIRTIO_NOINLINE_FOR_SIZE void stop(u16 one) {
    forget_unsent(one);
    owes_nothing(one);
    sends_no_more(one);
    unread.close_window(table[one]);
  }
  void owes_nothing(u16 one) {
    table[one].owed = {};
    to_send_.remove(all(), one);
  }
  /// Nothing more is taken to send: it keeps no place in a line, and no buffers.
  VIRTIO_NOINLINE_FOR_SIZE void sends_no_more(u16 one) {
    table[one].wants_bytes = 0;
    unsent.stop_waiting(all(), one);
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
  /// The device goes down, and every connection with it. Returns what `device_lifecycle::take_down` does: of interest to those who give
  /// the storage back, since no call has a buffer that the device could keep.
  errc bring_down(errc why) {
    const errc how = queues.all().take_down(why);
    end_all(why);
    return how;
  }

 protected:
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

  u32 cid_ = 0;
  u32 ticks_ = 0;
  line_of<&connection::to_send> to_send_{};
  line_of<&connection::in_line> closing_{};
};

}  // namespace virtio::vsock::detail
