// SPDX-License-Identifier: MIT
// Socket device driver: connections between this guest and its host, without a network.
//
// Packets come in through one queue and leave through another; each names a connection by its two addresses, and tells how much its
// sender has read and how much more it has room for. Nothing here waits but the calls that say so: what cannot be sent now is
// scheduled, and sent by a later `poll`.
//
// This file has the calls. The parts behind it: what a packet that arrives does (packet_handler.hpp), how connections begin, age and
// are read from (exchange.hpp), what they send (sender.hpp), their state and its end (connections.hpp), what has arrived and was not
// read (inbox.hpp), what was gathered and has not left (outbox.hpp), credit (credit.hpp), their addresses (table.hpp), and under it all the three queues and
// their buffers (packets.hpp). stream.hpp has calls that wait, for one connection.
//
// Spec: virtio 1.4, 5.10. Layer: vsock (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/vsock/packet_handler.hpp>
#include <virtio/vsock/stream.hpp>

namespace virtio::vsock {

/// Told once a change, not for as long as it lasts.
struct event {
  socket which{};  // of no connection for `incoming`
  flags<ready> what{};
  u32 port = 0;    // the local one
};

/// A message that was received.
struct message {
  usize size = 0;
  bool ends_record = false;
};

/// A vsock device. All-zero until `start`. One context owns it; an interrupt handler may call `acknowledge_interrupt` alone.
template <platform P, transport T, queue_format Q, limits L = limits{}>
class device {
  static_assert(L.make_sense(), "vsock::limits: see the bounds at make_sense()");

  using connection = detail::connection;
  using state = detail::state;
  using exchange = detail::exchange<P, T, Q, L>;

 public:
  using location = typename T::location;
  using stream_type = stream<device>;
  static constexpr limits bounds = L;

  /// DMA storage that this type needs: `constinit virtio::dma_storage<vsock_t::dma_bytes> vsock_dma;`
  static constexpr usize dma_bytes = exchange::queues_type::dma_bytes;

  /// Brings the device up: reset, features, three queues, buffers, DRIVER_OK. `storage` belongs to the device until `reset` or
  /// `hand_off` succeeds, or `start` itself fails with anything but `device_broken`. May be called again at any time; listeners and
  /// connections of before are gone. `from` must differ from boot to boot: see `seed`. Errors: those of `blk::device::start`.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage, seed from,
                                   const interrupt_vectors& interrupts = {}) {
    constexpr feature_set messages = L.messages ? feature_set{feature::seqpacket} : feature_set{};
    constexpr feature_plan plan{.wanted = messages | feature_set{feature::stream, feature::no_implied_stream},
                                // Lengths of received packets are checked against the used length, which batches skip.
                                .declined = feature_set{virtio::feature::in_order}};
    all_.forget(from);
    next_port_ = static_cast<u32>(from.number(4));
    VIRTIO_TRY(all_.queues.start(platform, where, storage, interrupts, plan));
    if (const auto said = all_.read_cid(); !said) return all_.queues.all().refuse(verdict::config_unreadable, said.error());
    if (!is_guest(all_.cid()))
      return all_.queues.all().session().refuse(verdict::cid_unusable, errc::unsupported, 0, all_.cid());
    all_.queues.go();
    return {};
  }

  /// What the last `start` came to: bound, or why not.
  [[nodiscard]] const report& why() const { return lifecycle().session().why(); }
  [[nodiscard]] const feature_set& features() const { return lifecycle().session().features(); }
  /// This guest's context id, as it was at `start` or after the last reset of the transport.
  [[nodiscard]] u32 cid() const { return all_.cid(); }

  // The device's errors are `needs_reset` and `device_misbehaved` when it fails in the call: it is down then; and `not_started` when
  // it is down already. All data is copied, so that no call has memory that a device could keep. Whether it keeps the storage, because
  // it does not confirm a reset, `check`, `reset` and `start` say, by `device_broken`.

  // Calls that wait ------------------------------------------------------------------------------------------------------

  /// Connects, from a port that nobody has used lately. Errors: `refused`; `peer_silent` when the platform has waited enough for
  /// `waiting::connect`, since some hosts never answer; `table_full`; the device's.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<stream_type> connect(address peer, kind what = kind::stream, GiveUp&& give_up = {}) {
    VIRTIO_TRY_ASSIGN(const socket mine, try_connect(peer, what));
    const errc waited = wait_until(waiting::connect, [&] { return all_.table[mine.slot].now != state::connecting; }, give_up);
    const errc outcome = waited == errc::ok && all_.table[mine.slot].now == state::ended ? all_.table[mine.slot].why : waited;
    if (outcome == errc::ok) return stream_type{*this, mine};
    (void)abort(mine);
    return outcome;
  }

  /// Waits for somebody to connect to a port that is listened to. Errors: `not_found`, `peer_silent` for `waiting::peer`, the
  /// device's.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<stream_type> accept(u32 port, GiveUp&& give_up = {}) {
    result<socket> got = errc::not_ready;
    VIRTIO_TRY(result<void>{wait_until(waiting::peer, [&] { return (got = try_accept(port)).error() != errc::not_ready; }, give_up)});
    if (!got) return got.error();
    return stream_type{*this, *got};
  }

  /// Moves packets until `done()`. Errors: `peer_silent`, the platform has waited enough for `why`, and nothing has changed by that;
  /// `canceled` likewise, `give_up()` was true: a deadline, or anything that a program knows. Both are asked at each turn of the loop; on
  /// a platform that sleeps a timer must end the sleep. The device's.
  template <class Done, class GiveUp = detail::never>
  [[nodiscard]] errc wait_until(waiting why, Done&& done, GiveUp&& give_up = {}) {
    const auto step = [this](bool& came) {
      detail::packet_handler arrived{all_};
      const errc moved = arrived.move_packets();
      came = arrived.came();
      return moved;
    };
    return all_.queues.all().wait_for_peer(why, step, [this] { return all_.arm(); }, done, give_up, [this](errc problem) {
      all_.bring_down(problem);
      return problem;
    });
  }

  // Calls that do not ----------------------------------------------------------------------------------------------------

  /// Moves packets both ways, then calls `on_event(event)` for at most `most` connections and listeners that something happened to; says
  /// how many. `on_event` may call anything here. Errors: the device's, once everybody was told that it is down.
  template <callable_with<event> F>
  [[nodiscard]] result<usize> poll(F&& on_event, usize most = ~usize{0}) {
    const errc moved = detail::packet_handler{all_}.move_packets();
    usize told = 0;
    while (told < most && !all_.to_report.empty()) {
      const u16 one = all_.to_report.first();
      all_.to_report.remove(all_.all(), one);
      connection& c = all_.table[one];
      const flags<ready> what = c.accepted ? c.unreported : ready::incoming;
      c.unreported -= what;
      ++told;
      on_event(event{c.accepted ? all_.name_of(one) : socket{}, what, c.local_port});
    }
    if (moved != errc::ok && told == 0) return moved;
    return told;
  }

  /// Begins to connect. `connected` or `closed` is told. Errors: `table_full`; `unsupported`, the device has no such connections, or
  /// `limits::messages` is off; `not_started`.
  [[nodiscard]] result<socket> try_connect(address peer, kind what = kind::stream) {
    do choose_port();
    while (is_taken(next_port_, peer));
    return begin_connecting(next_port_, peer, what);
  }
  /// Likewise, from any port. Errors also: `in_use`, there is such a connection.
  [[nodiscard]] result<socket> try_connect_from(u32 local_port, address peer, kind what = kind::stream) {
    VIRTIO_TRY(lifecycle().ready());
    if (!all_.has(what)) return errc::unsupported;
    if (is_taken(local_port, peer)) return errc::in_use;
    return begin_connecting(local_port, peer, what);
  }

  /// Accepts connections to a port, any of 2^32. At most `backlog` of them wait for `try_accept`; others are refused. Errors: `in_use`,
  /// somebody listens there; `table_full`; `invalid_argument` for no backlog; `unsupported` as above; `not_started`.
  [[nodiscard]] result<void> listen(u32 port, u16 backlog, kind what = kind::stream) {
    VIRTIO_TRY(lifecycle().ready());
    if (!all_.has(what)) return errc::unsupported;
    if (backlog == 0) return errc::invalid_argument;
    return all_.listeners.add(port, backlog, what);
  }
  /// Likewise, on a free port that the driver chooses, which it returns.
  [[nodiscard]] result<u32> listen_anywhere(u16 backlog, kind what = kind::stream) {
    choose_port();
    VIRTIO_TRY(listen(next_port_, backlog, what));
    return next_port_;
  }
  /// Ends that. Connections that nobody has accepted are reset. Errors: `not_found`.
  [[nodiscard]] result<void> unlisten(u32 port) {
    detail::listener* const here = all_.listeners.at(port);
    if (here == nullptr) return errc::not_found;
    while (!here->queue.empty()) {
      const u16 one = here->queue.first();
      all_.unread.discard(all_.table[one], all_.queues.received);
      if (all_.table[one].now == state::ended) {
        all_.leave_queue(one);
        all_.leave(one);
      } else {
        all_.finish(one, errc::canceled, detail::teardown::reset);
      }
    }
    here->backlog = 0;
    all_.send_scheduled();
    return {};
  }
  /// Who has waited longest. Errors: as `try_accept`.
  [[nodiscard]] result<address> next_peer(u32 port) {
    detail::listener* const here = all_.listeners.at(port);
    if (here == nullptr) return errc::not_found;
    if (here->queue.empty()) return errc::not_ready;
    return all_.table[here->queue.first()].peer;
  }
  /// The connection that has waited longest. Errors: `not_ready`, `not_found`.
  [[nodiscard]] result<socket> try_accept(u32 port) {
    detail::listener* const here = all_.listeners.at(port);
    if (here == nullptr) return errc::not_found;
    if (here->queue.empty()) return errc::not_ready;
    const u16 one = here->queue.first();
    all_.leave_queue(one);
    all_.table[one].accepted = true;
    if (!all_.table[one].unreported.empty()) all_.to_report.push(all_.all(), one);
    return all_.name_of(one);
  }

  /// Takes bytes to send: says how many. They leave at once, unless the peer has many small packets to read already: then small
  /// pieces are gathered, and leave by 1024 bytes and more, when the peer has caught up, or with `flush`, `shutdown` or
  /// `close`. Errors: `no_credit`, the peer has no room now, or `no_buffer`, all send buffers are taken: `writable` will be told;
  /// `not_ready` while connecting; `peer_closed`, `peer_reset`, `refused` and other reasons why the connection
  /// ended; `invalid_argument` after `shutdown`; `stale_handle`.
  [[nodiscard]] result<usize> try_send(socket which, const_bytes data) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    VIRTIO_TRY(all_.may_send(all_.table[one]));
    if (carries_messages(all_.table[one])) return errc::invalid_argument;
    const usize given = data.size();
    all_.gather(one, data);
    const usize taken = given - data.size();
    connection& c = all_.table[one];
    if (all_.unsent.may_leave(c)) all_.schedule(one, detail::pending_packet::data);
    else if (!c.gathered.empty()) all_.request_credit(one);  // the answer may let it leave
    if (!data.empty()) {
      const errc lack = all_.want_room(one, 1);
      all_.send_scheduled();
      if (taken == 0) return lack;
      return taken;
    }
    all_.send_scheduled();
    return taken;
  }
  /// Takes all of several pieces to send, one behind the other, or nothing: `try_send_all(s, {head, frame})`. They travel together, in one
  /// packet where they fit. Errors: as `try_send`; `too_long` for what neither our send buffers nor the peer can ever hold.
  [[nodiscard]] result<void> try_send_all(socket which, scatter<const_bytes> pieces) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    VIRTIO_TRY(all_.may_send(all_.table[one]));
    if (carries_messages(all_.table[one])) return errc::invalid_argument;
    const u64 size = pieces.size();
    if (size == 0) return {};
    result<void> taken = all_.gather_all(one, pieces, size);
    if (all_.unsent.may_leave(all_.table[one])) all_.schedule(one, detail::pending_packet::data);
    else if (!all_.table[one].gathered.empty()) all_.request_credit(one);  // as in try_send
    if (lacks_room(taken.error())) taken = all_.want_room(one, static_cast<u32>(size));
    all_.send_scheduled();
    return taken;
  }
  template <usize N>
  [[nodiscard]] result<void> try_send_all(socket which, const const_bytes (&pieces)[N]) {
    return try_send_all(which, scatter<const_bytes>{pieces});
  }
  /// Bytes that the peer has room for beyond what was taken to send: a `try_send` of no more fails for want of buffers alone. Errors:
  /// `stale_handle`.
  [[nodiscard]] result<u32> room(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.unsent.room(all_.table[one]);
  }
  /// Bytes that were taken to send, and that the peer has not said to have read: it says so now and then, and at every `probe`. Errors:
  /// `stale_handle`.
  [[nodiscard]] result<u32> undelivered(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.table[one].out.unconfirmed() + all_.table[one].gathered_bytes;
  }
  /// Lets what was gathered leave. Does not wait until it has. Errors: `stale_handle`.
  [[nodiscard]] result<void> flush(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (all_.table[one].gathered.empty()) all_.send_scheduled();
    else all_.schedule_now(one, detail::pending_packet::data);
    return {};
  }

  /// Copies bytes that have arrived: says how many. Errors: `not_ready`; after the last byte, and for ever then, `peer_closed` when
  /// the peer has sent all it wanted, or another reason why the connection ended; `stale_handle`.
  [[nodiscard]] result<usize> try_receive(socket which, bytes into) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (carries_messages(all_.table[one])) return errc::invalid_argument;
    usize copied = 0;
    while (copied < into.size() && !all_.table[one].received.empty()) {
      const const_bytes here = all_.unread.first(all_.table[one], all_.queues.received).part(0, into.size() - copied);
      __builtin_memcpy(into.data() + copied, here.data(), here.size());
      copied += here.size();
      all_.unread.consume(all_.table[one], all_.queues.received, static_cast<u32>(here.size()));
    }
    if (copied == 0) return into.empty() ? result<usize>{copied} : all_.nothing_to_read(all_.table[one]);
    all_.template after_reading<detail::reading::copied>(one);
    return copied;
  }
  /// Shows what has arrived, where it is: `look(arrived)` sees all of it, in pieces, `look(const_bytes)` the first piece; it says how many
  /// bytes it is done with. The memory is the device's, too: a host that lies may change it meanwhile, so look at each byte once. It is
  /// valid until `look` returns, which may call anything here but `start`, `reset` and `hand_off`: what it reads or drops stays as it is
  /// until then. What it leaves is shown again, with what came behind it. Returns and fails as `try_receive`; `in_use`, it was received
  /// from, or is shown already. A loop that waits for more than the peer may send ahead waits for ever.
  template <class F>
    requires callable_with<F, const_bytes> || callable_with<F, const arrived&>
  [[nodiscard]] result<usize> receive_with(socket which, F&& look) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (carries_messages(all_.table[one])) return errc::invalid_argument;
    if (all_.table[one].received.empty()) return all_.nothing_to_read(all_.table[one]);
    VIRTIO_TRY_ASSIGN(const u32 done, show(which, one, [&]() -> usize {
      if constexpr (callable_with<F, const_bytes>) {
        const const_bytes here = all_.unread.first(all_.table[one], all_.queues.received);
        return virtio::detail::smaller(static_cast<usize>(look(here)), here.size());
      } else {
        const arrived here = all_.unread.first_pieces(all_.table[one], all_.queues.received, all_.unread.size(all_.table[one]));
        return virtio::detail::smaller(static_cast<usize>(look(here)), here.size());
      }
    }));
    return usize{done};
  }

  /// Everything of a stream that has arrived, where it is, for a program that looks without a callback. Valid until bytes of the connection
  /// are read, taken or dropped; what arrives by `poll` does not change it. Empty: nothing is there, and `try_receive` says why.
  [[nodiscard]] arrived peek(socket which) {
    const auto one = all_.find(which);
    if (!one || carries_messages(all_.table[*one]) || all_.table[*one].received.empty()) return {};
    return all_.unread.first_pieces(all_.table[*one], all_.queues.received, all_.unread.size(all_.table[*one]));
  }
  /// Likewise, its first pieces, `most` at most, put into an array: returns how many.
  [[nodiscard]] u32 peek_pieces(socket which, const_bytes* into, u32 most) {
    const auto one = all_.find(which);
    if (!one || carries_messages(all_.table[*one])) return 0;
    return all_.unread.put_pieces(all_.table[*one], all_.queues.received, into, most);
  }
  /// Likewise, the first piece.
  [[nodiscard]] const_bytes peek_first(socket which) {
    const auto one = all_.find(which);
    if (!one || all_.table[*one].received.empty() || carries_messages(all_.table[*one])) return {};
    return all_.unread.first(all_.table[*one], all_.queues.received);
  }
  /// Until `end_look`, what `peek` has shown stays as it is although its connection is closed or aborted: its buffers go to the device
  /// after that. What the program itself reads or skips does not. May be nested; not over `start`, `reset` and `hand_off`.
  void begin_look() { all_.unread.begin_look(); }
  void end_look() { all_.unread.end_look(all_.queues.received); }
  /// The program is done with the first `size` bytes. The peer hears of room when half its window would open: a program that leaves the
  /// beginning of something longer than that unread waits for ever (`receive_with` does not). Errors: `invalid_argument`, there are not so
  /// many bytes, or on messages; `stale_handle`.
  [[nodiscard]] result<void> skip(socket which, u32 size) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (carries_messages(all_.table[one]) || size > all_.unread.size(all_.table[one])) return errc::invalid_argument;
    if (size == 0) return {};
    all_.unread.consume_pieces(all_.table[one], all_.queues.received, size);
    all_.after_reading(one);
    return {};
  }

  /// Takes the first piece of what has arrived out of the stream, where it is; the program holds it until `give_back`, even when the
  /// connection is gone, or the device failed, but no longer than to the next `start`, or a `reset` or `hand_off` that succeeds. The
  /// peer's window counts it as unread until then, unless `how` says otherwise. Errors: as `try_receive`; `table_full`, `limits::pieces`
  /// are held; `in_use`, inside the callback of `receive_with`; `unsupported`, there is no room for any.
  [[nodiscard]] result<piece> try_take(socket which, holding how = holding::in_window) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    connection& c = all_.table[one];
    if (L.pieces == 0) return errc::unsupported;
    if (carries_messages(c)) return errc::invalid_argument;
    if (c.received.empty()) return all_.nothing_to_read(c);
    if (!c.shown_up_to.is_none()) return errc::in_use;
    if (all_.pieces.is_full()) return errc::table_full;
    const const_bytes data = all_.unread.first(c, all_.queues.received);
    const u32 size = static_cast<u32>(data.size());
    const piece got = all_.pieces.hold(all_.unread.take_first(c, all_.queues.received), data, which, how == holding::in_window ? size : 0);
    if (how == holding::outside_window) {
      all_.unread.count_taken(c, size);
      all_.after_reading(one);
    }
    return got;
  }
  /// How many more pieces can be held.
  [[nodiscard]] u16 pieces_left() const { return all_.pieces.left(); }
  [[nodiscard]] bool is_held(const piece& which) const { return all_.pieces.find(which) != nullptr; }
  /// The program is done with a piece. Errors: `stale_handle`, it was given back, or is no longer there.
  [[nodiscard]] result<void> give_back(const piece& which) {
    const auto* const known = all_.pieces.find(which);
    if (known == nullptr) return errc::stale_handle;
    all_.queues.received.give_back(known->buffer);
    const u32 size = known->counted;
    const auto from = all_.find(known->from);
    all_.pieces.release(which.place);
    if (!from || size == 0) return {};
    all_.unread.count_taken(all_.table[*from], size);
    all_.after_reading(*from);
    return {};
  }

  /// Bytes that have arrived and were not read, those of messages that are not whole yet included. Errors: `stale_handle`.
  [[nodiscard]] result<usize> unread(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return usize{all_.unread.size(all_.table[one])};
  }
  /// Sets how many bytes the peer may send ahead, in whole `receive_packet`s, rounded up, but no more than `receive_buffer` has; as far
  /// as the shared memory allows, as ever. The peer hears of more room at once. What was promised before is not taken back. Errors:
  /// `invalid_argument`, none or more than `receive_buffer`; `stale_handle`.
  [[nodiscard]] result<void> set_window(socket which, u32 size) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (size == 0 || size > L.receive_buffer) return errc::invalid_argument;
    all_.set_window(one, virtio::detail::smaller(1 + (size - 1) / L.receive_packet, L.buffer_packets()));
    return {};
  }

  /// Takes one message to send, whole or not at all, and behind those that have not left yet. It leaves at once if the queue has room.
  /// Errors: as `try_send`, where `no_credit` says that the peer has no room behind those, and they may have to leave first; `too_long` for
  /// what neither our send buffers nor the peer can ever hold; `invalid_argument` for no bytes, which no host delivers, and on a stream.
  [[nodiscard]] result<void> try_send_message(socket which, const_bytes data, boundary end = boundary::message) {
    return try_send_message(which, scatter<const_bytes>{&data, 1}, end);
  }
  /// The same, of several pieces.
  [[nodiscard]] result<void> try_send_message(socket which, scatter<const_bytes> pieces, boundary end = boundary::message) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    connection& c = all_.table[one];
    VIRTIO_TRY(all_.may_send(c));
    const u64 size = pieces.size();
    if (!carries_messages(c) || size == 0) return errc::invalid_argument;
    result<void> taken = all_.gather_message(one, pieces, size, end);
    if (taken) all_.schedule(one, detail::pending_packet::data);
    if (lacks_room(taken.error())) taken = all_.want_room(one, static_cast<u32>(size));
    all_.send_scheduled();
    return taken;
  }
  template <usize N>
  [[nodiscard]] result<void> try_send_message(socket which, const const_bytes (&pieces)[N], boundary end = boundary::message) {
    return try_send_message(which, scatter<const_bytes>{pieces}, end);
  }
  /// Copies one message that has arrived: how long it is, and whether it ends a record. One that is longer than `into`, or than a
  /// peer may send ahead, is skipped. Errors: as `try_receive`; `too_long`, that happened; `invalid_argument` on a stream.
  [[nodiscard]] result<message> try_receive_message(socket which, bytes into) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    connection& c = all_.table[one];
    if (!carries_messages(c)) return errc::invalid_argument;
    if (c.whole_messages == 0) return all_.nothing_whole(one);
    const detail::message_found found = all_.unread.first_message(c, all_.queues.received);
    --c.whole_messages;
    const bool fits = found.size <= into.size();
    for (u32 done = 0; done < found.size;) {
      const const_bytes here = all_.unread.first(c, all_.queues.received).part(0, found.size - done);
      if (fits) __builtin_memcpy(into.data() + done, here.data(), here.size());
      done += static_cast<u32>(here.size());
      all_.unread.consume(c, all_.queues.received, static_cast<u32>(here.size()));
    }
    all_.after_reading(one);
    if (!fits) return errc::too_long;
    return message{found.size, found.ends_record};
  }

  /// Shows `look(arrived, boundary)` one message that has arrived whole, where it is, and what its end ends; it is done with then. As
  /// `receive_with` otherwise. Errors: as `try_receive_message`.
  template <callable_with<const arrived&, boundary> F>
  [[nodiscard]] result<message> receive_message_with(socket which, F&& look) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (!carries_messages(all_.table[one])) return errc::invalid_argument;
    if (all_.table[one].whole_messages == 0) return all_.nothing_whole(one);
    const detail::message_found found = all_.unread.first_message(all_.table[one], all_.queues.received);
    VIRTIO_TRY(show(which, one, [&] {
      look(all_.unread.first_pieces(all_.table[one], all_.queues.received, found.size),
           found.ends_record ? boundary::record : boundary::message);
      return usize{found.size};
    }));
    return message{found.size, found.ends_record};
  }

  /// Gives up one direction or both: after `ends::send` the peer reads to the end of what was sent. Errors: `not_ready` while
  /// connecting; why the connection ended; `stale_handle`.
  [[nodiscard]] result<void> shutdown(socket which, ends what) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    connection& c = all_.table[one];
    if (c.now == state::connecting) return errc::not_ready;
    if (c.now == state::ended) return c.why;
    c.closed_ends |= what;
    all_.unread.update_reservation(c);
    all_.shut(one);
    return {};
  }
  /// Closes in good order: what was sent arrives, then the peer hears that this is the end. The name is stale at once, the place free
  /// when the peer has agreed; when places run out, the one that has waited longest is reset whose peer has read everything. Errors:
  /// `stale_handle`.
  [[nodiscard]] result<void> close(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    connection& c = all_.table[one];
    if (c.now == state::connecting) return abort(which);
    all_.forget_name(one);
    if (c.now == state::ended) {
      all_.leave(one);
      return {};
    }
    if (c.peer_closed_ends.has(ends::both)) {  // it has closed, too: nothing to wait for
      all_.finish(one, errc::peer_closed, detail::teardown::reset);
      all_.send_scheduled();
      return {};
    }
    all_.begin_closing(one);
    return {};
  }
  /// Likewise, and waits for the peer, or until the platform has waited enough for `waiting::shutdown`, or until `give_up()`: the
  /// connection is reset then. Errors also: `peer_silent`, `canceled`, the device's.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> close_and_wait(socket which, GiveUp&& give_up = {}) {
    VIRTIO_TRY(close(which));
    const connection& c = all_.table[which.slot];
    const u32 afterwards = which.generation + 1;  // nobody's, until the place is somebody else's
    const auto is_open = [&] { return c.now == state::closing && c.generation == afterwards; };
    const errc waited = wait_until(waiting::shutdown, [&] { return !is_open(); }, give_up);
    if (is_open()) all_.finish(which.slot, errc::canceled, detail::teardown::reset);
    all_.send_scheduled();
    return waited;
  }
  /// Ends a connection at once: nothing more is sent but RST. Errors: `stale_handle`.
  [[nodiscard]] result<void> abort(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    const bool peer_knows = all_.table[one].now == state::ended || all_.table[one].pending.has(detail::pending_packet::request);
    all_.forget_name(one);
    if (peer_knows) all_.leave(one);
    else all_.finish(one, errc::canceled, detail::teardown::reset);
    all_.send_scheduled();
    return {};
  }

  /// A unit of time has passed, of the program's clock: a second, say. Connections that wait for a peer grow older, and what becomes of
  /// those that are too old says `most`. A client that crashed looks like one that has nothing to say: `probe` tells them apart.
  /// Cost: a look at each place.
  void tick(const ages& most) { all_.tick(most); }
  /// Ticks since the peer's last sign of life: any packet but a CREDIT_UPDATE that says nothing new. A host answers the driver's own
  /// questions for room so even when its program is gone; the answer to `probe` counts. Errors: `stale_handle`.
  [[nodiscard]] result<u32> idle_for(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.idle_for(all_.table[one]);
  }
  /// Asks the peer for a sign of life, a CREDIT_UPDATE: `idle_for` is 0 when it has come. A host that does not know the connection any
  /// more answers RST, or nothing (vhost-device-vsock, which still answers for a client that was killed with data on its way to it).
  /// Some hosts end the connection. Errors: `not_ready` while connecting; why the connection ended; `stale_handle`.
  [[nodiscard]] result<void> probe(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (all_.table[one].now == state::connecting) return errc::not_ready;
    if (all_.table[one].now == state::ended) return all_.table[one].why;
    all_.table[one].probed = true;
    all_.schedule_now(one, detail::pending_packet::credit_request);
    return {};
  }

  /// Whether a connection is open in both directions, whatever is unread of it. Errors: `not_ready` while connecting; `peer_closed` when
  /// the peer sends no more, or takes no more; why the connection ended; `stale_handle`.
  [[nodiscard]] result<void> state_of(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    const connection& c = all_.table[one];
    if (c.now == state::connecting) return errc::not_ready;
    if (c.now == state::ended) return c.why;
    if (!c.peer_closed_ends.empty()) return errc::peer_closed;
    return {};
  }
  /// Whether that has no error.
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE bool is_open(socket which) const {
    const auto one = all_.find(which);
    return one && all_.table[*one].now == state::established && all_.table[*one].peer_closed_ends.empty();
  }
  [[nodiscard]] result<address> peer_of(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.table[one].peer;
  }
  [[nodiscard]] result<u32> local_port_of(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.table[one].local_port;
  }

  // Interrupts and the end -----------------------------------------------------------------------------------------------

  /// Asks for an interrupt when packets come or leave. True: there is something already, poll again before sleeping.
  /// Small pieces that are gathered leave first, but to a peer that has too many to read already: those follow when it has said so.
  [[nodiscard]] bool arm() { return !all_.to_report.empty() || all_.arm(); }
  void disarm() { all_.queues.all().disarm(); }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return all_.queues.all().acknowledge_interrupt(); }
  /// Reads the status: `needs_reset` when the device has failed; it is then reset, and all connections end. Errors also:
  /// `not_started`; `device_broken`, it will not reset and keeps the storage.
  [[nodiscard]] result<void> check() {
    return all_.queues.all().check([this](errc why) { return all_.bring_down(why); });
  }
  /// Resets the device: all connections end as `canceled`, what they had not read is gone. Errors: `not_started`; it will not
  /// reset: `device_broken`, and keeps the storage; `timed_out`, and has nothing, since it confirmed another reset before.
  [[nodiscard]] result<void> reset() {
    return all_.queues.all().reset([this](errc why) { return bring_down_and_discard(why); });
  }
  /// As `reset`, and takes the device off the bus.
  [[nodiscard]] result<void> hand_off() {
    return all_.queues.all().hand_off([this](errc why) { return bring_down_and_discard(why); });
  }

 private:
  friend stream_type;

  [[nodiscard]] static bool carries_messages(const connection& c) { return exchange::carries_messages(c); }
  [[nodiscard]] static bool lacks_room(errc error) { return error == errc::no_credit || error == errc::no_buffer; }
  /// Lets what was gathered leave ahead of a wait, as `arm` does: not to a peer that has far too many small packets to read.
  void flush_unless_slow(socket which) {
    const auto one = all_.find(which);
    if (!one) return;
    all_.flush_unless_slow(*one);
    all_.send_scheduled();
  }

  /// Whether a send found no room, and `writable` was not told since.
  [[nodiscard]] bool waits_for_room(socket which) const {
    const auto one = all_.find(which);
    return one && all_.table[*one].wants_bytes != 0 && all_.may_send(all_.table[*one]);
  }
  /// Why no more will arrive: `too_long`, the peer has sent all that it may before some of it was read; `not_ready`, more will.
  [[nodiscard]] errc why_no_more(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.is_full(one) ? errc::too_long : all_.nothing_to_read(all_.table[one]);
  }

  /// Lets `look` look at what is unread, and consumes as many bytes of it as that says. Errors: `in_use`, `stale_handle`.
  template <class F>
  [[nodiscard]] result<u32> show(socket which, u16 one, F&& look) {
    connection& c = all_.table[one];
    if (!c.shown_up_to.is_none()) return errc::in_use;
    const auto shown = all_.unread.begin_showing(c);
    const u32 from = c.read_up_to;
    const u32 done = static_cast<u32>(look());
    const auto found = all_.find(which);
    const bool whole = all_.unread.end_showing(found ? &c : nullptr, all_.queues.received, shown);
    VIRTIO_TRY(result<void>{found.error()});
    if (!whole || c.read_up_to != from) return errc::in_use;
    if (carries_messages(c)) --c.whole_messages;
    all_.unread.consume_pieces(c, all_.queues.received, done);
    all_.template after_reading<detail::reading::shown>(one);
    return done;
  }

  errc bring_down_and_discard(errc why) {
    const errc how = all_.bring_down(why);
    if (!lifecycle().has_memory()) all_.discard_all();  // it lies in storage that is the caller's again
    return how;
  }

  [[nodiscard]] device_lifecycle<P, T>& lifecycle() { return all_.lifecycle(); }
  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return all_.lifecycle(); }

  /// Whether no new connection can have these addresses.
  [[nodiscard]] bool is_taken(u32 local_port, address peer) const {
    return all_.table.find(local_port, peer) != 0 || all_.replies.has(local_port, peer);
  }
  [[nodiscard]] result<socket> begin_connecting(u32 local_port, address peer, kind what) {
    VIRTIO_TRY(lifecycle().ready());
    if (!all_.has(what)) return errc::unsupported;
    VIRTIO_TRY_ASSIGN(const u16 one, all_.add(local_port, peer, what, state::connecting));
    all_.table[one].accepted = true;
    all_.schedule_now(one, detail::pending_packet::request);
    return all_.name_of(one);
  }
  void choose_port() {
    do next_port_ = (next_port_ + 1) | 0x4000'0000;  // the ports above a thousand million are nobody's
    while (all_.listeners.at(next_port_) != nullptr);
  }

  u32 next_port_ = 0;
  exchange all_{};
};

}  // namespace virtio::vsock
