// SPDX-License-Identifier: MIT
// A network without a network card: a `net::link` whose frames travel in one stream of a socket device, to gvproxy (CID 2, port 1024) or to
// another program with its protocol. The link connects, sends a request, for which there is no answer, waits for the settle delay, and then
// passes frames both ways. When the stream ends or has lost its framing, the link connects again, after a pause that grows.
//
//   sockets_t sockets;                                     // a vsock::device with `limits::pieces`
//   vsock::ethernet_link<sockets_t, milliseconds> link;    // `milliseconds{}()` is a clock
//   sockets.start(…);  link.start(sockets);
//   for (;;) { link.poll(); if (link.state() == net::link_state::up) … }
//
// A received frame is shown in the buffers that it arrived in. The stream may be cut anywhere: a frame can lie in several. When the program
// keeps it, its buffers are taken out of the stream (`try_take`); they are given back when no frame in them is kept or expected. Several
// links may share a device: `limits::pieces` must be enough for one and one more for each further link.
// Layer: vsock (may include net/link.hpp).
#pragma once

#include <virtio/net/link.hpp>
#include <virtio/vsock/device.hpp>
#include <virtio/vsock/ethernet_framing.hpp>

namespace virtio::vsock {

/// Milliseconds since any moment; never fewer than before.
template <class C>
concept millisecond_clock = small_value<C> && requires(const C now) {
  { now() } -> converts_to<u64>;
};

/// Where a link leads, and its patience in milliseconds.
struct ethernet_options {
  address peer{host_cid, 1024};
  const_bytes path = text("/connect");  // that the request names, in static storage; none: no request, and none is waited for
  framing frames = framing::hyperkit;
  u16 mtu = net::usual_mtu;
  net::mac_address mac{{0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee}};  // gvproxy gives 192.168.127.2 to this one
  u32 connect = 2000;     // until a peer that does not answer is asked again
  u32 settle = 200;       // after the request nothing is sent: gvproxy loses what comes before it has taken the connection over
  u32 answer = 10'000;    // for a sign of life of the peer after a frame was sent, and for the first frame of all. 0: no limit
  u32 first_pause = 250;  // before the next attempt; twice as long each time, until a frame has come
  u32 most_pause = 8000;
};

/// `Sockets` is a `vsock::device`, which the program may use for other connections as well. All-zero until `start`.
template <class Sockets, millisecond_clock Clock>
class ethernet_link {
  static constexpr limits bounds = Sockets::bounds;
  /// Buffers that a frame can lie in: one that is left of the frame before, one with the rest of the prefix, and of those that it fills any
  /// two neighbours are more than one buffer full.
  static constexpr u32 buffers_for(u32 mtu) { return 4 + 2 * ((longest_frame(mtu) + most_prefix_bytes - 1) / bounds.receive_packet); }
  static_assert(bounds.guaranteed_window() >= 2 * (longest_frame(net::usual_mtu) + most_prefix_bytes),
                "vsock::limits: a frame of 1518 bytes would not always fit into the window: a larger receive_buffer, or receive_packet if "
                "there is a receive_pool");
  static_assert(bounds.pieces >= buffers_for(net::usual_mtu),
                "vsock::limits: ethernet_link takes frames out of the stream: `pieces` must be as many as the buffers that one can lie in");
  static_assert(u64{bounds.send_packet} * bounds.send_packets >= longest_frame(net::usual_mtu) + most_prefix_bytes,
                "vsock::limits: a frame of 1518 bytes does not fit into the send buffers");

 public:
  /// The largest MTU: the longest frame must fit into half of the window that the peer is sure of, and there must be
  /// `limits::pieces` for all the buffers that it can lie in.
  static constexpr u32 largest_mtu = [] {
    u32 mtu = virtio::detail::smaller(u32{65535}, bounds.guaranteed_window() / 2 - most_prefix_bytes) - longest_frame(0);
    if (buffers_for(mtu) > bounds.pieces)
      mtu = ((bounds.pieces - 4u) / 2 + 1) * bounds.receive_packet - longest_frame(0) - most_prefix_bytes;
    return mtu;
  }();

 private:
  static_assert(largest_mtu >= net::usual_mtu && largest_mtu <= 65535);
  static constexpr u32 most_parts = buffers_for(largest_mtu);
  static constexpr u16 most_pieces = 8;  // of a frame to send, the prefix included

 public:
  static constexpr flags<net::offload> may_do{};

  /// Begins to connect, by `poll`. `sockets` is used until `close`, or the next `start`. Frames that were kept are no longer the program's.
  /// Errors: `invalid_argument`, the MTU is below 68, or above `largest_mtu`, or more than the send buffers hold.
  [[nodiscard]] result<void> start(Sockets& sockets, const ethernet_options& how = {}, Clock clock = {}) {
    if (how.mtu < 68 || how.mtu > largest_mtu) return errc::invalid_argument;
    if (longest_frame(how.mtu) + most_prefix_bytes > u64{bounds.send_packet} * bounds.send_packets) return errc::invalid_argument;
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
  /// Closes the connection. What is kept stays until `give_back`.
  VIRTIO_NOINLINE_FOR_SIZE void close() {
    now_ = phase::closed;
    if (is_showing_) return;  // `receive_with` does it when the frame is no longer looked at
    if (is_named()) (void)sockets_->close(socket_);
    socket_ = {};
    drop();
  }

  [[nodiscard]] net::mac_address mac() const { return how_.mac; }
  /// A peer that cuts frames into scraps can make it fewer that can be kept: then no more are shown until some were given back.
  [[nodiscard]] net::capabilities facts() const {
    return {how_.mtu, most_pieces - 1, most_kept_, {}};
  }
  [[nodiscard]] net::link_state state() const { return now_ == phase::up ? net::link_state::up : net::link_state::down; }
  /// Why the link went down last, or did not come up: what `vsock::device` says of the connection; `peer_silent`, it did not answer in
  /// time; `out_of_range`, a length that no frame has; the device's. `ok`: it never did.
  [[nodiscard]] errc why() const { return why_; }
  /// How often it came up. When the number has grown, the stack's leases and peers may be out of date.
  [[nodiscard]] u32 times_up() const { return times_up_; }
  /// The stream's name at the device; of no connection between two attempts. The program may look at the stream and end it, but not read.
  [[nodiscard]] socket id() const { return socket_; }

  /// Moves packets, and calls `on_event(event)` for what happened to other connections of the device, and to listeners. Else as the concept
  /// says. Errors: the device's, which is down then; the link comes up again some time after the device was started again.
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
  /// The same for a program with nothing else at the device.
  [[nodiscard]] result<bool> poll() {
    return poll([](const event&) {});
  }
  /// What `poll` does but moving packets: for a program that polls the device itself. True: `state` has changed.
  VIRTIO_NOINLINE_FOR_SIZE bool step() {
    if (now_ == phase::up) [[likely]] {
      if (!sockets_->is_open(socket_)) [[unlikely]] return go_down(sockets_->state_of(socket_).error());
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
        if (!is_due() && sockets_->unread(socket_).value_or(0) == 0) return false;  // a frame says that the peer has taken over
        return go_up();
      default: return false;
    }
  }
  /// Milliseconds until `poll` has something to do although nothing has come: for a timer that ends a sleep. All ones: no such thing.
  [[nodiscard]] u64 due_in() const {
    if (now_ == phase::closed || at_ == never) return never;
    const u64 now = clock_();
    return at_ > now ? at_ - now : 0;
  }

  /// Sends one frame, in one packet with its prefix. Errors: those of the concept.
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
    if (!sent) [[unlikely]] return not_sent(sent.error());
    sent_ += static_cast<u32>(size) + head_;
    if (at_ == never && how_.answer != 0) due_after(how_.answer / 2);
    return {};
  }
  void flush() {
    if (now_ == phase::up) (void)sockets_->flush(socket_);
  }

  /// Shows the next frame. What came before the link went down is still shown until it connects again. A frame is not shown before there
  /// are pieces for all its buffers, in case that it is kept. Errors also: `in_use`, the call comes from inside a callback that is shown
  /// bytes of the stream, or `look` has started the link; `canceled`, `look` said `keep`, but has ended the connection at the device, or
  /// used up the pieces: the frame is not kept.
  template <class F>
    requires requires(F& look, const net::frame& f) { { look(f) } -> same_as<net::after_look>; }
  [[nodiscard]] result<void> receive_with(F&& look) {
    if (is_showing_) return errc::in_use;
    if (free_names_ == 0 || !look_ahead()) return errc::not_ready;
    if (next_.pieces.count == 0) [[unlikely]] {
      drop();
      if (now_ != phase::pausing) go_down(errc::out_of_range);  // what has come of a connection that is lost already counts once
      return errc::not_ready;
    }
    const u16 name = static_cast<u16>(free_names_ - 1);
    answered_ = heard_ = true;
    pause_ = 0;
    next_.name = {name, names_[name].generation + 1};
    Sockets& sockets = *sockets_;
    sockets.begin_look();  // the callback may end the connection: its buffers must not go to the device meanwhile
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
    if (now_ == phase::closed) [[unlikely]] close();
    if (what == net::after_look::keep && !is_kept) [[unlikely]] return errc::canceled;
    return {};
  }
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

  /// Polls until `done()`, as `vsock::device::wait_until`. Events of other connections are told by the next `poll`.
  template <class Done, class GiveUp = detail::never>
  [[nodiscard]] errc wait_until(waiting why, Done&& done, GiveUp&& give_up = {}) {
    if (sockets_ == nullptr) return errc::not_started;
    const auto ended = [&] {
      (void)step();
      return static_cast<bool>(done());
    };
    return sockets_->wait_until(why, ended, give_up);
  }
  /// A timer must end the sleep as well: see `due_in`.
  [[nodiscard]] bool arm() { return sockets_ != nullptr && (has_frame() || sockets_->arm()); }
  void disarm() {
    if (sockets_ != nullptr) sockets_->disarm();
  }
  /// Only after `start`.
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return sockets_->acknowledge_interrupt(); }

 private:
  enum class phase : u8 {
    closed = 0,
    pausing,     // until the next attempt, at `at_`
    connecting,  // the request is sent when the peer has accepted, and that is due at `at_`
    settling,    // nothing is sent until `at_`
    up,          // and at `at_`, if that is not never, the peer is looked at
  };

  /// A buffer with bytes of the stream, in the queue of those that hold what is next, or of frames that are shown or kept.
  struct part {
    piece held{};
    u16 next = 0;    // and one: of the stream, or free
    u16 frames = 0;  // shown or kept
    bool is_queued = false;
  };
  struct named {
    u32 generation = 0;  // odd: of a frame that is shown or kept
    u16 first = 0;       // and one
    u16 count = 0;
    u16 next_free = 0;   // and one
  };

  static constexpr u64 never = ~u64{0};
  static constexpr u16 most_names = static_cast<u16>(virtio::detail::smaller(u32{bounds.pieces} * 4, u32{0xfffe}));

  // The connection ---------------------------------------------------------------------------------------------------------

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
  /// Sends the request once the peer has accepted. True as `step`.
  bool request() {
    const const_bytes parts[] = {text("POST "), how_.path, text(" HTTP/1.1\r\nHost: gv\r\nContent-Length: 0\r\n\r\n")};
    const result<void> sent = how_.path.empty() ? sockets_->state_of(socket_) : sockets_->try_send_all(socket_, parts);
    if (sent) {
      due_after(how_.settle);
      now_ = phase::settling;
      return how_.settle == 0 && go_up();
    }
    const bool waits = sent.error() == errc::not_ready || sent.error() == errc::no_credit || sent.error() == errc::no_buffer;
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
  /// Down, and the next attempt after a pause. What has come already can be received until then.
  VIRTIO_NOINLINE_FOR_SIZE bool go_down(errc why) {
    const bool was_up = now_ == phase::up;
    why_ = why;
    pause_ = pause_ == 0 ? how_.first_pause : virtio::detail::smaller(virtio::detail::smaller(pause_, u32{1} << 30) * 2, how_.most_pause);
    due_after(pause_);
    now_ = phase::pausing;
    return was_up;
  }
  /// The connection is over at once, with what has come and was not shown.
  VIRTIO_NOINLINE_FOR_SIZE void drop() {
    if (is_named()) (void)sockets_->abort(socket_);
    socket_ = {};
    forget_queue();
  }
  /// After a reset of the device its memory is not ours, nor what the queue has.
  void forget_what_is_gone() {
    if (first_ != 0 && !sockets_->is_held(part_of(first_).held)) [[unlikely]] forget_queue();
  }
  void forget_queue() {
    while (first_ != 0) (void)pop();
    queued_ = from_ = 0;
  }
  [[gnu::cold]] result<void> not_sent(errc why) {
    // It is no longer than frames may be: a peer that can never hold it has taken back its room, for now.
    if (why == errc::no_credit || why == errc::no_buffer || why == errc::too_long) return errc::queue_full;
    (void)go_down(why);
    return errc::not_ready;
  }
  /// Half the time for an answer has passed since a frame was sent. A peer that has gone may not say so: vhost-device-vsock does not of one
  /// that it could not write to. Its sign of life is a frame, or that it has read something, for which it is asked. One that is out of step
  /// reads, too, but has never sent a frame. True: it has gone.
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

  // The stream -------------------------------------------------------------------------------------------------------------

  // It is what the queue has, then what the device has. A frame is looked at there; when it is kept, its buffers come into the queue first.

  /// Whether `receive_with` has something to do.
  [[nodiscard]] bool has_frame() { return !is_showing_ && free_names_ != 0 && look_ahead(); }
  /// A whole frame that may be shown, and `next_` says where it lies; or a length that no frame has, and it has no pieces. False: neither.
  [[nodiscard]] bool look_ahead() {
    if (first_ != 0) [[unlikely]] return look_behind_queue();
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
  /// The same of what may lie in several buffers.
  [[nodiscard, gnu::noinline]] bool look_behind_queue() {
    forget_what_is_gone();
    next_.pieces = {};
    // All that a prefix and the longest frame can lie in; then that of it which is the frame.
    u32 queued = 0;
    for (u16 at = first_; at != 0 && queued < most_parts; at = part_of(at).next) shown_[queued++] = part_of(at).held.data;
    const scatter<const_bytes> all{shown_, queued + sockets_->peek_pieces(socket_, shown_ + queued, most_parts - queued)};
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
  /// Whether so many buffers can come into the queue.
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
  /// The next `n` bytes are done with.
  [[gnu::always_inline]] void leave(u32 n) {
    if (first_ != 0) [[unlikely]] {
      const u32 here = virtio::detail::smaller(n, queued_);
      skip(here);
      n -= here;
    }
    (void)sockets_->skip(socket_, n);
  }
  /// Takes `n` bytes off the queue's front; buffers that end there leave it.
  VIRTIO_NOINLINE_FOR_SIZE void skip(u32 n) {
    queued_ -= n;
    for (from_ += n; first_ != 0; from_ -= pop())
      if (from_ < part_of(first_).held.data.size()) return;
  }
  /// The frame of `size` bytes that is next is kept by that name. False: it is gone.
  [[nodiscard, gnu::noinline]] bool keep(u16 name, u32 size) {
    named& kept = names_[name];
    const u32 head = head_;
    while (queued_ < head + size)
      if (!take()) return false;
    skip(head);
    u16* at = &free_names_;  // the callback may have given others back, which are in front of it now
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
  /// The first buffer leaves the queue: how many bytes it had.
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
  /// Nothing is kept, and names of before are stale.
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
  bool answered_ = false;  // a frame has come on this connection
  bool heard_ = false;     // and since the peer was looked at
  u8 checks_ = 0;
  bool is_showing_ = false;
  errc why_ = errc::ok;
  u16 first_ = 0, last_ = 0;  // and one: the queue
  u32 from_ = 0;              // of its first buffer
  u32 queued_ = 0;            // bytes in it
  u16 free_parts_ = 0, free_names_ = 0;  // and one
  u16 parts_left_ = 0;
  u16 most_kept_ = 0;
  u32 sent_ = 0, read_ = 0;  // bytes of frames, and of those what the peer had read when it was looked at
  u32 pause_ = 0;
  u32 head_ = 0;  // bytes of a prefix
  u32 times_up_ = 0;
  ethernet_options how_{.peer = {}, .path = {}, .frames = {}, .mtu = 0, .mac = {}, .connect = 0, .settle = 0, .answer = 0, .first_pause = 0,
                        .most_pause = 0};
  VIRTIO_EMPTY_MEMBER Clock clock_{};
  u8 prefix_[most_prefix_bytes]{};
  const_bytes to_send_[most_pieces]{};  // during `try_send`; here, since one on the stack costs its initialization each time
  const_bytes shown_[most_parts]{};     // during `receive_with`; likewise
  net::frame next_{};                   // likewise
  part parts_[bounds.pieces]{};
  named names_[most_names]{};
};

}  // namespace virtio::vsock
