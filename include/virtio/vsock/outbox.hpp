// SPDX-License-Identifier: MIT
// What connections want to send and has not left yet: bytes gathered in send buffers, and who waits for such a buffer. It sends
// nothing itself: it returns what stands in the way, and the caller acts.
// Layer: vsock.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/vsock/limits.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock::detail {

/// Why bytes were not taken, or do not leave.
enum class obstacle : u8 {
  none,
  full_buffer,  // what is gathered must leave first
  no_credit,    // the peer has no room
  no_buffer,    // all send buffers are taken
};

/// Bytes that leave in one packet.
struct parcel {
  buffer_index buffer{};
  u32 from = 0;  // in the buffer
  u32 length = 0;
  u32 flags = 0;
  bool is_copy = false;  // of the first bytes of a buffer that the rest stays in
};

/// `Pool` has the send buffers.
template <class Pool, limits L>
class outbox {
 public:
  void start() {
    gathering_ = {};
    waiting_ = {};
  }

  // What there is -----------------------------------------------------------------------------------------------------------

  /// Bytes that the peer has room for, beyond those that are gathered.
  [[nodiscard]] static u32 room(const connection& c) {
    const u32 gathered = c.gathered_up_to - c.gathered_from;
    return c.out.available() > gathered ? c.out.available() - gathered : 0;
  }
  /// Whether what is gathered is worth a packet: small pieces wait while the peer has many to read.
  [[nodiscard]] static bool may_leave(const connection& c) {
    return !c.gathered.empty() && (c.messages || c.gathered_up_to - c.gathered_from >= send_window::small || !c.out.is_crowded());
  }
  [[nodiscard]] bool is_gathering() const { return !gathering_.empty(); }
  /// The connection that has gathered longest, which then counts as the last. Only if there is one.
  [[nodiscard]] u16 oldest(connection* all) {
    const u16 one = gathering_.first();
    gathering_.remove(all, one);
    gathering_.push(all, one);
    return one;
  }

  // Gathering ---------------------------------------------------------------------------------------------------------------

  /// Copies the first of `data` behind what is gathered, and takes it from `data`. `none`: more may fit.
  [[nodiscard]] static obstacle gather(connection& c, Pool& pool, const_bytes& data) {
    if (!c.gathered.empty() && c.gathered_up_to == L.send_packet) return obstacle::full_buffer;
    if (room(c) == 0) return obstacle::no_credit;
    if (c.gathered.empty()) return obstacle::no_buffer;
    const u32 most = virtio::detail::smaller(room(c), L.send_packet - c.gathered_up_to);
    const const_bytes part = data.part(0, most);
    __builtin_memcpy(pool.payload(c.gathered.first()) + c.gathered_up_to, part.data(), part.size());
    c.gathered_up_to += static_cast<u32>(part.size());
    data = data.part(part.size(), data.size());
    return obstacle::none;
  }
  /// Gives a connection that has none a buffer to gather in.
  void begin(connection* all, u16 one, Pool& pool, buffer_index buffer) {
    connection& c = all[one];
    c.gathered.push(pool, buffer);
    c.gathered_from = c.gathered_up_to = 0;
    gathering_.push(all, one);
  }

  /// Whether a message of `size` bytes can be taken. Errors: `too_long`, `no_credit`.
  [[nodiscard]] static result<void> takes_message(const connection& c, usize size) {
    if (size > usize{L.send_packet} * L.send_packets || size > c.out.allocation()) return errc::too_long;
    if (!c.gathered.empty() || room(c) < size || (size < send_window::small && c.out.is_crowded())) return errc::no_credit;
    return {};
  }
  /// Takes a message that lies in buffers of its own.
  static void take_message(connection& c, buffer_list buffers, u32 size, border end) {
    c.gathered = buffers;
    c.gathered_from = 0;
    c.gathered_up_to = size;
    c.ends_record = end == border::record;
  }

  /// Drops what is gathered.
  void forget(connection* all, u16 one, Pool& pool) {
    while (!all[one].gathered.empty()) pool.give_back(all[one].gathered.pop(pool));
    ungather(all, one);
  }

  // Leaving -----------------------------------------------------------------------------------------------------------------

  /// The next bytes to leave. Only if some are gathered. With `no_buffer` the connection waits for one.
  [[nodiscard]] obstacle next(connection* all, u16 one, Pool& pool, parcel& out) {
    connection& c = all[one];
    out.from = c.gathered_from % L.send_packet;  // a message fills several buffers
    const u32 left = virtio::detail::smaller(c.gathered_up_to - c.gathered_from, L.send_packet - out.from);
    out.length = virtio::detail::smaller(left, c.out.available());
    if (out.length == 0) return obstacle::no_credit;
    out.buffer = c.gathered.first();
    out.is_copy = out.length < left;
    if (out.is_copy) {  // the peer has taken back some of its room: two packets cannot share a buffer
      out.buffer = pool.take();
      if (out.buffer.is_none()) {
        waiting_.push(all, one);
        return obstacle::no_buffer;
      }
      __builtin_memcpy(pool.payload(out.buffer), pool.payload(c.gathered.first()) + out.from, out.length);
      out.from = 0;
    }
    const bool ends = c.messages && c.gathered_from + out.length == c.gathered_up_to;
    out.flags = !ends ? 0 : c.ends_record ? end_of_message | end_of_record : end_of_message;
    return obstacle::none;
  }
  /// They have left; or there was no room for the packet.
  void has_left(connection* all, u16 one, Pool& pool, const parcel& p) {
    connection& c = all[one];
    c.out.sent(p.length);
    c.gathered_from += p.length;
    if (p.is_copy) return;
    (void)c.gathered.pop(pool);  // it is the device's
    if (c.gathered.empty()) ungather(all, one);
  }
  static void has_not_left(Pool& pool, const parcel& p) {
    if (p.is_copy) pool.give_back(p.buffer);
  }

  // Waiting for a buffer ----------------------------------------------------------------------------------------------------

  void wait(connection* all, u16 one) { waiting_.push(all, one); }
  void stop_waiting(connection* all, u16 one) { waiting_.remove(all, one); }
  [[nodiscard]] bool has_waiting() const { return !waiting_.empty(); }
  /// Who has waited longest. Only if there is one.
  [[nodiscard]] u16 first_waiting() const { return waiting_.first(); }

 private:
  void ungather(connection* all, u16 one) {
    all[one].gathered_from = all[one].gathered_up_to = 0;
    gathering_.remove(all, one);
  }

  line_of<&connection::gathering> gathering_{};
  line_of<&connection::for_buffer> waiting_{};
};

}  // namespace virtio::vsock::detail
