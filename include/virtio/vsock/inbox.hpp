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
  void clear(buffer_index buffer) {
    const u32 n = buffer.number();
    for (u32 i = 0; i < words; ++i) ends_[n][i] = records_[n][i] = 0;
  }
  void mark(buffer_index buffer, u32 byte, border what) {
    ends_[buffer.number()][byte / 32] |= u32{1} << byte % 32;
    if (what == border::record) records_[buffer.number()][byte / 32] |= u32{1} << byte % 32;
  }
  /// The first end at `from` or behind; `Bytes` or more when there is none.
  [[nodiscard]] u32 end(buffer_index buffer, u32 from) const {
    for (u32 word = from / 32; word < words; ++word) {
      const u32 bits = word == from / 32 ? ends_[buffer.number()][word] >> from % 32 << from % 32 : ends_[buffer.number()][word];
      if (bits != 0) return word * 32 + static_cast<u32>(__builtin_ctz(bits));
    }
    return Bytes;
  }
  [[nodiscard]] bool is_record(buffer_index buffer, u32 byte) const { return (records_[buffer.number()][byte / 32] >> byte % 32 & 1) != 0; }

 private:
  static constexpr u32 words = Bytes / 32;
  u32 ends_[Buffers][words]{};
  u32 records_[Buffers][words]{};
};

template <u32 Buffers, u32 Bytes>
class borders<Buffers, Bytes, false> {
 public:
  void clear(buffer_index) {}
  void mark(buffer_index, u32, border) {}
  [[nodiscard]] u32 end(buffer_index, u32) const { return Bytes; }
  [[nodiscard]] bool is_record(buffer_index, u32) const { return false; }
};

/// `Pool` has the buffers.
template <class Pool, limits L>
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
  [[nodiscard]] bool append(connection& c, Pool& pool, buffer_index buffer, u32 length) {
    if (move_in(c, pool, buffer, length)) return false;
    link(c, pool, buffer, length);
    return true;
  }
  /// What has arrived last is the end of a message.
  void end_message(connection& c, border what) {
    if (c.received.empty()) return;
    const buffer_index tail = c.received.last();
    if (borders_.end(tail, filled(tail) - 1) < L.receive_packet) return;  // told twice
    borders_.mark(tail, filled(tail) - 1, what);
    ++c.whole_messages;
  }

  /// The first message. Only if there is a whole one.
  [[nodiscard]] message_found first_message(const connection& c, Pool& pool) const {
    u32 size = 0, from = c.read_up_to;
    for (buffer_index at = c.received.first(); !at.is_none(); at = pool.after(at), from = 0) {
      const u32 end = borders_.end(at, from);
      if (end < L.receive_packet) return {size + end + 1 - from, borders_.is_record(at, end)};
      size += filled(at) - from;
    }
    return {size, false};
  }

  /// The first unread bytes, as many as lie together. Only if there are some.
  [[nodiscard]] const_bytes first(const connection& c, Pool& pool) const {
    const buffer_index buffer = c.received.first();
    return {pool.payload(buffer) + c.read_up_to, filled(buffer) - c.read_up_to};
  }
  /// The first `size` bytes of them are done with.
  void consume(connection& c, Pool& pool, u32 size) {
    count_read(c, size);
    c.read_up_to += size;
    if (c.read_up_to < filled(c.received.first())) return;
    c.read_up_to = 0;
    pool.give_back(c.received.pop(pool));
  }
  void discard(connection& c, Pool& pool) {
    c.whole_messages = 0;
    while (!c.received.empty()) consume(c, pool, static_cast<u32>(first(c, pool).size()));
  }

 private:
  [[nodiscard]] bool move_in(connection& c, Pool& pool, buffer_index buffer, u32 length) {
    if (c.received.empty()) return false;
    const buffer_index tail = c.received.last();
    const u32 there = filled(tail);
    if (length > L.receive_packet - there) return false;
    __builtin_memcpy(pool.payload(tail) + there, pool.payload(buffer), length);
    filled(tail) = there + length;
    return true;
  }
  void link(connection& c, Pool& pool, buffer_index buffer, u32 length) {
    c.received.push(pool, buffer);
    filled(buffer) = length;
    if (c.messages) borders_.clear(buffer);
  }

  /// Bytes in a buffer that count.
  [[nodiscard]] u32& filled(buffer_index buffer) { return filled_[buffer.number()]; }
  [[nodiscard]] u32 filled(buffer_index buffer) const { return filled_[buffer.number()]; }

  [[nodiscard]] static constexpr u32 packets_promised(const connection& c) {
    return (c.in.promised() + (L.receive_packet - 1)) / L.receive_packet;
  }

  receive_budget budget_{};
  u32 filled_[Pool::count]{};
  VIRTIO_EMPTY_MEMBER borders<Pool::count, L.receive_packet, L.messages> borders_{};
};

}  // namespace virtio::vsock::detail
