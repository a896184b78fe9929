// SPDX-License-Identifier: MIT
// Bytes that have arrived and are unread. They stay in the buffers in which they arrived, linked by connection. Also
// how much room each peer is promised. Memory backs every promise: a peer that stays within its promise is never
// rejected.
// Layer: vsock.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/config.hpp>
#include <virtio/vsock/limits.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock {

/// Bytes that have arrived, in place: a sequence of pieces, each in a buffer of its own. Valid while they are shown.
///
///   for (const_bytes piece : here) …
class arrived {
 public:
  /// Visits the pieces in their order.
  class iterator {
   public:
    /// The piece.
    [[nodiscard]] const_bytes operator*() const {
      return {all_->payloads_ + usize{all_->payload_bytes_} * at_.number() + from_, in_piece()};
    }
    /// Moves to the next piece.
    iterator& operator++() {
      left_ -= in_piece();
      if (left_ != 0) at_ = all_->links_[at_.number()];
      from_ = 0;
      return *this;
    }
    [[nodiscard]] friend bool operator==(const iterator& a, const iterator& b) { return a.left_ == b.left_; }

   private:
    friend arrived;
    iterator(const arrived& all, u32 left) : all_{&all}, at_{all.first_}, from_{all.from_}, left_{left} {}
    [[nodiscard]] u32 in_piece() const { return virtio::detail::smaller(all_->filled_[at_.number()] - from_, left_); }

    const arrived* all_;
    buffer_index at_;
    u32 from_, left_;
  };

  /// An empty sequence.
  arrived() = default;
  /// `first` holds the first bytes, from `from` on; `links` lead to the other buffers.
  arrived(const u8* payloads, u32 payload_bytes, const buffer_index* links, const u32* filled, buffer_index first,
          u32 from, u32 size)
      : payloads_{payloads},
        links_{links},
        filled_{filled},
        payload_bytes_{payload_bytes},
        first_{first},
        from_{from},
        size_{size} {}

  /// Bytes in all pieces.
  [[nodiscard]] usize size() const { return size_; }
  /// The first piece.
  [[nodiscard]] iterator begin() const { return {*this, size_}; }
  /// After the last piece.
  [[nodiscard]] iterator end() const { return {*this, 0}; }

  /// Copies bytes from byte `offset` on, as many as fit and exist. Returns how many.
  usize copy_to(usize offset, bytes into) const {
    usize done = 0;
    for (const const_bytes piece : *this) {
      if (done == into.size()) break;
      const const_bytes part = piece.part(offset, into.size() - done);
      __builtin_memcpy(into.data() + done, part.data(), part.size());
      done += part.size();
      offset -= virtio::detail::smaller(offset, piece.size());
    }
    return done;
  }

 private:
  const u8* payloads_ = nullptr;
  const buffer_index* links_ = nullptr;
  const u32* filled_ = nullptr;
  u32 payload_bytes_ = 0;
  buffer_index first_{};
  u32 from_ = 0, size_ = 0;
};

}  // namespace virtio::vsock

namespace virtio::vsock::detail {

/// A message that has arrived completely.
struct message_found {
  u32 size = 0;
  bool ends_record = false;
};

/// Where messages end: a bit for each byte of each receive buffer. A peer that sends messages of one byte therefore
/// gets no more memory than one that sends bytes.
template <u32 Buffers, u32 Bytes, bool Messages>
class boundaries {
 public:
  void clear(buffer_index buffer) {
    const usize n = buffer.number();
    for (u32 i = 0; i < words; ++i) ends_[n][i] = records_[n][i] = 0;
  }
  void mark(buffer_index buffer, u32 byte, boundary what) {
    ends_[buffer.number()][byte / 32] |= u32{1} << byte % 32;
    if (what == boundary::record) records_[buffer.number()][byte / 32] |= u32{1} << byte % 32;
  }
  /// The first end at `from` or later; `Bytes` or more if there is none.
  [[nodiscard]] u32 end(buffer_index buffer, u32 from) const {
    for (u32 word = from / 32; word < words; ++word) {
      const u32 bits =
          word == from / 32 ? ends_[buffer.number()][word] >> from % 32 << from % 32 : ends_[buffer.number()][word];
      if (bits != 0) return word * 32 + static_cast<u32>(__builtin_ctz(bits));
    }
    return Bytes;
  }
  [[nodiscard]] bool is_record(buffer_index buffer, u32 byte) const {
    return (records_[buffer.number()][byte / 32] >> byte % 32 & 1) != 0;
  }

 private:
  static constexpr u32 words = Bytes / 32;
  u32 ends_[Buffers][words]{};
  u32 records_[Buffers][words]{};
};

template <u32 Buffers, u32 Bytes>
class boundaries<Buffers, Bytes, false> {
 public:
  void clear(buffer_index) {}
  void mark(buffer_index, u32, boundary) {}
  [[nodiscard]] u32 end(buffer_index, u32) const { return Bytes; }
  [[nodiscard]] bool is_record(buffer_index, u32) const { return false; }
};

/// `Pool` has the buffers.
template <class Pool, limits L>
class inbox {
 public:
  /// Starts without bytes, and reserves one packet for each connection.
  void start() {
    budget_.start(shared);
    held_back_ = {};
    ++starts_;
  }

  // Promises ----------------------------------------------------------------------------------------------------------

  /// Sets the window of a connection that begins. With memory for all windows it is full-size at once. Otherwise it is
  /// small until the peer has used it, and smallest while more than half of the memory is promised. A peer that sends
  /// messages may need all of it for the first one.
  void begin_window(connection& c) {
    c.most_window = L.buffer_packets();
    c.window = L.buffer_packets();
    if (is_shared && !detail::carries_messages<L>(c))
      c.window = 2 * budget_.free() >= shared && L.buffer_packets() >= 2 ? u16{2} : u16{1};
  }
  /// Sets the window to `packets`; a smaller one does not withdraw what was promised.
  void set_window(connection& c, u32 packets) { c.window = c.most_window = static_cast<u16>(packets); }

  /// How far a connection's window should reach now.
  [[nodiscard]] u32 wanted_window(const connection& c) const {
    // Also for bytes that will be dropped: there is memory for all
    if constexpr (!is_shared) return c.window * L.receive_packet;
    if (discards(c)) return L.receive_packet;
    return budget_.share(c.extra, c.window) * L.receive_packet;
  }
  void open_window(connection& c) {
    c.in.open(wanted_window(c));
    update_reservation(c);
  }
  /// Allows no more bytes.
  void close_window(connection& c) {
    c.in.close();
    update_reservation(c);
  }
  /// Bytes that arrive from now on are dropped, and need no memory.
  void update_reservation(connection& c) {
    if constexpr (is_shared)
      budget_.update_reservation(c.extra, beyond_first(discards(c) ? c.in.unread() : c.in.promised()));
  }
  /// Counts bytes that were read or dropped.
  void count_read(connection& c, u32 size) {
    c.in.consume(size);
    if constexpr (is_shared) {
      if (c.in.consumed() - c.grown_at >= c.window * L.receive_packet) grow(c);
      update_reservation(c);
    }
  }
  /// Called when bytes have arrived. If the peer can send no more until some are read, its window is too small.
  void grow_if_used_up(connection& c) {
    if constexpr (is_shared)
      if (c.in.left() == 0) grow(c);
  }
  /// Packets that are not promised, beyond the one that each connection has for certain.
  [[nodiscard]] u32 free_packets() const { return budget_.free(); }

  // Bytes -------------------------------------------------------------------------------------------------------------

  /// Takes the `length` bytes in a buffer, at least one. False: they were copied after earlier bytes, and the buffer is
  /// free. Any two neighbouring buffers hold more than one buffer's worth of bytes, which bounds the number of buffers.
  [[nodiscard]] bool append(connection& c, Pool& pool, buffer_index buffer, u32 length) {
    if (move_in(c, pool, buffer, length)) return false;
    link(c, pool, buffer, length);
    return true;
  }
  /// The last bytes that arrived end a message.
  void end_message(connection& c, boundary what) {
    if (c.received.empty()) return;
    const buffer_index tail = c.received.last();
    if (boundaries_.end(tail, filled(tail) - 1) < L.receive_packet) return;  // reported twice
    boundaries_.mark(tail, filled(tail) - 1, what);
    ++c.whole_messages;
  }

  /// The first message. Only if a whole one has arrived.
  [[nodiscard]] message_found first_message(const connection& c, Pool& pool) const {
    u32 size = 0, from = c.read_up_to;
    for (buffer_index at = c.received.first(); !at.is_none(); at = pool.after(at), from = 0) {
      const u32 end = boundaries_.end(at, from);
      if (end < L.receive_packet) return {size + end + 1 - from, boundaries_.is_record(at, end)};
      size += filled(at) - from;
    }
    return {size, false};
  }

  /// Bytes that have arrived and were neither read nor taken.
  [[nodiscard]] static u32 size(const connection& c) { return c.in.unread() - c.taken; }
  /// Removes and returns the first buffer, with the bytes that first() shows. Only if there is one that is not shown.
  [[nodiscard]] buffer_index take_first(connection& c, Pool& pool) {
    c.taken += filled(c.received.first()) - c.read_up_to;
    c.read_up_to = 0;
    return c.received.pop(pool);
  }
  /// Counts taken bytes as read.
  void count_taken(connection& c, u32 size) {
    c.taken -= size;
    count_read(c, size);
  }

  /// The unread bytes in the first buffer. Only if there are some.
  [[nodiscard]] const_bytes first(const connection& c, Pool& pool) const {
    const buffer_index buffer = c.received.first();
    return {pool.payload(buffer) + c.read_up_to, filled(buffer) - c.read_up_to};
  }
  /// The first `size` unread bytes, in their buffers. Only if as many exist, and at least one.
  [[nodiscard]] arrived first_pieces(const connection& c, Pool& pool, u32 size) const {
    const buffer_index lowest{0};
    return {
        pool.payload(lowest), L.receive_packet, &pool.after(lowest), filled_, c.received.first(), c.read_up_to, size};
  }
  /// Puts the unread bytes of the first `most` buffers into an array, one piece each. Returns how many pieces.
  [[nodiscard]] u32 put_pieces(const connection& c, Pool& pool, const_bytes* into, u32 most) const {
    u32 n = 0, from = c.read_up_to;
    for (buffer_index at = c.received.first(); !at.is_none() && n < most; at = pool.after(at), from = 0)
      into[n++] = {pool.payload(at) + from, filled(at) - from};
    return n;
  }
  /// Drops the first `size` bytes of the first buffer.
  void consume(connection& c, Pool& pool, u32 size) {
    count_read(c, size);
    const u32 read = c.read_up_to + size;
    const bool some_left = read < filled(c.received.first());
    c.read_up_to = some_left ? static_cast<u16>(read) : u16{0};
    if (some_left) return;
    drop_first(c, pool);
  }
  /// Drops the first `size` bytes, in any buffers. Only if as many exist.
  void consume_pieces(connection& c, Pool& pool, u32 size) {
    for (;;) {
      const u32 here = filled(c.received.first()) - c.read_up_to;
      if (size < here) return consume(c, pool, size);
      consume(c, pool, here);
      size -= here;
      if (size == 0) return;
    }
  }
  void discard(connection& c, Pool& pool) {
    if constexpr (L.messages) c.whole_messages = 0;
    count_taken(c, c.taken);
    if (looks_ != 0) [[unlikely]]
      hold_back(c, pool);
    while (!c.received.empty()) consume(c, pool, static_cast<u32>(first(c, pool).size()));
  }

  // Showing -----------------------------------------------------------------------------------------------------------

  /// Buffers that are shown. None of them returns to the device before the end of the display, even if the connection
  /// ends.
  struct display {
    buffer_index first{}, last{};
    u32 start = 0;
  };
  /// Shows all unread buffers. Only if there are some, and none is shown.
  [[nodiscard]] display begin_showing(connection& c) const {
    c.shown_up_to = c.received.last();
    return {c.received.first(), c.received.last(), starts_};
  }
  /// Ends a display: buffers that were read or dropped meanwhile are returned to the device. `c` is null if the
  /// connection is gone. Returns whether all buffers are still unread.
  bool end_showing(connection* c, Pool& pool, const display& shown) {
    if (c != nullptr && c->shown_up_to == shown.last && c->received.first() == shown.first && shown.start == starts_) {
      c->shown_up_to = no_buffer;
      return true;
    }
    take_back(c, pool, shown);
    return false;
  }
  /// Until `end_look` has been called as often, dropped buffers stay in place.
  void begin_look() { ++looks_; }
  void end_look(Pool& pool) {
    --looks_;
    if (!held_back_.empty()) [[unlikely]]
      give_back_held(pool);
  }

 private:
  [[gnu::cold, gnu::noinline]] void give_back_held(Pool& pool) {
    while (looks_ == 0 && !held_back_.empty()) pool.give_back(held_back_.pop(pool));
  }
  /// Drops unread bytes and holds their buffers. Shown buffers are held by their display.
  [[gnu::cold, gnu::noinline]] void hold_back(connection& c, Pool& pool) {
    while (c.shown_up_to.is_none() && !c.received.empty()) {
      count_read(c, filled(c.received.first()) - c.read_up_to);
      c.read_up_to = 0;
      held_back_.push(pool, c.received.pop(pool));
    }
  }
  [[gnu::cold]] void take_back(connection* c, Pool& pool, const display& shown) {
    if (shown.start != starts_) return;  // all buffers have been reclaimed
    buffer_index unread{};
    if (c != nullptr && !c->shown_up_to.is_none()) unread = c->received.first();
    if (c != nullptr) c->shown_up_to = no_buffer;
    for (buffer_index at = shown.first; at != unread;) {  // the links of dropped buffers stay in place
      const buffer_index next = pool.after(at);
      pool.give_back(at);
      if (at == shown.last) break;
      at = next;
    }
  }
  [[nodiscard]] bool move_in(connection& c, Pool& pool, buffer_index buffer, u32 length) {
    if (c.received.empty()) return false;
    const buffer_index tail = c.received.last();
    const u32 there = filled(tail);
    if (length > L.receive_packet - there) return false;
    __builtin_memcpy(pool.payload(tail) + there, pool.payload(buffer), length);
    filled(tail) = there + length;
    return true;
  }
  void drop_first(connection& c, Pool& pool) {
    const buffer_index one = c.received.pop(pool);
    if (c.shown_up_to.is_none()) return pool.give_back(one);
    if (one == c.shown_up_to) c.shown_up_to = no_buffer;
  }
  void link(connection& c, Pool& pool, buffer_index buffer, u32 length) {
    c.received.push(pool, buffer);
    filled(buffer) = length;
    if (detail::carries_messages<L>(c)) boundaries_.clear(buffer);
  }

  /// Valid bytes in a buffer.
  [[nodiscard]] u32& filled(buffer_index buffer) { return filled_[buffer.number()]; }
  [[nodiscard]] u32 filled(buffer_index buffer) const { return filled_[buffer.number()]; }

  /// Whether bytes that arrive now are dropped.
  [[nodiscard]] static bool discards(const connection& c) {
    return c.closed_ends.has(ends::receive) || c.peer_closed_ends.has(ends::send);
  }

  /// Doubles the window after the peer has used it up.
  static void grow(connection& c) {
    c.grown_at = c.in.consumed();
    c.window = static_cast<u16>(virtio::detail::smaller(u32{c.most_window}, u32{c.window} * 2));
  }
  [[nodiscard]] static constexpr u32 beyond_first(u32 bytes) {
    return bytes <= L.receive_packet ? 0 : (bytes - 1) / L.receive_packet;
  }

  // Beyond the one packet that each connection has for certain
  static constexpr u32 shared = L.pool_packets() - L.connections;
  // Whether the memory is less than the sum of all windows.
  static constexpr bool is_shared = L.pool_packets() < u64{L.connections} * L.buffer_packets();

  receive_budget budget_{};
  u32 starts_ = 0;
  u32 filled_[Pool::count]{};
  VIRTIO_EMPTY_MEMBER boundaries<Pool::count, L.receive_packet, L.messages> boundaries_{};
  u32 looks_ = 0;
  buffer_list held_back_{};  // during begin_look to end_look
};

}  // namespace virtio::vsock::detail
