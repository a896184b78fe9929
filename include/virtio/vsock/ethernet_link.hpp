// SPDX-License-Identifier: MIT
// A network without a network card: a `net::link` whose frames travel in one stream of a socket device, to gvproxy (CID
// 2, port 1024) or another program with its protocol. The link connects, sends a request that has no answer, waits for
// the settle delay, and then passes frames both ways. If the stream ends or has lost its framing, the link connects
// again, after a pause that grows.
//
//   sockets_t sockets;                                     // a vsock::device with `limits::pieces`
//   vsock::ethernet_link<sockets_t, milliseconds> link;    // `milliseconds{}()` is a clock
//   sockets.start(…);  link.start(sockets);
//   for (;;) { link.poll(); if (link.state() == net::link_state::up) … }
//
// A received frame is shown in the buffers in which it arrived. The stream may be split anywhere: a frame can be in
// several buffers. If the program keeps the frame, its buffers are taken out of the stream (`try_take`); they are
// returned when no frame in them is kept or expected. Several links may share a device: `limits::pieces` must be enough
// for one link, plus one piece for each further link.
// Layer: vsock (may include net/link.hpp).
#pragma once

#include <virtio/net/link.hpp>
#include <virtio/vsock/device.hpp>
#include <virtio/vsock/ethernet_framing.hpp>

namespace virtio::vsock {

/// Milliseconds since a fixed moment; never decreasing.
template <class C>
concept millisecond_clock = small_value<C> && requires(const C now) {
  { now() } -> converts_to<u64>;
};

/// The peer of a link, and its time limits in milliseconds.
struct ethernet_options {
  address peer{host_cid, 1024};         // host and port of the program that switches frames
  const_bytes path = text("/connect");  // path of the request, in static storage; empty: no request is sent
  framing frames = framing::hyperkit;   // form of the prefix of each frame
  u16 mtu = net::usual_mtu;             // largest frame without its header, in bytes
  net::mac_address mac{{0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee}};  // gvproxy assigns 192.168.127.2 to this address
  u32 connect = 2000;                                          // until an attempt without an answer is repeated
  /// after the request nothing is sent: gvproxy loses data that arrives before it has taken over the connection
  u32 settle = 200;
  u32 answer = 10'000;    // time for a sign of life after a frame was sent, and for the first frame; 0: no limit
  u32 first_pause = 250;  // before the next attempt; doubles with each attempt until a frame arrives
  u32 most_pause = 8000;  // upper limit of the pause
};

/// `Sockets` is a `vsock::device`, which the program may use for other connections too. All bytes are zero until
/// `start`.
template <class Sockets, millisecond_clock Clock>
class ethernet_link {
  static constexpr limits bounds = Sockets::bounds;
  /// Buffers that a frame can occupy: one that the previous frame left, one with the rest of the prefix, and those that
  /// the frame fills. Any two neighbours of those hold more than one buffer's worth of bytes.
  static constexpr u32 buffers_for(u32 mtu) {
    return 4 + 2 * ((longest_frame(mtu) + most_prefix_bytes - 1) / bounds.receive_packet);
  }
  static_assert(
      bounds.guaranteed_window() >= 2 * (longest_frame(net::usual_mtu) + most_prefix_bytes),
      "vsock::limits: a frame of 1518 bytes would not always fit into the window: a larger receive_buffer, or receive_packet if "
      "there is a receive_pool");
  static_assert(
      bounds.pieces >= buffers_for(net::usual_mtu),
      "vsock::limits: ethernet_link takes frames out of the stream: `pieces` must be as many as the buffers that one can lie in");
  static_assert(u64{bounds.send_packet} * bounds.send_packets >= longest_frame(net::usual_mtu) + most_prefix_bytes,
                "vsock::limits: a frame of 1518 bytes does not fit into the send buffers");

 public:
  /// The largest MTU: the longest frame must fit into half of the window that the peer has for certain, and
  /// `limits::pieces` must be enough for all buffers that it can occupy.
  static constexpr u32 largest_mtu = [] {
    u32 mtu =
        virtio::detail::smaller(u32{65535}, bounds.guaranteed_window() / 2 - most_prefix_bytes) - longest_frame(0);
    if (buffers_for(mtu) > bounds.pieces)
      mtu = ((bounds.pieces - 4u) / 2 + 1) * bounds.receive_packet - longest_frame(0) - most_prefix_bytes;
    return mtu;
  }();

 private:
  static_assert(largest_mtu >= net::usual_mtu && largest_mtu <= 65535);
  static constexpr u32 most_parts = buffers_for(largest_mtu);
  static constexpr u16 most_pieces = 8;  // of a frame to send, including the prefix

 public:
  /// The link has no offloads.
  static constexpr flags<net::offload> may_do{};

  /// Begins to connect; `poll` continues. The link uses `sockets` until `close` or the next `start`. Frames that were
  /// kept no longer belong to the program. Errors: `invalid_argument` (the MTU is below 68, above `largest_mtu`, or too
  /// large for the send buffers).
  [[nodiscard]] result<void> start(Sockets& sockets, const ethernet_options& how = {}, Clock clock = {}) {
    if (how.mtu < 68 || how.mtu > largest_mtu) return errc::invalid_argument;
    if (longest_frame(how.mtu) + most_prefix_bytes > u64{bounds.send_packet} * bounds.send_packets)
      return errc::invalid_argument;
    drop();
    forget_all();
    is_showing_ = false;
    sockets_ = &sockets;
    clock_ = clock;
    how_ = how;
    head_ = prefix_bytes(how.frames);
    const u32 usual = 2 + (longest_frame(how.mtu) - 1) / bounds.receive_packet;  // buffers of a frame
    most_kept_ = 0;
    for (u32 left = bounds.pieces - buffers_for(how.mtu); left >= usual; left -= usual) ++most_kept_;
    why_ = errc::ok;
    pause_ = 0;
    at_ = 0;
    now_ = phase::pausing;
    return {};
  }
  /// Closes the connection. Kept frames stay until `give_back`.
  VIRTIO_NOINLINE_FOR_SIZE void close() {
    now_ = phase::closed;
    if (is_showing_) return;  // `receive_with` closes it after the callback returns
    if (is_named()) (void)sockets_->close(socket_);
    socket_ = {};
    drop();
  }

  /// `link` concept: the address of the options.
  [[nodiscard]] net::mac_address mac() const { return how_.mac; }
  /// `link` concept. A peer that splits frames into small parts can reduce the number of frames that can be kept: then
  /// none is shown until some are returned.
  [[nodiscard]] net::capabilities facts() const { return {how_.mtu, most_pieces - 1, most_kept_, {}}; }
  /// `link` concept: up from the end of the settle delay until the stream ends.
  [[nodiscard]] net::link_state state() const {
    return now_ == phase::up ? net::link_state::up : net::link_state::down;
  }
  /// Why the link last went down or did not come up: the error of `vsock::device` for the connection; `peer_silent` (no
  /// answer in time); `out_of_range` (a length that no frame has); the device's errors. `ok`: it has not failed.
  [[nodiscard]] errc why() const { return why_; }
  /// How often the link came up. If the number has grown, the stack's leases and peers may be out of date.
  [[nodiscard]] u32 times_up() const { return times_up_; }
  /// The stream's name at the device; of no connection between two attempts. The program may inspect the stream and end
  /// it, but not read it.
  [[nodiscard]] socket id() const { return socket_; }

  /// `link` concept: moves packets. Calls `on_event(event)` for events of the device's other connections and listeners.
  /// Errors: the device's, which is then down; the link comes up again some time after the device is started again.
  template <callable_with<event> F>
  [[nodiscard]] result<bool> poll(F&& on_event) {
    if (sockets_ == nullptr) return errc::not_started;
    bool came = false;
    const result<usize> told = sockets_->poll([&](const event& one) {
      if (is_named() && one.which == socket_) came = true;
      else on_event(one);
    });
    const bool changed = step();
    if (!told) return told.error();
    return came || changed || has_frame();
  }
  /// The same, for a program that uses the device only for this link.
  [[nodiscard]] result<bool> poll() {
    return poll([](const event&) {});
  }
  /// The part of `poll` after moving packets, for a program that polls the device itself. True: `state` has changed.
  VIRTIO_NOINLINE_FOR_SIZE bool step() {
    if (now_ == phase::up) [[likely]] {
      if (!sockets_->is_open(socket_)) [[unlikely]]
        return go_down(sockets_->state_of(socket_).error());
      return at_ != never && !is_showing_ && is_due() && check_peer();
    }
    if (is_showing_) return false;
    switch (now_) {
      case phase::pausing:
        if (is_due()) begin();
        return false;
      case phase::connecting: return request();
      case phase::settling:
        if (!sockets_->is_open(socket_)) return go_down(sockets_->state_of(socket_).error());
        // A frame shows that the peer has taken over
        if (!is_due() && sockets_->unread(socket_).value_or(0) == 0) return false;
        return go_up();
      default: return false;
    }
  }
  /// Milliseconds until `poll` has work although nothing has arrived: for a timer that ends a sleep. All ones: none.
  [[nodiscard]] u64 due_in() const {
    if (now_ == phase::closed || at_ == never) return never;
    const u64 now = clock_();
    return at_ > now ? at_ - now : 0;
  }

  /// `link` concept: sends one frame, in one packet with its prefix.
  [[nodiscard]] result<void> try_send(scatter<const_bytes> pieces, net::to_compute compute = {}) {
    if (now_ != phase::up) return errc::not_ready;
    if (pieces.count >= most_pieces) return errc::too_many_pieces;
    const u64 size = pieces.size();
    if (size < net::header_bytes || compute.start != 0) return errc::invalid_argument;
    if (size > u32{how_.mtu} + net::header_bytes) return errc::too_long;
    put_prefix(how_.frames, static_cast<u32>(size), prefix_);
    to_send_[0] = {prefix_, head_};
    for (usize i = 0; i < pieces.count; ++i) to_send_[i + 1] = pieces.first[i];
    const result<void> sent = sockets_->try_send_all(socket_, scatter<const_bytes>{to_send_, pieces.count + 1});
    if (!sent) [[unlikely]]
      return not_sent(sent.error());
    sent_ += static_cast<u32>(size) + head_;
    if (at_ == never && how_.answer != 0) due_after(how_.answer / 2);
    return {};
  }
  /// `link` concept.
  void flush() {
    if (now_ == phase::up) (void)sockets_->flush(socket_);
  }

  /// `link` concept: shows the next frame. Data from before the link went down is shown until it connects again. A
  /// frame is shown only if pieces for all its buffers are free, in case it is kept. Additional errors: `in_use` (the
  /// call is inside a callback that shows bytes of the stream, or `look` has started the link); `canceled` (`look`
  /// returned `keep` but ended the connection at the device or used up the pieces: the frame is not kept).
  template <class F>
    requires requires(F& look, const net::frame& f) {
      { look(f) } -> same_as<net::after_look>;
    }
  [[nodiscard]] result<void> receive_with(F&& look) {
    if (is_showing_) return errc::in_use;
    if (free_names_ == 0 || !look_ahead()) return errc::not_ready;
    if (next_.pieces.count == 0) [[unlikely]] {
      drop();
      // Earlier data of a lost connection is already reported as an error
      if (now_ != phase::pausing) go_down(errc::out_of_range);
      return errc::not_ready;
    }
    const u16 name = static_cast<u16>(free_names_ - 1);
    answered_ = heard_ = true;
    pause_ = 0;
    next_.name = {name, names_[name].generation + 1};
    Sockets& sockets = *sockets_;
    sockets.begin_look();  // the callback may end the connection: its buffers must stay in place until it returns
    is_showing_ = true;
    const net::after_look what = look(static_cast<const net::frame&>(next_));
    sockets.end_look();
    if (!is_showing_) return errc::in_use;
    is_showing_ = false;
    const bool is_kept = what == net::after_look::keep && keep(name, next_.size);
    if (!is_kept) {
      names_[name].generation += 2;
      leave(next_.size + head_);
    }
    if (now_ == phase::closed) [[unlikely]]
      close();
    if (what == net::after_look::keep && !is_kept) [[unlikely]]
      return errc::canceled;
    return {};
  }
  /// `link` concept: returns a kept frame. Errors: `stale_handle`.
  [[nodiscard]] result<void> give_back(net::kept_frame which) {
    if (which.slot >= most_names || (which.generation & 1) == 0 || names_[which.slot].generation != which.generation)
      return errc::stale_handle;
    named& kept = names_[which.slot];
    ++kept.generation;
    kept.next_free = free_names_;
    free_names_ = static_cast<u16>(which.slot + 1);
    result<void> outcome{};
    u16 at = kept.first;
    for (u16 left = kept.count; left != 0; --left) {
      part& one = part_of(at);
      const u16 next = one.next;
      if (--one.frames == 0 && !one.is_queued)
        if (const auto back = release(at); !back) outcome = back;
      at = next;
    }
    return outcome;
  }

  /// Polls until `done()`, as `vsock::device::wait_until`. The next `poll` reports events of other connections.
  template <class Done, class GiveUp = detail::never>
  [[nodiscard]] errc wait_until(waiting why, Done&& done, GiveUp&& give_up = {}) {
    if (sockets_ == nullptr) return errc::not_started;
    const auto ended = [&] {
      (void)step();
      return static_cast<bool>(done());
    };
    return sockets_->wait_until(why, ended, give_up);
  }
  /// `link` concept. A timer must end the sleep too: see `due_in`.
  [[nodiscard]] bool arm() { return sockets_ != nullptr && (has_frame() || sockets_->arm()); }
  /// `link` concept.
  void disarm() {
    if (sockets_ != nullptr) sockets_->disarm();
  }
  /// `link` concept. Only after `start`.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return sockets_->acknowledge_interrupt(); }

 private:
  enum class phase : u8 {
    closed = 0,
    pausing,     // until the next attempt, at `at_`
    connecting,  // the request is sent after the peer has accepted; the attempt ends at `at_`
    settling,    // nothing is sent until `at_`
    up,          // the peer is checked at `at_`, if that is not never
  };

  /// A buffer with bytes of the stream: in the queue of the next bytes, or part of frames that are shown or kept.
  struct part {
    piece held{};
    u16 next = 0;    // index plus one: of the stream, or free
    u16 frames = 0;  // shown or kept
    bool is_queued = false;
  };
  struct named {
    u32 generation = 0;  // odd: of a frame that is shown or kept
    u16 first = 0;       // index plus one
    u16 count = 0;
    u16 next_free = 0;  // index plus one
  };

  static constexpr u64 never = ~u64{0};
  static constexpr u16 most_names = static_cast<u16>(virtio::detail::smaller(u32{bounds.pieces} * 4, u32{0xfffe}));

  // The connection ----------------------------------------------------------------------------------------------------

  [[nodiscard]] bool is_named() const { return socket_.generation != 0; }
  [[nodiscard]] bool is_due() const { return clock_() >= at_; }
  void due_after(u32 milliseconds) { at_ = clock_() + milliseconds; }

  void begin() {
    drop();
    const auto made = sockets_->try_connect(how_.peer);
    if (!made) return static_cast<void>(go_down(made.error()));
    socket_ = *made;
    answered_ = heard_ = false;
    checks_ = 0;
    due_after(how_.connect);
    now_ = phase::connecting;
  }
  /// Sends the request after the peer has accepted. Returns as `step`.
  bool request() {
    const const_bytes parts[] = {text("POST "), how_.path, text(" HTTP/1.1\r\nHost: gv\r\nContent-Length: 0\r\n\r\n")};
    const result<void> sent = how_.path.empty() ? sockets_->state_of(socket_) : sockets_->try_send_all(socket_, parts);
    if (sent) {
      due_after(how_.settle);
      now_ = phase::settling;
      return how_.settle == 0 && go_up();
    }
    const bool waits =
        sent.error() == errc::not_ready || sent.error() == errc::no_credit || sent.error() == errc::no_buffer;
    if (waits && !is_due()) return false;
    drop();
    (void)go_down(waits ? errc::peer_silent : sent.error());
    return false;
  }
  bool go_up() {
    now_ = phase::up;
    at_ = never;
    ++times_up_;
    return true;
  }
  /// Takes the link down until the next attempt, after a pause. Data that has arrived can be received until then.
  VIRTIO_NOINLINE_FOR_SIZE bool go_down(errc why) {
    const bool was_up = now_ == phase::up;
    why_ = why;
    pause_ = pause_ == 0 ? how_.first_pause
                         : virtio::detail::smaller(virtio::detail::smaller(pause_, u32{1} << 30) * 2, how_.most_pause);
    due_after(pause_);
    now_ = phase::pausing;
    return was_up;
  }
  /// Ends the connection at once, and drops data that was not shown.
  VIRTIO_NOINLINE_FOR_SIZE void drop() {
    if (is_named()) (void)sockets_->abort(socket_);
    socket_ = {};
    forget_queue();
  }
  /// After a reset of the device, its memory and the queued pieces are no longer valid.
  void forget_what_is_gone() {
    if (first_ != 0 && !sockets_->is_held(part_of(first_).held)) [[unlikely]]
      forget_queue();
  }
  void forget_queue() {
    while (first_ != 0) (void)pop();
    queued_ = from_ = 0;
  }
  [[gnu::cold]] result<void> not_sent(errc why) {
    // The frame is within the limit, so a peer that can never hold it has withdrawn room, for now.
    if (why == errc::no_credit || why == errc::no_buffer || why == errc::too_long) return errc::queue_full;
    (void)go_down(why);
    return errc::not_ready;
  }
  /// Half the time for an answer has passed since a frame was sent. A peer may vanish without a packet:
  /// vhost-device-vsock sends none for a peer to which it could not write. A sign of life is a frame, or that the peer
  /// has read something, which `probe` requests. A peer that has lost its framing reads too, but has never sent a
  /// frame. True: the peer has gone.
  [[gnu::cold]] bool check_peer() {
    const u32 unread = sockets_->undelivered(socket_).value_or(0), read = sent_ - unread;
    const bool lives = heard_ || unread == 0 || read != read_;
    heard_ = false;
    read_ = read;
    at_ = never;
    if (lives && answered_) {
      checks_ = 0;
      if (unread != 0) due_after(how_.answer / 2);
      return false;
    }
    if (checks_++ != 0) {
      drop();
      return go_down(errc::peer_silent);
    }
    (void)sockets_->probe(socket_);
    due_after(how_.answer - how_.answer / 2);
    return false;
  }

  [[nodiscard]] part& part_of(u16 one) { return parts_[usize{one} - 1]; }

  // The stream --------------------------------------------------------------------------------------------------------

  // The stream is the queue, then the device's unread bytes. A frame is looked at there; if it is kept, its buffers are
  // moved into the queue first.

  /// Whether `receive_with` has a frame to process.
  [[nodiscard]] bool has_frame() { return !is_showing_ && free_names_ != 0 && look_ahead(); }
  /// Returns whether `next_` has a whole frame that may be shown, or a length that no frame has, then without pieces.
  [[nodiscard]] bool look_ahead() {
    if (first_ != 0) [[unlikely]]
      return look_behind_queue();
    const const_bytes here = sockets_->peek_first(socket_);
    const u32 head = head_;
    if (here.size() < head) return !here.empty() && look_behind_queue();
    next_.size = get_prefix(how_.frames, here.data());
    if (!is_frame_size(next_.size, how_.mtu)) [[unlikely]] {
      next_.pieces.count = 0;
      return true;
    }
    if (here.size() < head + next_.size) return look_behind_queue();
    shown_[0] = {here.data() + head, next_.size};
    next_.pieces = {shown_, 1};
    return can_take(1);
  }
  /// The same, for bytes that may be in several buffers.
  [[nodiscard, gnu::noinline]] bool look_behind_queue() {
    forget_what_is_gone();
    next_.pieces = {};
    // First all buffers that a prefix and the longest frame can occupy, then only the frame's part.
    u32 queued = 0;
    for (u16 at = first_; at != 0 && queued < most_parts; at = part_of(at).next)
      shown_[queued++] = part_of(at).held.data;
    const scatter<const_bytes> all{shown_,
                                   queued + sockets_->peek_pieces(socket_, shown_ + queued, most_parts - queued)};
    const u64 there = all.size();
    u32 before = from_ + head_;
    if (there < before) return false;
    u8 prefix[most_prefix_bytes];
    detail::copy_out(all, from_, prefix, head_);
    next_.size = get_prefix(how_.frames, prefix);
    if (!is_frame_size(next_.size, how_.mtu)) return true;
    if (there < before + next_.size) return false;
    const_bytes* last = shown_;
    for (; last->size() <= before; ++last) before -= static_cast<u32>(last->size());
    const_bytes* const first = last;
    *last = last->part(before, last->size());
    u32 left = next_.size;
    for (; last->size() < left; ++last) left -= static_cast<u32>(last->size());
    *last = last->part(0, left);
    next_.pieces = {first, static_cast<usize>(last + 1 - first)};
    const u32 used = static_cast<u32>(last + 1 - shown_);
    return can_take(used > queued ? static_cast<u16>(used - queued) : u16{0});
  }
  /// Whether as many buffers can be moved into the queue.
  [[nodiscard]] bool can_take(u16 buffers) const {
    return buffers == 0 || (buffers <= parts_left_ && buffers <= sockets_->pieces_left());
  }
  [[nodiscard]] bool take() {
    if (free_parts_ == 0) return false;
    const result<piece> got = sockets_->try_take(socket_, holding::outside_window);
    if (!got) return false;
    const u16 one = free_parts_;
    part& taken = part_of(one);
    free_parts_ = taken.next;
    --parts_left_;
    taken = {*got, 0, 0, true};
    if (first_ == 0) first_ = one;
    else part_of(last_).next = one;
    last_ = one;
    queued_ += static_cast<u32>(got->data.size());
    return true;
  }
  /// Drops the next `n` bytes.
  [[gnu::always_inline]] void leave(u32 n) {
    if (first_ != 0) [[unlikely]] {
      const u32 here = virtio::detail::smaller(n, queued_);
      skip(here);
      n -= here;
    }
    (void)sockets_->skip(socket_, n);
  }
  /// Removes `n` bytes from the front of the queue, and buffers that end there.
  VIRTIO_NOINLINE_FOR_SIZE void skip(u32 n) {
    queued_ -= n;
    for (from_ += n; first_ != 0; from_ -= pop())
      if (from_ < part_of(first_).held.data.size()) return;
  }
  /// Keeps the next frame, of `size` bytes, under that name. False: the stream is gone.
  [[nodiscard, gnu::noinline]] bool keep(u16 name, u32 size) {
    named& kept = names_[name];
    const u32 head = head_;
    while (queued_ < head + size)
      if (!take()) return false;
    skip(head);
    u16* at = &free_names_;  // the callback may have returned others, which are before it now
    while (*at != name + 1) at = &names_[*at - 1].next_free;
    *at = kept.next_free;
    ++kept.generation;
    kept.first = first_;
    kept.count = 0;
    for (;;) {
      ++kept.count;
      ++part_of(first_).frames;
      const u32 here = virtio::detail::smaller(size, static_cast<u32>(part_of(first_).held.data.size()) - from_);
      size -= here;
      skip(here);
      if (size == 0) return true;
    }
  }
  /// Removes the first buffer from the queue and returns its size.
  VIRTIO_NOINLINE_FOR_SIZE u32 pop() {
    const u16 one = first_;
    part& gone = part_of(one);
    const u32 size = static_cast<u32>(gone.held.data.size());
    first_ = one == last_ ? u16{0} : gone.next;
    gone.is_queued = false;
    if (gone.frames == 0) (void)release(one);
    return size;
  }
  VIRTIO_NOINLINE_FOR_SIZE result<void> release(u16 one) {
    part& gone = part_of(one);
    gone.next = free_parts_;
    free_parts_ = one;
    ++parts_left_;
    return sockets_->give_back(gone.held);
  }
  /// Keeps nothing, and makes earlier names stale.
  void forget_all() {
    free_parts_ = free_names_ = 0;
    for (u16 i = bounds.pieces; i != 0; --i) {
      if (part_of(i).frames != 0) (void)sockets_->give_back(part_of(i).held);
      part_of(i) = {};
      part_of(i).next = free_parts_;
      free_parts_ = i;
    }
    parts_left_ = bounds.pieces;
    for (u16 i = most_names; i != 0; --i) {
      names_[i - 1].generation = (names_[i - 1].generation + 1) & ~u32{1};
      names_[i - 1].next_free = free_names_;
      free_names_ = i;
    }
  }

  Sockets* sockets_ = nullptr;
  u64 at_ = 0;
  socket socket_{};
  phase now_ = phase::closed;
  bool answered_ = false;  // a frame has arrived on this connection
  bool heard_ = false;     // a frame has arrived since the last check
  u8 checks_ = 0;
  bool is_showing_ = false;
  errc why_ = errc::ok;
  u16 first_ = 0, last_ = 0;             // index plus one: the queue
  u32 from_ = 0;                         // offset in its first buffer
  u32 queued_ = 0;                       // bytes in it
  u16 free_parts_ = 0, free_names_ = 0;  // index plus one
  u16 parts_left_ = 0;
  u16 most_kept_ = 0;
  u32 sent_ = 0, read_ = 0;  // bytes of frames, and how many of them the peer had read at the last check
  u32 pause_ = 0;
  u32 head_ = 0;  // bytes of a prefix
  u32 times_up_ = 0;
  ethernet_options how_{.peer = {},
                        .path = {},
                        .frames = {},
                        .mtu = 0,
                        .mac = {},
                        .connect = 0,
                        .settle = 0,
                        .answer = 0,
                        .first_pause = 0,
                        .most_pause = 0};
  VIRTIO_EMPTY_MEMBER Clock clock_{};
  u8 prefix_[most_prefix_bytes]{};
  // For `try_send`; a member, since an array on the stack is initialized on each call
  const_bytes to_send_[most_pieces]{};
  const_bytes shown_[most_parts]{};  // for `receive_with`, for the same reason
  net::frame next_{};                // for the same reason
  part parts_[bounds.pieces]{};
  named names_[most_names]{};
};

}  // namespace virtio::vsock
