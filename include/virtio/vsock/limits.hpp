// SPDX-License-Identifier: MIT
// The sizes of a vsock driver's tables and buffers. Layer: vsock.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio::vsock {

/// Choices that change a driver's layout. Nothing grows at run time; a full table is an error with its own name.
struct limits {
  u16 connections = 8;         // at once, including those that are being closed
  u16 outgoing = 1;            // places of those that stay free for try_connect while connections wait to be accepted
  u16 listeners = 4;           // ports on which the program listens
  u16 replies = 16;            // resets to unknown peers that wait for room in the transmit queue
  u32 receive_packet = 4096;   // bytes of payload in one receive buffer, a power of two
  u32 receive_buffer = 65536;  // maximum bytes that the peer of one connection may send ahead: its largest window
  u32 receive_pool = 0;        // the same for all connections together; 0: each may have `receive_buffer`
  u16 pieces = 0;              // pieces that the program may hold (try_take): one more receive buffer for each
  u32 send_packet = 4096;      // bytes of payload in one send buffer, at most 65536
  u16 send_packets = 16;       // send buffers
  bool messages = false;  // also seqpacket: a quarter more memory for received packets, to record where messages end

  /// Packets that may be promised to all peers together.
  [[nodiscard]] constexpr u32 pool_packets() const {
    return static_cast<u32>(receive_pool != 0 ? receive_pool / receive_packet : u64{connections} * buffer_packets());
  }
  /// Packets in the largest window of one connection.
  [[nodiscard]] constexpr u32 buffer_packets() const { return receive_buffer / receive_packet; }
  /// Bytes that the peer of a connection may send ahead, whatever other connections hold.
  [[nodiscard]] constexpr u32 guaranteed_window() const {
    return pool_packets() < u64{connections} * buffer_packets() ? receive_packet : buffer_packets() * receive_packet;
  }
  /// Whether the values are consistent: powers of two, ranges, and at least one packet for each connection.
  [[nodiscard]] constexpr bool make_sense() const {
    return connections >= 1 && connections < 0x8000 && listeners >= 1 && replies >= 1 &&
           virtio::detail::is_power_of_two(receive_packet) && receive_packet >= 64 && receive_packet <= 65536 &&
           buffer_packets() >= 1 && buffer_packets() <= 0xffff && u64{connections} * buffer_packets() <= 0xffff'ffff &&
           pool_packets() >= connections && send_packet >= 64 && send_packet <= 65536 && send_packets >= 2;
  }
};

/// Maximum ages, in calls of `device::tick`. 0: without a limit.
struct ages {
  u32 connecting = 0;  // then the attempt ends as `peer_silent`
  u32 closing = 0;     // since `close`, or the peer's last sign of life (`idle_for`); then the connection is reset
  u32 idle = 0;        // `ready::idle` is reported, and again after as many more
};

}  // namespace virtio::vsock
