// SPDX-License-Identifier: MIT
// The state of all connections of a device, and how each ends. Nothing is sent from here: packets that a change of
// state requires are scheduled (sender.hpp).
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

/// How a connection ends: with an RST to the peer, or without a packet, since the peer has ended it or is gone.
enum class teardown : u8 { reset, silent };

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
  connection_list_of<&connection::to_report> to_report{};

  [[nodiscard]] device_lifecycle<P, T>& lifecycle() { return queues.all().lifecycle(); }
  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return queues.all().lifecycle(); }
  [[nodiscard]] connection* all() { return table.all(); }
  [[nodiscard]] u32 cid() const { return cid_; }

  [[nodiscard]] result<void> read_cid() {
    u64 said = 0;
    const auto fill_in = [this](u64& snapshot) -> result<void> {
      VIRTIO_TRY_ASSIGN(snapshot, read_field(lifecycle().session().transport(), config::guest_cid));
      return {};
    };
    VIRTIO_TRY(read_config(lifecycle().session().transport(), said, fill_in));
    cid_ = static_cast<u32>(said);  // its upper half is reserved
    return {};
  }
  [[nodiscard]] static bool carries_messages(const connection& c) { return detail::carries_messages<L>(c); }
  [[nodiscard]] static kind kind_of(const connection& c) {
    return carries_messages(c) ? kind::seqpacket : kind::stream;
  }

  /// Whether connections can carry this. Devices from before NO_IMPLIED_STREAM have streams whatever they offer
  /// (5.10.3).
  [[nodiscard]] bool has(kind what) const {
    const feature_set& accepted = lifecycle().session().features();
    if (what == kind::seqpacket) return L.messages && accepted.has(feature::seqpacket);
    return what == kind::stream && (accepted.has(feature::stream) || !accepted.has(feature::no_implied_stream));
  }

  // Names and events --------------------------------------------------------------------------------------------------

  [[nodiscard]] socket name_of(u16 one) const { return {one, table[one].generation}; }
  void forget_name(u16 one) {
    unread.discard(table[one], queues.received);
    ++table[one].generation;
    table[one].unreported = {};
    to_report.remove(all(), one);
  }
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE result<u16> find(socket which) const {
    if (which.slot >= L.connections || (which.generation & 1) == 0) return errc::stale_handle;
    if (table[which.slot].generation != which.generation) return errc::stale_handle;
    return which.slot;
  }
  void note_activity(connection& c) { c.last_activity = ticks_; }
  [[nodiscard]] u32 idle_for(const connection& c) const { return ticks_ - c.last_activity; }
  void raise_event(u16 one, flags<ready> what) {
    connection& c = table[one];
    if ((c.generation & 1) == 0) return;  // no name is valid
    c.unreported |= what;
    if (c.accepted) to_report.push(all(), one);
  }

  // Scheduled packets -------------------------------------------------------------------------------------------------

  VIRTIO_NOINLINE_FOR_SIZE void schedule(u16 one, pending_packet what) {
    table[one].pending |= what;
    to_send_.push(all(), one);
  }
  /// Lets the connection's pending packets leave now.
  VIRTIO_NOINLINE_FOR_SIZE void try_again(u16 one) {
    if (!table[one].pending.empty()) to_send_.push(all(), one);
  }

  // Ends --------------------------------------------------------------------------------------------------------------

  /// Ends a connection. If its name is valid, the program can still read what arrived, and then receives `why`.
  void finish(u16 one, errc why, teardown how) {
    connection& c = table[one];
    stop(one);
    if (c.accepted) closing_.remove(all(), one);  // otherwise the link is that of its listener's queue
    c.why = why;
    const bool known = (c.generation & 1) != 0 && (c.accepted || !c.received.empty());
    c.now = known ? state::ended : state::leaving;
    if (known) raise_event(one, {ready::readable, ready::closed});
    else if (!c.accepted) leave_queue(one);
    if (how == teardown::reset) schedule(one, pending_packet::reset);
    else if (!known) release(one);
  }
  /// Cancels the RST: the peer was first, and RST never answers RST.
  void need_not_reset(u16 one) {
    unschedule(one);
    if (table[one].now == state::leaving) release(one);
  }
  /// Frees a connection that has ended and has no valid name.
  void leave(u16 one) {
    table[one].now = state::leaving;
    if (!table[one].pending.has(pending_packet::reset)) release(one);
  }
  void release(u16 one) {
    stop(one);
    to_report.remove(all(), one);
    closing_.remove(all(), one);
    unread.discard(table[one], queues.received);
    table.remove(one);
  }
  /// Stops sending, taking bytes to send, and receiving.
  VIRTIO_NOINLINE_FOR_SIZE void stop(u16 one) {
    forget_unsent(one);
    unschedule(one);
    stop_sending(one);
    unread.close_window(table[one]);
  }
  void unschedule(u16 one) {
    table[one].pending = {};
    to_send_.remove(all(), one);
  }
  /// Stops taking bytes to send: the connection leaves its queue and has no buffers.
  VIRTIO_NOINLINE_FOR_SIZE void stop_sending(u16 one) {
    table[one].wants_bytes = 0;
    unsent.stop_waiting(all(), one);
  }
  void forget_unsent(u16 one) {
    if (table[one].gathered.empty()) return;
    unsent.forget(all(), one, queues.sent);
    table[one].pending -= pending_packet::data;
  }
  /// Leaves the queue of connections that wait to be accepted.
  void leave_queue(u16 one) {
    listeners.leave(all(), one);
    to_report.remove(all(), one);
  }

  void end_all(errc why) {
    for (u16 one = 0; one < L.connections; ++one) {
      const state now = table[one].now;
      if (now == state::leaving || now == state::ended) need_not_reset(one);  // the host has forgotten all connections
      else if (now != state::unused) finish(one, why, teardown::silent);
    }
    replies.clear();
  }
  void discard_all() {
    pieces.forget();
    for (u16 one = 0; one < L.connections; ++one) unread.discard(table[one], queues.received);
  }
  /// Takes the device and every connection down. Returns what `device_lifecycle::take_down` returns, for callers that
  /// return the storage. No call has a buffer that the device could keep.
  errc bring_down(errc why) {
    const errc how = queues.all().take_down(why);
    end_all(why);
    return how;
  }

 protected:
  /// Resets all state before a start.
  void forget(seed from) {
    to_send_ = {};
    to_report = {};
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
  connection_list_of<&connection::to_send> to_send_{};
  connection_list_of<&connection::in_queue> closing_{};
};

}  // namespace virtio::vsock::detail
