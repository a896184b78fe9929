// SPDX-License-Identifier: MIT
// What has arrived and nobody has read: bytes that stay in the buffers they arrived in, linked by connection; and how much more each
// peer is promised room for. Every promise is backed by memory: no peer that keeps to its promise is ever turned away.
// Layer: vsock.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/config.hpp>
#include <virtio/vsock/limits.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock::detail {

/// A message that has arrived whole.
struct message_found {
  u32 size = 0;
  bool ends_record = false;
};

/// Where messages end: a bit for each byte of each receive buffer. So a peer that sends messages of one byte gets no more memory
/// than one that sends bytes.
template <u32 Buffers, u32 Bytes, bool Messages>
class borders {
 public:
  void clear(u16 buffer) {
    for (u32 i = 0; i < words; ++i) ends_[buffer][i] = records_[buffer][i] = 0;
  }
  void mark(u16 buffer, u32 byte, bool record) {
    ends_[buffer][byte / 32] |= u32{1} << byte % 32;
    if (record) records_[buffer][byte / 32] |= u32{1} << byte % 32;
  }
  /// The first end at `from` or behind; `Bytes` or more when there is none.
  [[nodiscard]] u32 end(u16 buffer, u32 from) const {
    for (u32 word = from / 32; word < words; ++word) {
      const u32 bits = word == from / 32 ? ends_[buffer][word] >> from % 32 << from % 32 : ends_[buffer][word];
      if (bits != 0) return word * 32 + static_cast<u32>(__builtin_ctz(bits));
    }
    return Bytes;
  }
  [[nodiscard]] bool is_record(u16 buffer, u32 byte) const { return (records_[buffer][byte / 32] >> byte % 32 & 1) != 0; }

 private:
  static constexpr u32 words = Bytes / 32;
  u32 ends_[Buffers][words]{};
  u32 records_[Buffers][words]{};
};

template <u32 Buffers, u32 Bytes>
class borders<Buffers, Bytes, false> {
 public:
  void clear(u16) {}
  void mark(u16, u32, bool) {}
  [[nodiscard]] u32 end(u16, u32) const { return Bytes; }
  [[nodiscard]] bool is_record(u16, u32) const { return false; }
};

/// `Queues` has the buffers (packets.hpp).
template <class Queues, limits L>
class inbox {
 public:
  /// Nothing has arrived, and each connection's first packet is spoken for.
  void start() { budget_.start(L.pool_packets() - L.connections); }

  // Promises -------------------------------------------------------------------------------------------------------------

  /// How far a connection's window should reach now.
  [[nodiscard]] u32 wanted_window(const connection& c) const {
    if constexpr (L.pool_packets() >= u64{L.connections} * L.buffer_packets()) return L.buffer_packets() * L.receive_packet;
    return budget_.share(packets_promised(c), L.buffer_packets()) * L.receive_packet;
  }
  void open_window(connection& c) {
    const u32 before = packets_promised(c);
    c.in.open(wanted_window(c));
    budget_.changed(before, packets_promised(c));
  }
  /// Nothing more will come.
  void close_window(connection& c) {
    const u32 before = packets_promised(c);
    c.in.close();
    budget_.changed(before, packets_promised(c));
  }
  /// Bytes were read, or are not wanted.
  void count_read(connection& c, u32 size) {
    const u32 before = packets_promised(c);
    c.in.consume(size);
    budget_.changed(before, packets_promised(c));
  }

  // Bytes ----------------------------------------------------------------------------------------------------------------

  /// Takes the `length` bytes in a buffer, at least one. False: they were moved in behind what was there, and the buffer is free.
  /// Small packets never lie alone: any two neighbours are more than one buffer full, which is what bounds their number.
  [[nodiscard]] bool append(connection& c, Queues& queues, u16 buffer, u32 length) {
    if (move_in(c, queues, buffer, length)) return false;
    link(c, queues, buffer, length);
    return true;
  }
  /// What has arrived last is the end of a message.
  void end_message(connection& c, Queues& queues, bool record) {
    if (c.last_received == 0) return;
    const u16 tail = static_cast<u16>(c.last_received - 1);
    if (borders_.end(tail, queues.filled(tail) - 1) < L.receive_packet) return;  // told twice
    borders_.mark(tail, queues.filled(tail) - 1, record);
    ++c.whole_messages;
  }

  /// The first message. Only if there is a whole one.
  [[nodiscard]] message_found first_message(const connection& c, Queues& queues) const {
    u32 size = 0, from = c.read_up_to;
    for (u16 at = c.first_received; at != 0; at = queues.after(static_cast<u16>(at - 1)), from = 0) {
      const u16 buffer = static_cast<u16>(at - 1);
      const u32 end = borders_.end(buffer, from);
      if (end < L.receive_packet) return {size + end + 1 - from, borders_.is_record(buffer, end)};
      size += queues.filled(buffer) - from;
    }
    return {size, false};
  }

  /// The first unread bytes, as many as lie together. Only if there are some.
  [[nodiscard]] const_bytes first(const connection& c, Queues& queues) const {
    const u16 buffer = static_cast<u16>(c.first_received - 1);
    return {queues.received(buffer) + c.read_up_to, queues.filled(buffer) - c.read_up_to};
  }
  /// The first `size` bytes of them are done with.
  void consume(connection& c, Queues& queues, u32 size) {
    count_read(c, size);
    c.read_up_to += size;
    const u16 buffer = static_cast<u16>(c.first_received - 1);
    if (c.read_up_to < queues.filled(buffer)) return;
    c.read_up_to = 0;
    c.first_received = queues.after(buffer);
    if (c.first_received == 0) c.last_received = 0;
    queues.give_back(buffer);
  }
  void discard(connection& c, Queues& queues) {
    c.whole_messages = 0;
    while (c.first_received != 0) consume(c, queues, static_cast<u32>(first(c, queues).size()));
  }

 private:
  [[nodiscard]] bool move_in(connection& c, Queues& queues, u16 buffer, u32 length) {
    if (c.last_received == 0) return false;
    const u16 tail = static_cast<u16>(c.last_received - 1);
    u32& filled = queues.filled(tail);
    if (length > L.receive_packet - filled) return false;
    __builtin_memcpy(queues.received(tail) + filled, queues.received(buffer), length);
    filled += length;
    return true;
  }
  void link(connection& c, Queues& queues, u16 buffer, u32 length) {
    const u16 one = static_cast<u16>(buffer + 1);
    (c.last_received == 0 ? c.first_received : queues.after(static_cast<u16>(c.last_received - 1))) = one;
    c.last_received = one;
    queues.after(buffer) = 0;
    queues.filled(buffer) = length;
    if (c.messages) borders_.clear(buffer);
  }

  [[nodiscard]] static constexpr u32 packets_promised(const connection& c) {
    return (c.in.promised() + (L.receive_packet - 1)) / L.receive_packet;
  }

  receive_budget budget_{};
  VIRTIO_EMPTY_MEMBER borders<Queues::received_count, L.receive_packet, L.messages> borders_{};
};

}  // namespace virtio::vsock::detail
