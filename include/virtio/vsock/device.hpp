// SPDX-License-Identifier: MIT
// Socket device driver: connections between this guest and its host, without a network.
//
// Packets arrive through one queue and leave through another. Each names a connection by its two addresses, and reports
// how much its sender has read and how much more it has room for. Only the calls that say so wait: a packet that cannot
// be sent now is scheduled, and a later `poll` sends it.
//
// This file has the calls. The parts: what a packet that arrives does (packet_handler.hpp); how connections begin, age
// and are read (exchange.hpp); what they send (sender.hpp); their state and its end (connections.hpp); bytes that have
// arrived and are unread (inbox.hpp); bytes that are gathered and have not left (outbox.hpp); credit (credit.hpp);
// addresses (table.hpp); the three queues and their buffers (packets.hpp). stream.hpp has calls that wait, for one
// connection.
//
// Spec: virtio 1.4, 5.10. Layer: vsock (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/vsock/packet_handler.hpp>
#include <virtio/vsock/stream.hpp>

namespace virtio::vsock {

/// What happened to a connection or a listener. `poll` reports each change once.
struct event {
  socket which{};       // of no connection for `incoming`
  flags<ready> what{};  // what changed
  u32 port = 0;         // the local one
};

/// A received message: its size and its end.
struct message {
  usize size = 0;            // bytes
  bool ends_record = false;  // whether it also ends a record (5.10.6.6)
};

/// A vsock device. All bytes are zero until `start`. One context owns it. An interrupt handler may call only
/// `acknowledge_interrupt`, and with `pci::windowed` no function at all.
///
/// A server without waits (docs/vsock.md explains the loop; stream.hpp has calls that wait):
///
///   if (auto done = sockets.listen(80, 4); !done) …
///   auto more = sockets.poll([&](const vsock::event& e) {
///     if (e.what.has(ready::incoming)) while (auto client = sockets.try_accept(e.port)) …
///     if (e.what.has(ready::readable)) while (auto got = sockets.try_receive(e.which, buffer)) …
///     if (e.what.has(ready::closed)) (void)sockets.close(e.which);
///   });
///
/// A `socket` is a handle: the slot of a connection in the driver's table, and the slot's generation. No call gives the
/// caller's memory to the device. "The device's errors" in the descriptions below are:
/// - `device_misbehaved`: the device violated the protocol in this call. It was reset.
/// - `needs_reset`: the device reported that it has failed. It was reset. Only `check` and the calls that wait read
///   this status.
/// - `not_started`: the device is down, before `start` or after one of the failures above.
/// A failure ends every connection, and calls for a connection return the failure as the reason. If the device does not
/// confirm the reset, it keeps the storage: `check`, `reset`, `hand_off` and `start` then return `device_broken`.
template <platform P, transport T, queue_format Q, limits L = limits{}>
class device {
  static_assert(L.make_sense(), "vsock::limits: see the bounds at make_sense()");

  using connection = detail::connection;
  using state = detail::state;
  using exchange = detail::exchange<P, T, Q, L>;

 public:
  using location = typename T::location;  // what discovery returns for the device
  using stream_type = stream<device>;     // a connection with calls that wait
  static constexpr limits bounds = L;     // as the program chose them

  /// Bytes of DMA storage that this type needs: `constinit virtio::dma_storage<vsock_t::dma_bytes> vsock_dma;`
  static constexpr usize dma_bytes = exchange::queues_type::dma_bytes;

  /// Brings the device up: reset, features, three queues, buffers, DRIVER_OK. `storage` belongs to the device until
  /// `reset` or `hand_off` succeeds, or until `start` fails with any error except `device_broken`. `start` may be
  /// called again at any time; earlier listeners and connections are then gone. `from` must differ from boot to boot.
  /// With a repeated seed the driver chooses the local ports of the previous boot. A host that still has connections on
  /// these ports may not answer, and connecting then fails with `peer_silent`: see `seed`.
  ///
  /// On error the device is reset, its bus is restored, and `why()` has the reason. Errors:
  /// - `wrong_device`; `not_found` (no capability, no queue); `unsupported` (a feature, a capability or a limit; or the
  ///   device's context id cannot be a guest's);
  /// - `no_space` (storage or ring); `misaligned` (storage); `dma_unreachable`;
  /// - `invalid_argument` (a `where` that discovery did not fill); `device_misbehaved` (configuration never stable);
  /// - `timed_out`: the device did not reset, before it received any address;
  /// - `device_broken`: the device did not reset and keeps `storage`, or the previous device keeps its own.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage, seed from,
                                   const interrupt_vectors& interrupts = {}) {
    constexpr feature_set messages = L.messages ? feature_set{feature::seqpacket} : feature_set{};
    constexpr feature_plan plan{.wanted = messages | feature_set{feature::stream, feature::no_implied_stream},
                                // The driver checks lengths of received packets against the used length, which batches
                                // skip.
                                .declined = feature_set{virtio::feature::in_order}};
    all_.forget(from);
    next_port_ = static_cast<u32>(from.number(4));
    VIRTIO_TRY(all_.queues.start(platform, where, storage, interrupts, plan));
    if (const auto said = all_.read_cid(); !said)
      return all_.queues.all().refuse(verdict::config_unreadable, said.error());
    if (!is_guest(all_.cid()))
      return all_.queues.all().session().refuse(verdict::cid_unusable, errc::unsupported, 0, all_.cid());
    all_.queues.go();
    return {};
  }

  /// The result of the last `start`: bound, or the reason why not.
  [[nodiscard]] const report& why() const { return lifecycle().session().why(); }
  /// The features that `start` accepted.
  [[nodiscard]] const feature_set& features() const { return lifecycle().session().features(); }
  /// This guest's context id, as of `start` or the last reset of the transport.
  [[nodiscard]] u32 cid() const { return all_.cid(); }

  // Calls that wait ---------------------------------------------------------------------------------------------------

  /// Connects from a port that was not used recently. Waits until the peer answers, bounded by `waiting::connect`,
  /// since some hosts never answer. Errors: `refused`; `peer_silent` (the limit of the platform or of `tick` is
  /// reached); `canceled` (`give_up()`); `peer_reset` (the host has dropped all connections); `table_full`;
  /// `unsupported` (the device has no such connections, or `limits::messages` is off); the device's.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<stream_type> connect(address peer, kind what = kind::stream, GiveUp&& give_up = {}) {
    VIRTIO_TRY_ASSIGN(const socket mine, try_connect(peer, what));
    const errc waited =
        wait_until(waiting::connect, [&] { return all_.table[mine.slot].now != state::connecting; }, give_up);
    const errc outcome =
        waited == errc::ok && all_.table[mine.slot].now == state::ended ? all_.table[mine.slot].why : waited;
    if (outcome == errc::ok) return stream_type{*this, mine};
    (void)abort(mine);
    return outcome;
  }

  /// Waits until a peer connects to a port on which the program listens, bounded by `waiting::peer`. Errors:
  /// `not_found` (the port has no listener); `peer_silent` (the platform's limit is reached); `canceled` (`give_up()`);
  /// the device's.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<stream_type> accept(u32 port, GiveUp&& give_up = {}) {
    result<socket> got = errc::not_ready;
    VIRTIO_TRY(result<void>{
        wait_until(waiting::peer, [&] { return (got = try_accept(port)).error() != errc::not_ready; }, give_up)});
    if (!got) return got.error();
    return stream_type{*this, *got};
  }

  /// Moves packets until `done()`. Errors: `peer_silent` (the platform ends the wait `why`); `canceled` (`give_up()`
  /// was true: a deadline, or another condition of the program); the device's. `peer_silent` and `canceled` change
  /// nothing. Both limits are checked on each turn of the loop. On a platform that sleeps, a timer must end the sleep.
  template <class Done, class GiveUp = detail::never>
  [[nodiscard]] errc wait_until(waiting why, Done&& done, GiveUp&& give_up = {}) {
    const auto step = [this](bool& came) {
      detail::packet_handler arrived{all_};
      const errc moved = arrived.move_packets();
      came = arrived.came();
      return moved;
    };
    return all_.queues.all().wait_for_peer(
        why, step, [this] { return all_.arm(); }, done, give_up,
        [this](errc problem) {
          all_.bring_down(problem);
          return problem;
        });
  }

  // Calls that do not wait --------------------------------------------------------------------------------------------

  /// Moves packets both ways, then calls `on_event(event)` for at most `most` connections and listeners with changes.
  /// Returns how many. `on_event` may call any function of this class. Errors, returned only if this call has reported
  /// no event: `device_misbehaved`; `not_started`. So the end of every connection is reported first.
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

  /// Begins to connect. An event reports `connected` or `closed`. Errors: `table_full`; `unsupported` (the device has
  /// no such connections, or `limits::messages` is off); `not_started`.
  [[nodiscard]] result<socket> try_connect(address peer, kind what = kind::stream) {
    do choose_port();
    while (is_taken(next_port_, peer));
    return begin_connecting(next_port_, peer, what);
  }
  /// The same, from a chosen port. Additional error: `in_use` (such a connection exists).
  [[nodiscard]] result<socket> try_connect_from(u32 local_port, address peer, kind what = kind::stream) {
    VIRTIO_TRY(lifecycle().ready());
    if (!all_.has(what)) return errc::unsupported;
    if (is_taken(local_port, peer)) return errc::in_use;
    return begin_connecting(local_port, peer, what);
  }

  /// Accepts connections to a port, any of 2^32. At most `backlog` of them wait for `try_accept`; further ones are
  /// refused. Errors: `in_use` (the port has a listener); `table_full`; `invalid_argument` (no backlog); `unsupported`
  /// (the device has no such connections, or `limits::messages` is off); `not_started`.
  [[nodiscard]] result<void> listen(u32 port, u16 backlog, kind what = kind::stream) {
    VIRTIO_TRY(lifecycle().ready());
    if (!all_.has(what)) return errc::unsupported;
    if (backlog == 0) return errc::invalid_argument;
    return all_.listeners.add(port, backlog, what);
  }
  /// The same, on a free port that the driver chooses and returns. Errors: those of `listen`, without `in_use`.
  [[nodiscard]] result<u32> listen_anywhere(u16 backlog, kind what = kind::stream) {
    choose_port();
    VIRTIO_TRY(listen(next_port_, backlog, what));
    return next_port_;
  }
  /// Ends a listener. Connections that were not accepted are reset. Errors: `not_found`.
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
  /// Returns the peer that has waited longest, without accepting it. Errors: `not_ready` (no connection waits);
  /// `not_found` (the port has no listener).
  [[nodiscard]] result<address> next_peer(u32 port) {
    detail::listener* const here = all_.listeners.at(port);
    if (here == nullptr) return errc::not_found;
    if (here->queue.empty()) return errc::not_ready;
    return all_.table[here->queue.first()].peer;
  }
  /// Accepts the connection that has waited longest. Errors: `not_ready` (no connection waits); `not_found` (the port
  /// has no listener).
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

  /// Takes bytes to send and returns how many. They leave at once, unless the peer already has many small packets to
  /// read. Small writes are then gathered, and leave when they are 1024 bytes or more, when the peer has caught up, or
  /// with `flush`, `shutdown` or `close`.
  ///
  /// Errors: `no_credit` (the peer has no room now) or `no_buffer` (all send buffers are in use): an event `writable`
  /// follows; `not_ready` while connecting; `peer_closed`, `peer_reset`, `refused` or another reason why the connection
  /// ended; `invalid_argument` (`shutdown` has ended this direction, or the connection carries messages);
  /// `stale_handle`. Cost: one copy.
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
  /// Takes all bytes of several buffers, in their order, or none: `try_send_all(s, {head, frame})`. They travel in one
  /// packet if they fit. Errors: those of `try_send`; `too_long` (more than all send buffers or the peer can ever
  /// hold).
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
  /// The same, with the buffers as a braced list.
  template <usize N>
  [[nodiscard]] result<void> try_send_all(socket which, const const_bytes (&pieces)[N]) {
    return try_send_all(which, scatter<const_bytes>{pieces});
  }
  /// Bytes that the peer has room for, beyond those taken to send. On a connection that is open for sending, a
  /// `try_send` of at most as many fails only with `no_buffer`. Exception: fewer than 1024 bytes may fail with
  /// `no_credit` if the peer has far too many small packets to read. Errors: `stale_handle`.
  [[nodiscard]] result<u32> room(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.unsent.room(all_.table[one]);
  }
  /// Bytes that were accepted for sending and that the peer's credit count does not yet report as consumed. Gathered
  /// bytes are included. The peer reports its count from time to time, and in its answer to a `probe`. Errors:
  /// `stale_handle`.
  [[nodiscard]] result<u32> undelivered(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.table[one].out.unconfirmed() + all_.table[one].gathered_bytes;
  }
  /// Sends gathered bytes now. Does not wait until they have left. Errors: `stale_handle`.
  [[nodiscard]] result<void> flush(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (all_.table[one].gathered.empty()) all_.send_scheduled();
    else all_.schedule_now(one, detail::pending_packet::data);
    return {};
  }

  /// Copies bytes that have arrived and returns how many. Errors: `not_ready` (nothing is unread); after the last byte,
  /// `peer_closed` (the peer has ended its direction) or another reason why the connection ended; `invalid_argument`
  /// (the connection carries messages, or nothing is unread after `shutdown` of this direction); `stale_handle`.
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
  /// Shows what has arrived without a copy. `look(arrived)` receives all of it, one span for each receive buffer.
  /// `look(const_bytes)` receives the first span. `look` returns how many bytes it has used. The rest is shown again,
  /// with what arrives later. The memory is shared with the device: a malicious host may change it meanwhile, so read
  /// each byte once.
  ///
  /// The memory is valid until `look` returns. `look` may call any function except `start`, `reset` and `hand_off`:
  /// bytes that it reads or drops stay in place until then. A loop that waits for more bytes than the peer may send
  /// ahead never ends. Returns how many bytes `look` has used. Errors: those of `try_receive`, `invalid_argument`
  /// included; `in_use` (bytes were received from inside `look`, or are already shown).
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
                          const arrived here = all_.unread.first_pieces(all_.table[one], all_.queues.received,
                                                                        all_.unread.size(all_.table[one]));
                          return virtio::detail::smaller(static_cast<usize>(look(here)), here.size());
                        }
                      }));
    return usize{done};
  }

  /// Everything that has arrived on a stream, without a copy and without a callback. Valid until bytes of the
  /// connection are read, taken or dropped; `poll` does not change it. Empty if nothing has arrived: `try_receive`
  /// returns the reason.
  [[nodiscard]] arrived peek(socket which) {
    const auto one = all_.find(which);
    if (!one || carries_messages(all_.table[*one]) || all_.table[*one].received.empty()) return {};
    return all_.unread.first_pieces(all_.table[*one], all_.queues.received, all_.unread.size(all_.table[*one]));
  }
  /// The same, as an array of spans, one for each receive buffer. Fills at most `most` entries and returns how many.
  [[nodiscard]] u32 peek_pieces(socket which, const_bytes* into, u32 most) {
    const auto one = all_.find(which);
    if (!one || carries_messages(all_.table[*one])) return 0;
    return all_.unread.put_pieces(all_.table[*one], all_.queues.received, into, most);
  }
  /// The same, only the first span.
  [[nodiscard]] const_bytes peek_first(socket which) {
    const auto one = all_.find(which);
    if (!one || all_.table[*one].received.empty() || carries_messages(all_.table[*one])) return {};
    return all_.unread.first(all_.table[*one], all_.queues.received);
  }
  /// Until `end_look`, what `peek` has shown stays in place even if its connection is closed or aborted: its buffers go
  /// to the device later. Bytes that the program itself reads or skips are not kept. Calls may be nested, but not
  /// across `start`, `reset` and `hand_off`.
  void begin_look() { all_.unread.begin_look(); }
  /// Ends `begin_look`.
  void end_look() { all_.unread.end_look(all_.queues.received); }
  /// Drops the first `size` unread bytes. The peer is informed of room once half its window would open. A program must
  /// not wait for the rest of an item while it leaves the beginning unread: if the window is full and less than half of
  /// it was skipped, the peer is not informed of room and sends nothing more, so the wait has no end. `receive_with`
  /// reports any room to such a peer. Errors: `invalid_argument` (fewer bytes have arrived, or the connection carries
  /// messages); `stale_handle`.
  [[nodiscard]] result<void> skip(socket which, u32 size) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (carries_messages(all_.table[one]) || size > all_.unread.size(all_.table[one])) return errc::invalid_argument;
    if (size == 0) return {};
    all_.unread.consume_pieces(all_.table[one], all_.queues.received, size);
    all_.after_reading(one);
    return {};
  }

  /// Takes the unread bytes of the first receive buffer out of the stream, without a copy, as a `piece`. The program
  /// holds it until `give_back`, even after the connection ends or the device fails, but at most until the next
  /// `start`, or a `reset` or `hand_off` that succeeds. The peer's window counts it as unread until then, unless `how`
  /// is `outside_window`. Errors: those of `try_receive`, `invalid_argument` included; `table_full` (`limits::pieces`
  /// are held); `in_use` (inside the callback of `receive_with`); `unsupported` (`limits::pieces` is 0).
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
    const piece got = all_.pieces.hold(all_.unread.take_first(c, all_.queues.received), data, which,
                                       how == holding::in_window ? size : 0);
    if (how == holding::outside_window) {
      all_.unread.count_taken(c, size);
      all_.after_reading(one);
    }
    return got;
  }
  /// The number of further pieces that the program may hold.
  [[nodiscard]] u16 pieces_left() const { return all_.pieces.left(); }
  /// Whether the program still holds this piece.
  [[nodiscard]] bool is_held(const piece& which) const { return all_.pieces.find(which) != nullptr; }
  /// Returns a piece to the driver. Errors: `stale_handle` (it was returned already, or a reset took it).
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

  /// Bytes that have arrived and are unread, including those of incomplete messages. Errors: `stale_handle`.
  [[nodiscard]] result<usize> unread(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return usize{all_.unread.size(all_.table[one])};
  }
  /// Sets how many bytes the peer may send ahead, rounded up to whole `receive_packet`s, and at most `receive_buffer`.
  /// With a `limits::receive_pool`, the free part of the pool that all connections share limits the window further. The
  /// peer is informed of more room at once. Room that was already promised is not withdrawn. Errors: `invalid_argument`
  /// (0, or more than `receive_buffer`); `stale_handle`.
  [[nodiscard]] result<void> set_window(socket which, u32 size) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (size == 0 || size > L.receive_buffer) return errc::invalid_argument;
    all_.set_window(one, virtio::detail::smaller(1 + (size - 1) / L.receive_packet, L.buffer_packets()));
    return {};
  }

  /// Takes one whole message to send, or none of it, after messages that have not left yet. It leaves at once if the
  /// queue has room. Errors: those of `try_send`; `no_credit` also means that earlier messages must leave first;
  /// `too_long` (more than all send buffers or the peer can ever hold); `invalid_argument` (the message is empty, which
  /// no host delivers; the connection is a stream; or `shutdown` has ended this direction).
  [[nodiscard]] result<void> try_send_message(socket which, const_bytes data, boundary end = boundary::message) {
    return try_send_message(which, scatter<const_bytes>{&data, 1}, end);
  }
  /// The same, of a message in several buffers.
  [[nodiscard]] result<void> try_send_message(socket which, scatter<const_bytes> pieces,
                                              boundary end = boundary::message) {
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
  /// The same, with the buffers as a braced list.
  template <usize N>
  [[nodiscard]] result<void> try_send_message(socket which, const const_bytes (&pieces)[N],
                                              boundary end = boundary::message) {
    return try_send_message(which, scatter<const_bytes>{pieces}, end);
  }
  /// Copies one message that has arrived. Returns its length and whether it ends a record. A message longer than
  /// `into`, or than a peer may send ahead, is discarded: this call returns `too_long`, and later calls continue with
  /// the message after it. Errors: `too_long`; `not_ready` (no whole message has arrived); after the last message,
  /// `peer_closed` or another reason why the connection ended; `invalid_argument` (the connection is a stream, or no
  /// message is unread after `shutdown` of this direction); `stale_handle`.
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

  /// Shows one whole message without a copy: `look(arrived, boundary)`, where the boundary is that of its end. The
  /// message is then removed. The rules of `receive_with` apply. Errors: those of `try_receive_message`, where
  /// `too_long` is only about a message longer than a peer may send ahead; `in_use` (messages were received inside
  /// `look`, or are already shown).
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

  /// Ends one direction or both. After `ends::send` the peer reads to the end of what was sent. Does not wait. Errors:
  /// `not_ready` while connecting; the reason why the connection ended; `stale_handle`.
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
  /// Closes in good order: what was sent arrives, then the peer receives SHUTDOWN. Unread bytes are discarded. The
  /// handle is stale at once. The slot is free after the peer has agreed. If no slot is free for a new connection, the
  /// driver considers the closing connections whose peers have read everything, and resets the one that has waited
  /// longest. A connection that is still connecting is aborted. Errors: `stale_handle`.
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
  /// The same, and waits for the peer, bounded by `waiting::shutdown` and `give_up()`. If the wait ends first, the
  /// connection is reset. Additional errors: `peer_silent`, `canceled`, the device's.
  template <class GiveUp = detail::never>
  [[nodiscard]] result<void> close_and_wait(socket which, GiveUp&& give_up = {}) {
    VIRTIO_TRY(close(which));
    const connection& c = all_.table[which.slot];
    const u32 afterwards = which.generation + 1;  // not valid in a handle until the slot is used again
    const auto is_open = [&] { return c.now == state::closing && c.generation == afterwards; };
    const errc waited = wait_until(waiting::shutdown, [&] { return !is_open(); }, give_up);
    if (is_open()) all_.finish(which.slot, errc::canceled, detail::teardown::reset);
    all_.send_scheduled();
    return waited;
  }
  /// Ends a connection at once. Unsent and unread data is discarded. The peer receives RST, but only if it may have the
  /// connection: not if the connection has ended already, nor if the REQUEST has not left yet. Errors: `stale_handle`.
  [[nodiscard]] result<void> abort(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    const bool needs_no_reset =
        all_.table[one].now == state::ended || all_.table[one].pending.has(detail::pending_packet::request);
    all_.forget_name(one);
    if (needs_no_reset) all_.leave(one);
    else all_.finish(one, errc::canceled, detail::teardown::reset);
    all_.send_scheduled();
    return {};
  }

  /// Counts one unit of time of the program's clock, for example a second. Connections that wait for a peer grow older;
  /// `most` states how old they may get. A client that crashed looks like an idle one: `probe` distinguishes them.
  /// Cost: reads each slot of the table.
  void tick(const ages& most) { all_.tick(most); }
  /// Ticks since the peer's last sign of life: any packet except a CREDIT_UPDATE without news. A host sends those as
  /// answers to the driver's own CREDIT_REQUEST even when its program is gone. The answer to `probe` counts. Errors:
  /// `stale_handle`.
  [[nodiscard]] result<u32> idle_for(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.idle_for(all_.table[one]);
  }
  /// Requests a sign of life from the peer, a CREDIT_UPDATE. Caution: some hosts close the connection when they receive
  /// this request. `idle_for` is 0 after the answer has arrived. A host that does not have the connection any more
  /// answers RST, or nothing. vhost-device-vsock still answers for a client that was killed while data was on its way
  /// to it. Errors: `not_ready` while connecting; the reason why the connection ended; `stale_handle`.
  [[nodiscard]] result<void> probe(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    if (all_.table[one].now == state::connecting) return errc::not_ready;
    if (all_.table[one].now == state::ended) return all_.table[one].why;
    all_.table[one].probed = true;
    all_.schedule_now(one, detail::pending_packet::credit_request);
    return {};
  }

  /// Whether a connection is open in both directions, whether or not bytes are unread. Errors: `not_ready` while
  /// connecting; `peer_closed` (the peer has ended a direction); the reason why the connection ended; `stale_handle`.
  [[nodiscard]] result<void> state_of(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    const connection& c = all_.table[one];
    if (c.now == state::connecting) return errc::not_ready;
    if (c.now == state::ended) return c.why;
    if (!c.peer_closed_ends.empty()) return errc::peer_closed;
    return {};
  }
  /// Whether `state_of` has no error.
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE bool is_open(socket which) const {
    const auto one = all_.find(which);
    return one && all_.table[*one].now == state::established && all_.table[*one].peer_closed_ends.empty();
  }
  /// The peer's address. Errors: `stale_handle`.
  [[nodiscard]] result<address> peer_of(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.table[one].peer;
  }
  /// The local port. Errors: `stale_handle`.
  [[nodiscard]] result<u32> local_port_of(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.table[one].local_port;
  }

  // Interrupts and the end --------------------------------------------------------------------------------------------

  /// Requests an interrupt for packets that arrive or leave. True: work is already present, so poll again before
  /// sleeping. Gathered bytes leave first, except to a peer that has far too many small packets to read. Bytes for such
  /// a peer leave when it has caught up.
  [[nodiscard]] bool arm() { return !all_.to_report.empty() || all_.arm(); }
  /// Stops interrupts that `arm` requested.
  void disarm() { all_.queues.all().disarm(); }
  /// Acknowledges an interrupt and returns its cause. An interrupt handler may call it, but not with `pci::windowed`:
  /// the handler could move the window during an access of the interrupted code.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return all_.queues.all().acknowledge_interrupt(); }
  /// Reads the device's status. Errors: `needs_reset` (the device has failed; it was reset, and all connections have
  /// ended); `not_started`; `device_broken` (the device has failed, does not confirm the reset and keeps the storage).
  [[nodiscard]] result<void> check() {
    return all_.queues.all().check([this](errc why) { return all_.bring_down(why); });
  }
  /// Resets the device. All connections end as `canceled`. After success their unread bytes are lost, and the storage
  /// belongs to the caller. Errors:
  /// - `not_started`: no device was started;
  /// - `device_broken`: the device does not confirm the reset and keeps the storage. Do not reuse the storage. Call
  ///   `reset` again later;
  /// - `timed_out`: the device does not confirm this reset, but has confirmed an earlier one. It has no memory, and the
  ///   storage belongs to the caller.
  [[nodiscard]] result<void> reset() {
    return all_.queues.all().reset([this](errc why) { return bring_down_and_discard(why); });
  }
  /// Resets the device, and takes it off the bus. Errors: those of `reset`.
  [[nodiscard]] result<void> hand_off() {
    return all_.queues.all().hand_off([this](errc why) { return bring_down_and_discard(why); });
  }

 private:
  friend stream_type;

  [[nodiscard]] static bool carries_messages(const connection& c) { return exchange::carries_messages(c); }
  [[nodiscard]] static bool lacks_room(errc error) { return error == errc::no_credit || error == errc::no_buffer; }
  /// Sends gathered bytes before a wait, as `arm` does, except to a peer that has far too many small packets to read.
  void flush_unless_slow(socket which) {
    const auto one = all_.find(which);
    if (!one) return;
    all_.flush_unless_slow(*one);
    all_.send_scheduled();
  }

  /// Whether a send found no room, and `writable` has not been reported since.
  [[nodiscard]] bool waits_for_room(socket which) const {
    const auto one = all_.find(which);
    return one && all_.table[*one].wants_bytes != 0 && all_.may_send(all_.table[*one]);
  }
  /// Why no more bytes will arrive: `too_long` (the peer has sent all it may until some are read); `not_ready`: more
  /// may arrive.
  [[nodiscard]] errc why_no_more(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, all_.find(which));
    return all_.is_full(one) ? errc::too_long : all_.nothing_to_read(all_.table[one]);
  }

  /// Calls `look` with unread bytes, and consumes as many as it returns. Errors: `in_use`, `stale_handle`.
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
    if (!lifecycle().has_memory()) all_.discard_all();  // they are in storage that belongs to the caller again
    return how;
  }

  [[nodiscard]] device_lifecycle<P, T>& lifecycle() { return all_.lifecycle(); }
  [[nodiscard]] const device_lifecycle<P, T>& lifecycle() const { return all_.lifecycle(); }

  /// Whether these addresses are in use, so that no new connection can have them.
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
    do next_port_ = (next_port_ + 1) | 0x4000'0000;  // ports above 2^30 are not assigned to services
    while (all_.listeners.at(next_port_) != nullptr);
  }

  u32 next_port_ = 0;
  exchange all_{};
};

}  // namespace virtio::vsock
