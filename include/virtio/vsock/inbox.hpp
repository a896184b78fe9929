// SPDX-License-Identifier: MIT
// What has arrived and nobody has read: bytes that stay in the buffers they arrived in, linked by connection; and how much more each
// peer is promised room for. Every promise is backed by memory: no peer that keeps to its promise is ever turned away.
// Layer: vsock.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/vsock/limits.hpp>
#include <virtio/vsock/table.hpp>

namespace virtio::vsock::detail {

/// `Queues` has the buffers (packets.hpp).
template <class Queues, limits L>
class inbox {
 public:
  /// Nothing has arrived, and each connection's first packet is spoken for.
  void start() { budget_.start(L.pool_packets() - L.connections); }

  // Promises -------------------------------------------------------------------------------------------------------------

  /// How far a connection's window should reach now.
  [[nodiscard]] u32 wanted_window(const connection& c) const {
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
    if (c.last_received != 0) {
      const u16 tail = static_cast<u16>(c.last_received - 1);
      u32& filled = queues.filled(tail);
      if (length <= L.receive_packet - filled) {
        __builtin_memcpy(queues.received(tail) + filled, queues.received(buffer), length);
        filled += length;
        return false;
      }
    }
    const u16 link = static_cast<u16>(buffer + 1);
    (c.last_received == 0 ? c.first_received : queues.after(static_cast<u16>(c.last_received - 1))) = link;
    c.last_received = link;
    queues.after(buffer) = 0;
    queues.filled(buffer) = length;
    return true;
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
    while (c.first_received != 0) consume(c, queues, static_cast<u32>(first(c, queues).size()));
  }

 private:
  [[nodiscard]] static constexpr u32 packets_promised(const connection& c) {
    return (c.in.promised() + (L.receive_packet - 1)) / L.receive_packet;
  }

  receive_budget budget_{};
};

}  // namespace virtio::vsock::detail
