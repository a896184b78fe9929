// SPDX-License-Identifier: MIT
// Bytes that connections have gathered in send buffers and that have not left, and the queues of connections that wait
// for such a buffer. It sends nothing itself: it returns what prevents progress, and the caller acts.
// Layer: vsock.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/vsock/limits.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock::detail {

/// Why bytes were not taken, or do not leave.
enum class blocked_by : u8 {
  none,
  full_buffer,  // gathered bytes must leave first
  no_credit,    // the peer has no room
  no_buffer,    // all send buffers are in use
};

/// Bytes that leave in one packet.
struct outgoing_data {
  buffer_index buffer{};
  u32 from = 0;  // in the buffer
  u32 length = 0;
  u32 flags = 0;
  bool is_copy = false;  // of the first bytes of a buffer that keeps the rest
};

/// Copies `n` bytes of several pieces, from byte `from` of all of them on. Only if there are as many.
VIRTIO_NOINLINE_FOR_SIZE inline void copy_out(scatter<const_bytes> pieces, usize from, u8* to, usize n) {
  for (const const_bytes& piece : pieces) {
    if (n == 0) return;
    const const_bytes here = piece.part(from, n);
    from -= virtio::detail::smaller(from, piece.size());
    if (here.empty()) continue;
    __builtin_memcpy(to, here.data(), here.size());
    to += here.size();
    n -= here.size();
  }
}

/// `Pool` has the send buffers. A connection that finds none waits in a first-in, first-out queue. Free buffers are
/// reserved for the first connections of the queue, for a message as many as it takes. An unused reservation expires,
/// so that a program that has lost interest does not block others. Connections whose peers have too little room wait in
/// a queue of their own.
template <class Pool, limits L>
class outbox {
 public:
  void start() {
    gathering_ = {};
    waiting_ = {};
    for_credit_ = {};
    reservations_ = {};
    reserved_ = 0;
  }

  // State -------------------------------------------------------------------------------------------------------------

  /// Bytes that the peer has room for, beyond the gathered ones.
  [[nodiscard]] static u32 room(const connection& c) {
    return c.out.available() > c.gathered_bytes ? c.out.available() - c.gathered_bytes : 0;
  }
  /// Whether gathered bytes should leave: small pieces wait while the peer has many to read.
  [[nodiscard]] static bool may_leave(const connection& c) {
    return !c.gathered.empty() &&
           (detail::carries_messages<L>(c) || c.gathered_bytes >= send_window::small || !c.out.is_crowded());
  }
  [[nodiscard]] bool is_gathering() const { return !gathering_.empty(); }
  template <class F>
  void for_each_gathering(const connection* all, F&& f) const {
    gathering_.for_each(all, f);
  }
  /// Returns the connection that has gathered longest, if possible one whose peer accepts another packet, and moves it
  /// to the end. Only if any gathers.
  [[nodiscard]] u16 oldest(connection* all) {
    u32 found = gathering_.first_and_one();
    while (found != 0 && is_slow(all[found - 1])) found = gathering_.next_and_one(all, found);
    const u16 one = found != 0 ? static_cast<u16>(found - 1) : gathering_.first();
    gathering_.remove(all, one);
    gathering_.push(all, one);
    return one;
  }
  /// Whether the connection gathers few bytes, and its peer has far too many small packets to read. A peer that counts
  /// packets ends such a connection.
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE static bool is_slow(const connection& c) {
    return !detail::carries_messages<L>(c) && c.gathered_bytes < send_window::small && c.out.is_overcrowded();
  }
  /// Whether slow connections hold as many buffers as they may.
  [[nodiscard, gnu::cold, gnu::noinline]] bool slow_peers_at_limit(const connection* all) const {
    u32 n = 0;
    gathering_.for_each(all, [&](u16 one) { n += is_slow(all[one]); });
    return n >= L.send_packets / 2;
  }

  // Gathering ---------------------------------------------------------------------------------------------------------

  /// For a stream: copies the first bytes of `data` after the gathered ones, and removes them from `data`. `none`: more
  /// may fit.
  [[nodiscard]] blocked_by gather(connection& c, Pool& pool, const_bytes& data) {
    if (!c.gathered.empty() && filled(c.gathered.last()) == L.send_packet) return blocked_by::full_buffer;
    if (room(c) == 0) return blocked_by::no_credit;
    if (c.gathered.empty()) return blocked_by::no_buffer;
    const buffer_index last = c.gathered.last();
    const u32 most = virtio::detail::smaller(room(c), L.send_packet - filled(last));
    const const_bytes part = data.part(0, most);
    __builtin_memcpy(pool.payload(last) + filled(last), part.data(), part.size());
    count(c, last, static_cast<u32>(part.size()));
    data = data.part(part.size(), data.size());
    return blocked_by::none;
  }
  /// Adds a buffer to those in which a connection gathers.
  void begin(connection* all, u16 one, Pool& pool, buffer_index buffer) {
    connection& c = all[one];
    c.gathered.push(pool, buffer);
    if (c.gathered.first() == buffer) c.backoff = 0;  // few bytes again: it gathered none before
    filled_[buffer.number()] = 0;
    if constexpr (L.messages) ends_[buffer.number()] = 0;
    gathering_.push(all, one);
  }
  /// Counts bytes that were written into a connection's buffer after the earlier ones.
  void count(connection& c, buffer_index buffer, u32 bytes) {
    filled_[buffer.number()] += bytes;
    c.gathered_bytes += bytes;
  }
  /// Marks the end of a message after the gathered bytes.
  void end_message(const connection& c, boundary what) {
    const u32 flags = what == boundary::record ? end_of_message | end_of_record : end_of_message;
    if constexpr (L.messages) ends_[c.gathered.last().number()] = static_cast<u8>(flags);
  }

  /// Bytes that can be taken at once if nothing is in flight: the size of all send buffers, or the peer's window.
  [[nodiscard]] static u32 most_bytes(const connection& c) {
    return virtio::detail::smaller(u32{L.send_packet} * L.send_packets, c.out.allocation());
  }
  /// Whether a message of `size` bytes can be taken, after the gathered ones. Errors: `too_long`, `no_credit`.
  [[nodiscard]] result<void> takes_message(const connection* all, u16 one, const Pool& pool, u64 size) const {
    if (size > most_bytes(all[one])) return errc::too_long;
    return peer_takes(all, one, pool, static_cast<u32>(size)) ? result<void>{} : errc::no_credit;
  }
  /// Whether the peer has room for as many bytes after the gathered ones, so that only send buffers can be missing.
  [[nodiscard]] bool peer_takes(const connection* all, u16 one, const Pool& pool, u32 size) const {
    const connection& c = all[one];
    if (room(c) < size) return false;
    if (size >= send_window::small) return true;
    if (!detail::carries_messages<L>(c)) return !c.gathered.empty() || !may_not_gather(all, c);
    u32 packets = 0;  // before it
    for (buffer_index at = c.gathered.first(); !at.is_none(); at = pool.after(at)) ++packets;
    return !c.out.is_crowded(packets);
  }
  /// For a stream that gathers nothing: whether a small piece would wait long, in a buffer that others need.
  [[nodiscard]] bool may_not_gather(const connection* all, const connection& c) const {
    return c.out.is_overcrowded() && slow_peers_at_limit(all);
  }

  /// For a stream: copies after the gathered bytes if all of it fits. False: it does not.
  [[nodiscard]] bool join(connection& c, Pool& pool, scatter<const_bytes> data, u32 size) {
    if (c.gathered.empty() || filled(c.gathered.last()) + size > L.send_packet) return false;
    copy_out(data, 0, pool.payload(c.gathered.last()) + filled(c.gathered.last()), size);
    count(c, c.gathered.last(), size);
    return true;
  }
  /// Drops the gathered bytes.
  void forget(connection* all, u16 one, Pool& pool) {
    while (!all[one].gathered.empty()) pool.give_back(all[one].gathered.pop(pool));
    clear_gathered(all, one);
  }

  // Leaving -----------------------------------------------------------------------------------------------------------

  /// Returns the next bytes to leave. Only if some are gathered. With `no_buffer` the connection waits for a buffer.
  [[nodiscard]] blocked_by next(connection* all, u16 one, Pool& pool, outgoing_data& out) {
    connection& c = all[one];
    out.buffer = c.gathered.first();
    out.from = c.gathered_from;
    const u32 left = filled(out.buffer) - out.from;
    out.length = virtio::detail::smaller(left, c.out.available());
    if (out.length == 0) return blocked_by::no_credit;
    out.is_copy = out.length < left;
    out.flags = 0;
    if constexpr (L.messages) out.flags = out.is_copy ? u32{0} : ends_[out.buffer.number()];
    if (out.is_copy) {  // the peer has withdrawn room: two packets cannot share a buffer
      if (!may_take(all, one, pool, 1)) {
        wait(all, one);
        return blocked_by::no_buffer;
      }
      takes(all, one, 1);
      out.buffer = pool.take();
      __builtin_memcpy(pool.payload(out.buffer), pool.payload(c.gathered.first()) + out.from, out.length);
      out.from = 0;
    }
    return blocked_by::none;
  }
  /// Called after the bytes have left. `has_not_left`: the queue had no room for the packet.
  void has_left(connection* all, u16 one, Pool& pool, const outgoing_data& p) {
    connection& c = all[one];
    c.out.sent(p.length);
    c.gathered_bytes -= p.length;
    if (p.is_copy) {
      c.gathered_from = static_cast<u16>(c.gathered_from + p.length);
      return;
    }
    c.gathered_from = 0;
    (void)c.gathered.pop(pool);  // it belongs to the device
    if (c.gathered.empty()) clear_gathered(all, one);
  }
  static void has_not_left(Pool& pool, const outgoing_data& p) {
    if (p.is_copy) pool.give_back(p.buffer);
  }

  // Waiting for a buffer ----------------------------------------------------------------------------------------------

  void wait(connection* all, u16 one) {
    if (!awaits_buffer(all[one])) stop_waiting(all, one);
    waiting_.push(all, one);
  }
  /// Waits for room at the peer, without a reserved buffer. False: it waits for that already.
  [[nodiscard]] bool wait_for_credit(connection* all, u16 one) {
    if (all[one].awaits_credit) return false;
    stop_waiting(all, one);
    all[one].awaits_credit = true;
    for_credit_.push(all, one);
    return true;
  }
  /// Ends all waiting and the reservation.
  VIRTIO_NOINLINE_FOR_SIZE void stop_waiting(connection* all, u16 one) {
    connection& c = all[one];
    (c.awaits_credit ? for_credit_ : c.reserved != 0 ? reservations_ : waiting_).remove(all, one);
    c.awaits_credit = false;
    reserved_ -= c.reserved;
    c.reserved = 0;
  }
  /// Whether it waits for a buffer, until `serve`.
  [[nodiscard]] static bool awaits_buffer(const connection& c) {
    return c.waiting.previous != 0 && !c.awaits_credit && c.reserved == 0;
  }
  /// Whether a CREDIT_UPDATE of some peer is awaited.
  [[nodiscard]] bool awaits_credit_update() const { return !gathering_.empty() || !for_credit_.empty(); }
  template <class F>
  void for_each_without_credit(const connection* all, F&& f) const {
    for_credit_.for_each(all, f);
  }
  /// Whether `one` may take `n` buffers: they are free, and neither reserved for another nor awaited by an earlier one.
  [[nodiscard]] bool may_take(const connection* all, u16 one, const Pool& pool, u32 n) const {
    const u32 mine = all[one].reserved;
    if (mine == 0 && has_waiting() && first_waiting() != one) return false;
    return pool.has_free(n + reserved_ - virtio::detail::smaller(mine, n));
  }
  /// Takes them.
  void takes(connection* all, u16 one, u32 n) {
    connection& c = all[one];
    if (c.reserved == 0) return;
    if (c.reserved <= n) return stop_waiting(all, one);
    c.reserved = static_cast<u16>(c.reserved - n);
    reserved_ -= n;
  }
  /// Reserves buffers for the first connection in the queue, if enough are free, and removes it from the queue.
  [[nodiscard]] bool serve(connection* all, const Pool& pool, u16& one) {
    if (!has_waiting()) return false;
    one = first_waiting();
    connection& c = all[one];
    // A connection that has gathered needs one buffer for a part of it (`next`).
    const u32 n = c.wants_bytes == 0 || !c.gathered.empty() ? 1 : buffers_for(c.wants_bytes);
    if (!pool.has_free(reserved_ + n)) return false;
    waiting_.remove(all, one);
    reservations_.push(all, one);
    reserved_ += n;
    c.reserved = static_cast<u16>(n);
    c.reserved_in = polls_;
    return true;
  }
  /// Counts a poll: old reservations expire.
  void poll(connection* all) {
    ++polls_;
    expire(all, reservation_lasts);
  }
  /// Ends reservations made at least `age` polls ago: the oldest are first.
  void expire(connection* all, u16 age) {
    while (!reservations_.empty()) {
      const u16 one = reservations_.first();
      if (static_cast<u16>(polls_ - all[one].reserved_in) < age) return;
      stop_waiting(all, one);
    }
  }
  /// Ends all reservations.
  void expire_all(connection* all) { expire(all, 0); }
  [[nodiscard]] static constexpr u32 buffers_for(u32 size) { return 1 + (size - 1) / L.send_packet; }
  /// Whether a connection gathers, waits, or has reserved buffers.
  [[nodiscard]] bool has_work() const {
    const u32 any = gathering_.first_and_one() | for_credit_.first_and_one() | waiting_.first_and_one() |
                    reservations_.first_and_one();
    return any != 0;  // one jump
  }
  [[nodiscard]] bool has_waiting() const { return !waiting_.empty(); }
  /// The connection that has waited longest. Only if there is one.
  [[nodiscard]] u16 first_waiting() const { return waiting_.first(); }

 private:
  void clear_gathered(connection* all, u16 one) {
    all[one].gathered_bytes = 0;
    all[one].gathered_from = 0;
    gathering_.remove(all, one);
  }
  /// Bytes in a buffer, including those that have left.
  [[nodiscard]] u32 filled(buffer_index buffer) const { return filled_[buffer.number()]; }

  static constexpr u16 reservation_lasts = 16;  // polls
  u32 reserved_ = 0;                            // buffers, for all connections
  u16 polls_ = 0;
  u32 filled_[Pool::count]{};
  u8 ends_[L.messages ? Pool::count : 1]{};  // the flags of the packet with a buffer's last byte
  connection_list_of<&connection::gathering> gathering_{};
  // A connection is in at most one of these: in the second if it awaits credit, in the third if it has reserved
  // buffers.
  connection_list_of<&connection::waiting> waiting_{};  // for buffers
  connection_list_of<&connection::waiting> for_credit_{};
  connection_list_of<&connection::waiting> reservations_{};  // the oldest first
};

}  // namespace virtio::vsock::detail
