// SPDX-License-Identifier: MIT
// Socket device driver: connections between this guest and its host, without a network.
//
// Packets come in through one queue and leave through another; each names a connection by its two addresses, and tells how much its
// sender has read and how much more it has room for (credit.hpp). Here is what a packet does to its connection, and what a call of
// the user makes of packets. Nothing here waits: what cannot be sent now is owed, and sent when `poll` comes by. Calls that wait
// are in stream.hpp.
//
// What this file leaves to others: queues and buffers (packets.hpp), who is connected to whom (table.hpp).
//
// Spec: virtio 1.4, 5.10. Layer: vsock (may include device, transport, queue, platform, base).
#pragma once

#include <virtio/vsock/packets.hpp>
#include <virtio/vsock/stream.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock {

/// What may have happened to a connection or a listener.
namespace ready {
inline constexpr u8 connected = 1;  // try_connect succeeded
inline constexpr u8 incoming = 2;   // somebody connected to `event::port`: try_accept
inline constexpr u8 readable = 4;   // bytes, or the end of them
inline constexpr u8 writable = 8;   // a try_send that found no room may try again
inline constexpr u8 closed = 16;    // no more to be sent; what arrived before can still be read, then comes the reason
}  // namespace ready

/// Told once a change, not for as long as it lasts.
struct event {
  socket which{};  // of no connection for `incoming`
  u8 what = 0;     // ready
  u32 port = 0;    // the local one
};

/// A vsock device. All-zero until `start`. One context owns it; an interrupt handler may call `acknowledge_interrupt` alone.
template <platform P, transport T, queue_format Q, limits L = limits{}>
class device {
  static_assert(L.make_sense(), "vsock::limits: see the bounds at make_sense()");

  using connection = detail::connection;
  using state = detail::state;

 public:
  using location = typename T::location;
  using stream_type = stream<device>;

  /// DMA storage that this type needs: `constinit virtio::dma_storage<vsock_t::dma_bytes> vsock_dma;`
  static constexpr usize dma_bytes = detail::packet_queues<P, T, Q, L>::dma_bytes;

  /// Brings the device up: reset, features, three queues, buffers, DRIVER_OK. `storage` belongs to the device until `reset` or
  /// `hand_off` succeeds, or `start` itself fails with anything but `device_broken`. May be called again at any time; listeners and
  /// connections of before are gone. `seed`, 64 random bits, keeps other guests and programs on the host from choosing ports that
  /// make their connections collide. Errors: those of `blk::device::start`.
  [[nodiscard]] result<void> start(const P& platform, const location& where, dma_region storage,
                                   const interrupt_vectors& interrupts = {}, u64 seed = 0) {
    constexpr feature_plan plan{.wanted = feature_set{feature::stream, feature::no_implied_stream},
                                // Lengths of received packets are checked against the used length, which batches skip.
                                .declined = feature_set{virtio::feature::in_order}};
    forget();
    table_.start(seed);
    next_port_ = static_cast<u32>(seed);
    VIRTIO_TRY(packets_.start(platform, where, storage, interrupts, plan));
    budget_.start(L.pool_packets() - L.connections);
    if (const auto said = read_cid(); !said) return packets_.refuse(verdict::config_unreadable, said.error());
    packets_.go();
    return {};
  }

  /// What the last `start` came to: bound, or why not.
  [[nodiscard]] const report& why() const { return life().device().why(); }
  [[nodiscard]] const feature_set& features() const { return life().device().features(); }
  /// This guest's context id, as it was at `start` or after the last reset of the transport.
  [[nodiscard]] u32 cid() const { return cid_; }

  // Calls that wait ------------------------------------------------------------------------------------------------------

  /// Connects, from a port that nobody has used lately. Errors: `refused`; `timed_out` when the platform has waited enough for
  /// `waiting::connect`, since some hosts never answer; `table_full`; why the device is down.
  [[nodiscard]] result<stream_type> connect(address peer) {
    VIRTIO_TRY_ASSIGN(const socket mine, try_connect(peer));
    const errc waited = wait_until(waiting::connect, [&] { return table_[mine.slot].now != state::connecting; });
    const errc outcome = waited == errc::ok && table_[mine.slot].now == state::ended ? table_[mine.slot].why : waited;
    if (outcome == errc::ok) return stream_type{*this, mine};
    (void)abort(mine);
    return outcome;
  }

  /// Waits for somebody to connect to a port that is listened to. Errors: `not_found`, `timed_out` for `waiting::request`, why the
  /// device is down.
  [[nodiscard]] result<stream_type> accept(u32 port) {
    result<socket> got = errc::not_ready;
    VIRTIO_TRY(result<void>{wait_until(waiting::request, [&] { return (got = try_accept(port)).error() != errc::not_ready; })});
    if (!got) return got.error();
    return stream_type{*this, *got};
  }

  /// Moves packets until `done()`. Errors: `timed_out`, the platform has waited enough for `why`, and nothing has changed by that;
  /// why the device is down.
  template <class Done>
  [[nodiscard]] errc wait_until(waiting why, Done&& done) {
    for (patience left;;) {
      if (const errc problem = move_packets(); problem != errc::ok) return problem;
      if (done()) return errc::ok;
      const errc passed = life().pass_time(why, left, [this] { return packets_.arm(); });
      if (passed == errc::needs_reset) return fall(passed);
      if (passed != errc::ok) return passed;
    }
  }

  // Calls that do not ----------------------------------------------------------------------------------------------------

  /// Moves packets both ways, then calls `tell(event)` for at most `most` connections and listeners that something happened to; says
  /// how many. `tell` may call anything here. Errors: why the device is down, once everybody was told that it is.
  template <callable_with<event> F>
  [[nodiscard]] result<usize> poll(F&& tell, usize most = ~usize{0}) {
    const errc moved = move_packets();
    usize told = 0;
    while (told < most && !to_tell_.empty()) {
      const u16 one = to_tell_.first();
      to_tell_.remove(all(), one);
      connection& c = table_[one];
      const u8 what = c.accepted ? c.news : ready::incoming;
      c.news = static_cast<u8>(c.news & ~what);
      ++told;
      tell(event{c.accepted ? name_of(one) : socket{}, what, c.local_port});
    }
    if (moved != errc::ok && told == 0) return moved;
    return told;
  }

  /// Begins to connect. `connected` or `closed` is told. Errors: `table_full`, why the device is down.
  [[nodiscard]] result<socket> try_connect(address peer) {
    do next_port_ = (next_port_ + 1) | 0x4000'0000;  // the ports above a thousand million are nobody's
    while (table_.find(next_port_, peer) != 0 || listener_at(next_port_) != nullptr);
    return try_connect_from(next_port_, peer);
  }
  /// Likewise, from any port. Errors also: `busy`, there is such a connection.
  [[nodiscard]] result<socket> try_connect_from(u32 local_port, address peer) {
    VIRTIO_TRY(life().ready());
    if (table_.find(local_port, peer) != 0) return errc::busy;
    VIRTIO_TRY_ASSIGN(const u16 one, add(local_port, peer, state::connecting));
    table_[one].accepted = true;
    owe(one, detail::owes_request);
    send_owed();
    return name_of(one);
  }

  /// Accepts connections to a port, any of 2^32. At most `backlog` of them wait for `try_accept`; others are refused. Errors: `busy`,
  /// somebody listens there; `table_full`; `invalid_argument` for no backlog; why the device is down.
  [[nodiscard]] result<void> listen(u32 port, u16 backlog) {
    VIRTIO_TRY(life().ready());
    if (backlog == 0) return errc::invalid_argument;
    if (listener_at(port) != nullptr) return errc::busy;
    for (detail::listener& one : listeners_)
      if (one.backlog == 0) {
        one = {};
        one.port = port;
        one.backlog = backlog;
        return {};
      }
    return errc::table_full;
  }
  /// Ends that. Connections that nobody has accepted are reset. Errors: `not_found`.
  [[nodiscard]] result<void> unlisten(u32 port) {
    detail::listener* const here = listener_at(port);
    if (here == nullptr) return errc::not_found;
    while (!here->line.empty()) {
      const u16 one = here->line.first();
      discard_unread(one);
      finish(one, errc::canceled, true);
    }
    here->backlog = 0;
    send_owed();
    return {};
  }
  /// The connection that has waited longest. Errors: `not_ready`, `not_found`.
  [[nodiscard]] result<socket> try_accept(u32 port) {
    detail::listener* const here = listener_at(port);
    if (here == nullptr) return errc::not_found;
    if (here->line.empty()) return errc::not_ready;
    const u16 one = here->line.first();
    leave_line(one);
    table_[one].accepted = true;
    if (table_[one].news != 0) to_tell_.push(all(), one);
    return name_of(one);
  }

  /// Takes bytes to send: says how many. They leave at once, unless the peer has many small packets to read already: then small pieces
  /// are gathered, and leave by 1024 bytes and more, when the peer has caught up, or with `flush`, `shutdown` or `close`. Errors: `no_credit`, there is no
  /// room now, `writable` will be told; `not_ready` while connecting; `peer_closed`, `peer_reset`, `refused` and other reasons why
  /// the connection ended; `invalid_argument` after `shutdown`; `stale_handle`.
  [[nodiscard]] result<usize> try_send(socket which, const_bytes data) {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    VIRTIO_TRY(may_send(table_[one]));
    usize taken = 0;
    while (taken < data.size()) {
      const usize now = gather(one, data.part(taken, data.size()));
      if (now == 0) break;
      taken += now;
    }
    connection& c = table_[one];
    if (may_leave(c)) owe(one, detail::owes_data);
    else if (c.gathered != 0 && c.gathered_up_to == taken) ask_for_credit(one);  // the answer may let it leave
    if (taken < data.size()) want_room(one);
    send_owed();
    if (taken == 0 && !data.empty()) return errc::no_credit;
    return taken;
  }
  /// Lets what was gathered leave. Does not wait until it has. Errors: `stale_handle`.
  [[nodiscard]] result<void> flush(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    if (table_[one].gathered != 0) owe(one, detail::owes_data);
    send_owed();
    return {};
  }

  /// Copies bytes that have arrived: says how many. Errors: `not_ready`; after the last byte, and for ever then, `peer_closed` when
  /// the peer has sent all it wanted, or another reason why the connection ended; `stale_handle`.
  [[nodiscard]] result<usize> try_receive(socket which, bytes into) {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    usize copied = 0;
    while (copied < into.size() && table_[one].first_received != 0) {
      const const_bytes here = unread(table_[one]).part(0, into.size() - copied);
      __builtin_memcpy(into.data() + copied, here.data(), here.size());
      copied += here.size();
      consume(one, static_cast<u32>(here.size()));
    }
    if (copied != 0) after_reading(one);
    else if (!into.empty()) return nothing_to_read(table_[one]);
    return copied;
  }
  /// Shows `look(bytes)` what has arrived, where it is, as much of it as lies together; `look` says how many bytes it is done with.
  /// The memory is the device's, too: a host may change it meanwhile, so look at each byte once. It is valid until `look` returns;
  /// `look` may call anything but `close` and `abort` of this connection. Returns and fails as `try_receive`.
  template <callable_with<const_bytes> F>
  [[nodiscard]] result<usize> receive_with(socket which, F&& look) {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    if (table_[one].first_received == 0) return nothing_to_read(table_[one]);
    const const_bytes here = unread(table_[one]);
    const usize done = virtio::detail::smaller(static_cast<usize>(look(here)), here.size());
    VIRTIO_TRY(find(which));
    consume(one, static_cast<u32>(done));
    after_reading(one);
    return done;
  }

  /// Gives up one direction or both: after `ends::send` the peer reads to the end of what was sent. Errors: `not_ready` while
  /// connecting; why the connection ended; `stale_handle`.
  [[nodiscard]] result<void> shutdown(socket which, ends what) {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    connection& c = table_[one];
    if (c.now == state::connecting) return errc::not_ready;
    if (c.now == state::ended) return c.why;
    c.gave_up = static_cast<u8>(c.gave_up | static_cast<u32>(what));
    if (c.gathered != 0) owe(one, detail::owes_data);
    owe(one, detail::owes_shutdown);
    send_owed();
    return {};
  }
  /// Closes in good order: what was sent arrives, then the peer hears that this is the end. The name is stale at once, the place free
  /// when the peer has agreed; when places run out, those who have waited longest for that are reset. Errors: `stale_handle`.
  [[nodiscard]] result<void> close(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    connection& c = table_[one];
    if (c.now == state::connecting) return abort(which);
    forget_name(one);
    if (c.now == state::ended) {
      leave(one);
      return {};
    }
    c.now = state::closing;
    closing_.push(all(), one);
    c.gave_up = static_cast<u8>(ends::both);
    if (c.gathered != 0) owe(one, detail::owes_data);
    owe(one, detail::owes_shutdown);
    send_owed();
    return {};
  }
  /// Likewise, and waits for the peer, or until the platform has waited enough for `waiting::shutdown`: the connection is reset then.
  /// Errors also: `timed_out`, why the device is down.
  [[nodiscard]] result<void> close_and_wait(socket which) {
    VIRTIO_TRY(close(which));
    const connection& c = table_[which.slot];
    const u32 afterwards = which.generation + 1;  // nobody's, until the place is somebody else's
    const auto is_open = [&] { return c.now == state::closing && c.generation == afterwards; };
    const errc waited = wait_until(waiting::shutdown, [&] { return !is_open(); });
    if (is_open()) finish(which.slot, errc::canceled, true);
    send_owed();
    return waited;
  }
  /// Ends a connection at once: nothing more is sent but RST. Errors: `stale_handle`.
  [[nodiscard]] result<void> abort(socket which) {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    const bool peer_knows = table_[one].now == state::ended || (table_[one].owed & detail::owes_request) != 0;
    forget_name(one);
    if (peer_knows) leave(one);
    else finish(one, errc::canceled, true);
    send_owed();
    return {};
  }

  [[nodiscard]] result<address> peer_of(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    return table_[one].peer;
  }
  [[nodiscard]] result<u32> local_port_of(socket which) const {
    VIRTIO_TRY_ASSIGN(const u16 one, find(which));
    return table_[one].local_port;
  }

  // Interrupts and the end -----------------------------------------------------------------------------------------------

  /// Asks for an interrupt when packets come or leave. True: there is something already, poll again before sleeping.
  [[nodiscard]] bool arm() { return !to_tell_.empty() || (life().is_up() && packets_.arm()); }
  void disarm() {
    if (life().is_up()) packets_.disarm();
  }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return life().acknowledge_interrupt(); }
  /// Reads the status: `needs_reset` when the device has failed; it is then reset, and all connections end.
  [[nodiscard]] result<void> check() {
    const errc problem = life().check();
    return problem == errc::needs_reset ? fall(problem) : problem;
  }
  /// Resets the device: all connections end as `canceled`. Error: `device_broken`, it will not reset and keeps the storage.
  [[nodiscard]] result<void> reset() {
    if (!life().device().is_open()) return errc::not_started;
    if (fall(errc::canceled) == errc::device_broken) return errc::device_broken;
    life().forgive();
    return {};
  }
  /// As `reset`, and takes the device off the bus.
  [[nodiscard]] result<void> hand_off() {
    const auto done = reset();
    life().close();
    return done;
  }

 private:
  static constexpr u8 polls_per_question = 64;

  [[nodiscard]] device_life<P, T>& life() { return packets_.life(); }
  [[nodiscard]] const device_life<P, T>& life() const { return packets_.life(); }
  [[nodiscard]] connection* all() { return table_.all(); }

  // Packets --------------------------------------------------------------------------------------------------------------

  /// Everything that can be done now: sent buffers come back, events and packets are taken, buffers go to the device, and what is
  /// owed is sent. Errors: why the device is down.
  [[nodiscard]] errc move_packets() {
    if (!life().is_up()) return life().down();
    errc got = packets_.collect();
    if (got == errc::ok) got = take_events();
    // A packet may want an answer, and there is room for some only: beyond that packets stay where they are.
    for (u32 left = L.connections + 64u; got == errc::ok && left != 0 && has_room_for_reply(); --left) got = take_packet();
    if (got != errc::ok && got != errc::not_ready) return fall(got);
    // Buffers first: a host that waits for some does not read what we send (vhost).
    packets_.post_buffers();
    packets_.kick(packets_.receive_queue);
    serve_thirsty();
    ask_again();
    send_owed();
    return errc::ok;
  }

  [[nodiscard]] errc take_events() {
    for (u32 id;;) {
      const errc got = packets_.next_event(id);
      if (got != errc::ok) {
        packets_.kick(packets_.event_queue);
        return got == errc::not_ready ? errc::ok : got;
      }
      if (id != transport_reset) continue;
      // The host's end of everything is gone. A restored host sends nothing before it has heard of us.
      end_all(errc::peer_reset);
      if (const auto said = read_cid(); !said) return errc::device_misbehaved;
      packets_.insist(packets_.event_queue);
    }
  }

  [[nodiscard]] errc take_packet() {
    detail::arrival in;
    const errc got = packets_.next(in);
    if (got == errc::ok && !hear(in)) packets_.give_back(in.buffer);
    return got;
  }

  /// What a packet does. Whether its buffer is kept.
  [[nodiscard]] bool hear(const detail::arrival& in) {
    const packet& p = in.header;
    if (p.to_cid != cid_ || p.from_cid >> 32 != 0 || p.what == static_cast<u16>(op::invalid)) return false;
    const address peer{static_cast<u32>(p.from_cid), p.from_port};
    const u16 found = table_.find(p.to_port, peer);
    if (p.type != static_cast<u16>(kind::stream)) {
      deny(p, peer);
      return false;
    }
    if (found == 0) {
      if (p.what != static_cast<u16>(op::request) || !welcome(p, peer)) deny(p, peer);
      return false;
    }
    return hear(static_cast<u16>(found - 1), in);
  }

  [[nodiscard]] bool hear(u16 one, const detail::arrival& in) {
    connection& c = table_[one];
    const packet& p = in.header;
    const op what = static_cast<op>(p.what);
    if (p.what > static_cast<u16>(op::credit_request)) return false;  // of a specification to come
    if (c.now == state::leaving || c.now == state::ended) {
      if (what == op::reset) need_not_reset(one);
      return false;
    }
    if (what == op::reset) {
      const bool expected = c.now == state::closing || c.peer_gave_up == static_cast<u8>(ends::both);
      finish(one, c.now == state::connecting ? errc::refused : expected ? errc::peer_closed : errc::peer_reset, false);
      return false;
    }
    if (c.now == state::connecting) {
      if (what != op::response) {
        finish(one, errc::refused, true);
        return false;
      }
      c.now = state::established;
      tell(one, ready::connected | ready::writable);
    }
    heard_of_room(one, p);
    switch (what) {
      case op::data: return keep(one, in);
      case op::shutdown: peer_shuts(one, p.flags); return false;
      case op::credit_request: owe(one, detail::owes_credit); return false;
      default: return false;  // CREDIT_UPDATE has said all it had to; the rest means nothing here
    }
  }

  /// What every packet tells about the peer's memory.
  void heard_of_room(u16 one, const packet& p) {
    connection& c = table_[one];
    c.out.heard(p.allocation, p.forwarded);
    if (may_leave(c)) owe(one, detail::owes_data);
    if (c.out.available() == 0) return;
    c.asked_for_credit = false;
    if (c.owed != 0) to_send_.push(all(), one);
    if (c.wants_room) tell_room(one);
  }
  void tell_room(u16 one) {
    table_[one].wants_room = false;
    thirsty_.remove(all(), one);
    tell(one, ready::writable);
  }

  /// Data. Small packets are moved in behind what is there, so that memory is never mostly air.
  [[nodiscard]] bool keep(u16 one, const detail::arrival& in) {
    connection& c = table_[one];
    const u32 length = in.header.length;
    if (!in.whole || !c.in.receive(length)) {  // more than its buffer holds, or than it was allowed
      finish(one, errc::peer_reset, true);
      return false;
    }
    if (length == 0) return false;
    if (c.now == state::closing || covers(c.gave_up, ends::receive)) {  // nobody wants to know
      count_read(c, length);
      return false;
    }
    tell(one, ready::readable);
    if (c.last_received != 0) {
      const u16 tail = static_cast<u16>(c.last_received - 1);
      u32& filled = packets_.filled(tail);
      if (length <= L.receive_packet - filled) {
        __builtin_memcpy(packets_.received(tail) + filled, packets_.received(in.buffer), length);
        filled += length;
        return false;
      }
    }
    const u16 link = static_cast<u16>(in.buffer + 1);
    (c.last_received == 0 ? c.first_received : packets_.after(static_cast<u16>(c.last_received - 1))) = link;
    c.last_received = link;
    packets_.after(in.buffer) = 0;
    packets_.filled(in.buffer) = length;
    return true;
  }

  void peer_shuts(u16 one, u32 flags) {
    connection& c = table_[one];
    c.peer_gave_up = static_cast<u8>(c.peer_gave_up | (flags & static_cast<u32>(ends::both)));
    if (covers(c.peer_gave_up, ends::receive)) forget_unsent(one);
    tell(one, ready::readable | ready::writable);
    if (c.peer_gave_up != static_cast<u8>(ends::both)) return;
    // Both ends are done; RST says that we know. Not before everything was read: it would cut that short for programs that ask.
    if (c.now == state::closing || c.first_received == 0) finish(one, errc::peer_closed, true);
  }

  /// A REQUEST of somebody new. Whether they may come in.
  [[nodiscard]] bool welcome(const packet& p, address peer) {
    detail::listener* const here = listener_at(p.to_port);
    if (here == nullptr || here->waiting >= here->backlog) return false;
    const result<u16> added = add(p.to_port, peer, state::established);
    if (!added) return false;
    connection& c = table_[*added];
    c.out.heard(p.allocation, p.forwarded);
    here->line.push(all(), *added);
    ++here->waiting;
    to_tell_.push(all(), *added);
    owe(*added, detail::owes_response);
    return true;
  }

  /// RST for a packet that belongs to no connection; not for an RST.
  void deny(const packet& p, address peer) {
    if (p.what == static_cast<u16>(op::reset) || p.what > static_cast<u16>(op::credit_request)) return;
    replies_[(first_reply_ + reply_count_) % L.replies] = {p.to_port, peer, p.type};
    ++reply_count_;
  }
  [[nodiscard]] bool has_room_for_reply() {
    if (reply_count_ == L.replies) send_owed();
    return reply_count_ < L.replies;
  }

  // What is owed ---------------------------------------------------------------------------------------------------------

  void owe(u16 one, u8 what) {
    table_[one].owed = static_cast<u8>(table_[one].owed | what);
    to_send_.push(all(), one);
  }

  /// Sends what is owed as far as there is room, and shows it to the device.
  void send_owed() {
    if (!life().is_up()) return;
    stage_owed();
    packets_.kick(packets_.transmit_queue);
  }
  void stage_owed() {
    while (reply_count_ != 0 && packets_.send(reset_for(replies_[first_reply_]))) {
      first_reply_ = static_cast<u16>((first_reply_ + 1) % L.replies);
      --reply_count_;
    }
    while (!to_send_.empty()) {
      const u16 one = to_send_.first();
      if (!pay(one)) break;
      to_send_.remove(all(), one);
      if (table_[one].now == state::leaving) release(one);
    }
  }

  /// Everything that one connection owes, but data for which the peer has no room, and what comes behind it. False: the queue is full.
  [[nodiscard]] bool pay(u16 one) {
    connection& c = table_[one];
    if (!pay(c, detail::owes_reset, op::reset)) return false;
    if (!pay(c, detail::owes_request, op::request)) return false;
    if (!pay(c, detail::owes_response, op::response)) return false;
    if ((c.owed & detail::owes_data) != 0 && !send_gathered(one)) return false;
    if ((c.owed & detail::owes_data) == 0 && !pay(c, detail::owes_shutdown, op::shutdown, c.gave_up)) return false;
    if (!pay(c, detail::owes_credit_request, op::credit_request)) return false;
    return pay(c, detail::owes_credit, op::credit_update);
  }
  [[nodiscard]] bool pay(connection& c, u8 which, op what, u32 flags = 0) {
    if ((c.owed & which) == 0) return true;
    if (!packets_.send(header(c, what, 0, flags))) return false;
    c.owed = static_cast<u8>(c.owed & ~(which | detail::owes_credit));
    return true;
  }

  /// False: the queue is full. Without room at the peer it stays owed.
  [[nodiscard]] bool send_gathered(u16 one) {
    connection& c = table_[one];
    while (c.gathered != 0) {
      const u32 left = c.gathered_up_to - c.gathered_from;
      const u32 now = virtio::detail::smaller(left, c.out.available());
      if (now == 0) {
        ask_for_credit(one);
        return true;
      }
      u16 buffer = c.gathered;
      u32 from = c.gathered_from;
      if (now < left) {  // the peer has taken back some of its room: two packets cannot share a buffer
        buffer = packets_.take_buffer();
        if (buffer == 0) return true;
        __builtin_memcpy(packets_.payload(buffer), packets_.payload(c.gathered) + from, now);
        from = 0;
      }
      if (!packets_.send(header(c, op::data, now), buffer, from)) {
        if (now < left) packets_.drop(buffer);
        return false;
      }
      c.owed = static_cast<u8>(c.owed & ~detail::owes_credit);
      c.out.sent(now);
      c.gathered_from += now;
      if (now == left) ungather(one);
    }
    c.owed = static_cast<u8>(c.owed & ~detail::owes_data);
    if (c.wants_room && c.out.available() != 0) tell_room(one);  // it was for want of this buffer
    return true;
  }
  /// Once, until there is some.
  void ask_for_credit(u16 one) {
    if (table_[one].asked_for_credit) return;
    table_[one].asked_for_credit = true;
    owe(one, detail::owes_credit_request);
  }

  /// A packet of a connection. Each tells the peer how far it may send, which may be further than before.
  [[nodiscard]] packet header(connection& c, op what, u32 length = 0, u32 flags = 0) {
    if (c.now != state::leaving && c.now != state::ended) open_window(c);
    return {cid_, c.peer.cid, c.local_port, c.peer.port, length, static_cast<u16>(kind::stream), static_cast<u16>(what),
            flags, c.in.promised(), c.in.consumed()};
  }

  struct stranger {
    u32 local_port;
    address peer;
    u16 type;
  };
  [[nodiscard]] packet reset_for(const stranger& to) const {
    return {cid_, to.peer.cid, to.local_port, to.peer.port, 0, to.type, static_cast<u16>(op::reset), 0, 0, 0};
  }

  // Sending --------------------------------------------------------------------------------------------------------------

  [[nodiscard]] result<void> may_send(const connection& c) const {
    if (c.now == state::connecting) return errc::not_ready;
    if (c.now == state::ended) return c.why;
    if (covers(c.gave_up, ends::send)) return errc::invalid_argument;
    if (covers(c.peer_gave_up, ends::receive)) return errc::peer_closed;
    return {};
  }

  /// Puts the first of `data` behind what is gathered. Says how many; full buffers leave.
  [[nodiscard]] usize gather(u16 one, const_bytes data) {
    connection& c = table_[one];
    if (c.gathered != 0 && c.gathered_up_to == L.send_packet) {
      owe(one, detail::owes_data);
      stage_owed();
      if (c.gathered != 0) return 0;
    }
    if (room(c) == 0 || (c.gathered == 0 && !begin_gathering(one))) return 0;
    const u32 most = virtio::detail::smaller(room(c), L.send_packet - c.gathered_up_to);
    const u32 now = static_cast<u32>(virtio::detail::smaller(data.size(), usize{most}));
    __builtin_memcpy(packets_.payload(c.gathered) + c.gathered_up_to, data.data(), now);
    c.gathered_up_to += now;
    return now;
  }
  [[nodiscard]] bool begin_gathering(u16 one) {
    u16 buffer = packets_.take_buffer();
    if (buffer == 0) buffer = wring_out_buffer();
    if (buffer == 0) return false;
    connection& c = table_[one];
    c.gathered = buffer;
    c.gathered_from = c.gathered_up_to = 0;
    gathering_.push(all(), one);
    return true;
  }
  /// All buffers are taken: by the device, which may be done with some; or by connections that gather in them, the oldest of which
  /// then has gathered enough.
  [[nodiscard]] u16 wring_out_buffer() {
    if (const errc got = packets_.collect(); got != errc::ok) {
      (void)fall(got);
      return 0;
    }
    if (const u16 buffer = packets_.take_buffer(); buffer != 0 || gathering_.empty()) return buffer;
    const u16 oldest = gathering_.first();
    gathering_.remove(all(), oldest);
    gathering_.push(all(), oldest);
    owe(oldest, detail::owes_data);
    send_owed();
    if (!packets_.is_idle()) return 0;
    // None is with the device, and this peer has taken back the room that it had for what is gathered: others must not wait for it.
    finish(oldest, errc::peer_reset, true);
    return packets_.take_buffer();
  }
  void ungather(u16 one) {
    table_[one].gathered = 0;
    table_[one].gathered_from = table_[one].gathered_up_to = 0;
    gathering_.remove(all(), one);
  }
  [[nodiscard]] static bool may_leave(const connection& c) {
    return c.gathered != 0 && (c.gathered_up_to - c.gathered_from >= send_window::small || !c.out.is_crowded());
  }
  void want_room(u16 one) {
    connection& c = table_[one];
    c.wants_room = true;
    if (room(c) != 0) {  // but no buffer
      thirsty_.push(all(), one);
      return;
    }
    if (c.gathered != 0) owe(one, detail::owes_data);  // it will not become more
    ask_for_credit(one);
  }
  /// Bytes that the peer has room for, beyond those that are gathered.
  [[nodiscard]] static u32 room(const connection& c) {
    const u32 waiting = c.gathered_up_to - c.gathered_from;
    return c.out.available() > waiting ? c.out.available() - waiting : 0;
  }
  /// Buffers have come back.
  void serve_thirsty() {
    while (!thirsty_.empty() && packets_.has_buffer()) tell_room(thirsty_.first());
  }
  /// A peer that is slow to read does not say when it has caught up. It is asked now and then, when there is something for it.
  void ask_again() {
    if (gathering_.empty() || ++polls_ % polls_per_question != 0) return;
    const u16 one = gathering_.first();
    gathering_.remove(all(), one);
    gathering_.push(all(), one);
    table_[one].asked_for_credit = false;
    ask_for_credit(one);
  }

  // Receiving ------------------------------------------------------------------------------------------------------------

  [[nodiscard]] static constexpr u32 in_packets(u32 size) { return (size + (L.receive_packet - 1)) / L.receive_packet; }

  [[nodiscard]] u32 wanted_window(const connection& c) const {
    return budget_.share(in_packets(c.in.promised()), L.buffer_packets()) * L.receive_packet;
  }
  void open_window(connection& c) {
    const u32 before = in_packets(c.in.promised());
    c.in.open(wanted_window(c));
    budget_.changed(before, in_packets(c.in.promised()));
  }
  void count_read(connection& c, u32 size) {
    const u32 before = in_packets(c.in.promised());
    c.in.consume(size);
    budget_.changed(before, in_packets(c.in.promised()));
  }

  [[nodiscard]] const_bytes unread(const connection& c) {
    const u16 buffer = static_cast<u16>(c.first_received - 1);
    return {packets_.received(buffer) + c.read_up_to, packets_.filled(buffer) - c.read_up_to};
  }
  /// The first `size` bytes of `unread()` are done with.
  void consume(u16 one, u32 size) {
    connection& c = table_[one];
    count_read(c, size);
    c.read_up_to += size;
    const u16 buffer = static_cast<u16>(c.first_received - 1);
    if (c.read_up_to < packets_.filled(buffer)) return;
    c.read_up_to = 0;
    c.first_received = packets_.after(buffer);
    if (c.first_received == 0) c.last_received = 0;
    packets_.give_back(buffer);
  }
  void discard_unread(u16 one) {
    while (table_[one].first_received != 0) consume(one, static_cast<u32>(unread(table_[one]).size()));
  }

  /// The peer hears of room when half its window would open.
  void after_reading(u16 one) {
    connection& c = table_[one];
    if (c.now != state::established) return;
    if (c.first_received == 0 && c.peer_gave_up == static_cast<u8>(ends::both)) {
      finish(one, errc::peer_closed, true);
    } else {
      const u32 wanted = wanted_window(c);
      if (c.in.gain(wanted) < (wanted + 1) / 2) return;
      owe(one, detail::owes_credit);
    }
    send_owed();
  }
  [[nodiscard]] static errc nothing_to_read(const connection& c) {
    if (c.now == state::ended) return c.why;
    if (covers(c.peer_gave_up, ends::send)) return errc::peer_closed;
    return covers(c.gave_up, ends::receive) ? errc::invalid_argument : errc::not_ready;
  }

  // Connections ----------------------------------------------------------------------------------------------------------

  [[nodiscard]] socket name_of(u16 one) const { return {one, table_[one].generation}; }
  void forget_name(u16 one) {
    discard_unread(one);
    ++table_[one].generation;
    table_[one].news = 0;
    to_tell_.remove(all(), one);
  }
  [[nodiscard]] result<u16> find(socket which) const {
    if (which.slot >= L.connections || (which.generation & 1) == 0) return errc::stale_handle;
    if (table_[which.slot].generation != which.generation) return errc::stale_handle;
    return which.slot;
  }
  [[nodiscard]] detail::listener* listener_at(u32 port) {
    for (detail::listener& one : listeners_)
      if (one.backlog != 0 && one.port == port) return &one;
    return nullptr;
  }

  [[nodiscard]] result<u16> add(u32 local_port, address peer, state now) {
    if (table_.is_full() && !closing_.empty()) {  // whoever has waited longest for the peer's agreement does without
      finish(closing_.first(), errc::canceled, true);
      send_owed();
    }
    VIRTIO_TRY_ASSIGN(const u16 one, table_.add(local_port, peer, false));
    table_[one].now = now;
    return one;
  }

  void tell(u16 one, u8 what) {
    connection& c = table_[one];
    if ((c.generation & 1) == 0) return;  // nobody has its name any more
    c.news = static_cast<u8>(c.news | what);
    if (c.accepted) to_tell_.push(all(), one);
  }

  /// The end of a connection. Who has its name may still read what arrived, and then learns `why`.
  void finish(u16 one, errc why, bool peer_must_hear) {
    connection& c = table_[one];
    forget_unsent(one);
    c.owed = 0;
    c.wants_room = false;
    to_send_.remove(all(), one);
    thirsty_.remove(all(), one);
    c.why = why;
    c.in.close();
    const bool known = (c.generation & 1) != 0 && (c.accepted || c.first_received != 0);
    c.now = known ? state::ended : state::leaving;
    if (known) tell(one, ready::readable | ready::closed);
    else if (!c.accepted) leave_line(one);
    if (peer_must_hear) owe(one, detail::owes_reset);
    else if (!known) release(one);
  }
  /// The peer was first: RST never answers RST.
  void need_not_reset(u16 one) {
    table_[one].owed = 0;
    to_send_.remove(all(), one);
    if (table_[one].now == state::leaving) release(one);
  }
  /// A connection that has ended and whose name is gone.
  void leave(u16 one) {
    table_[one].now = state::leaving;
    if ((table_[one].owed & detail::owes_reset) == 0) release(one);
  }
  void release(u16 one) {
    forget_unsent(one);
    to_send_.remove(all(), one);
    to_tell_.remove(all(), one);
    thirsty_.remove(all(), one);
    closing_.remove(all(), one);
    discard_unread(one);
    table_.remove(one);
  }
  void forget_unsent(u16 one) {
    if (table_[one].gathered == 0) return;
    packets_.drop(table_[one].gathered);
    ungather(one);
    table_[one].owed = static_cast<u8>(table_[one].owed & ~detail::owes_data);
  }
  /// Out of the line of those who wait to be accepted.
  void leave_line(u16 one) {
    detail::listener* const here = listener_at(table_[one].local_port);
    here->line.remove(all(), one);
    --here->waiting;
    to_tell_.remove(all(), one);
  }

  void end_all(errc why) {
    for (u16 one = 0; one < L.connections; ++one)
      if (table_[one].now != state::unused && table_[one].now != state::ended) finish(one, why, false);
    reply_count_ = 0;
  }
  /// The device goes down, and every connection with it. Returns `why`, or `device_broken`.
  [[nodiscard]] errc fall(errc why) {
    why = packets_.take_down(why);
    end_all(why);
    return why;
  }
  /// Before a start: as if there had never been anything.
  void forget() {
    to_send_ = {};
    to_tell_ = {};
    closing_ = {};
    gathering_ = {};
    thirsty_ = {};
    for (detail::listener& one : listeners_) one = {};
    first_reply_ = reply_count_ = 0;
  }

  [[nodiscard]] result<void> read_cid() {
    u64 said = 0;
    const auto fill_in = [this](u64& picture) -> result<void> {
      VIRTIO_TRY_ASSIGN(picture, life().device().transport().template config<u64>(config::guest_cid));
      return {};
    };
    VIRTIO_TRY(read_config(life().device().transport(), said, fill_in));
    cid_ = static_cast<u32>(said);  // its upper half is reserved
    return {};
  }

  u32 cid_ = 0;
  u32 next_port_ = 0;
  receive_budget budget_{};
  u16 first_reply_ = 0;
  u16 reply_count_ = 0;
  u8 polls_ = 0;
  detail::line_of<&connection::to_send> to_send_{};
  detail::line_of<&connection::to_tell> to_tell_{};
  detail::line_of<&connection::in_line> closing_{};
  detail::line_of<&connection::gathering> gathering_{};
  detail::line_of<&connection::thirsty> thirsty_{};  // wait for a send buffer
  detail::packet_queues<P, T, Q, L> packets_{};
  stranger replies_[L.replies]{};
  detail::listener listeners_[L.listeners]{};
  detail::connection_table<L.connections> table_{};
};

}  // namespace virtio::vsock
