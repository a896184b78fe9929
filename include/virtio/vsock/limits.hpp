// SPDX-License-Identifier: MIT
// How much of everything a vsock driver has. Layer: vsock.
#pragma once

#include <virtio/base/types.hpp>

namespace virtio::vsock {

/// Choices that change a driver's layout. Nothing grows at run time; whoever finds a table full is told so by name.
struct limits {
  u16 connections = 8;         // at once, those that are being closed included
  u16 outgoing = 1;            // of them, places kept free for try_connect while any connection waits to be accepted
  u16 listeners = 4;
  u16 replies = 16;            // resets to strangers that wait for room in the transmit queue
  u32 receive_packet = 4096;   // bytes of payload in one receive buffer, a power of two
  u32 receive_buffer = 65536;  // bytes that the peer of one connection may send ahead, at most: its largest window
  u32 receive_pool = 0;        // the same of all connections together, at most; 0: all may have `receive_buffer`
  u16 pieces = 0;              // of what has arrived, that the program may hold (try_take): a receive buffer more for each
  u32 send_packet = 4096;      // bytes of payload in one send buffer, 65536 at most
  u16 send_packets = 16;       // send buffers
  bool messages = false;       // seqpacket, too: a quarter more memory for received packets, to remember where messages end

  /// Bytes that are promised to all peers together, in packets.
  [[nodiscard]] constexpr u32 pool_packets() const {
    return static_cast<u32>(receive_pool != 0 ? receive_pool / receive_packet : u64{connections} * buffer_packets());
  }
  [[nodiscard]] constexpr u32 buffer_packets() const { return receive_buffer / receive_packet; }
  /// Bytes that the peer of a connection may send ahead whatever the others are promised.
  [[nodiscard]] constexpr u32 guaranteed_window() const {
    return pool_packets() < u64{connections} * buffer_packets() ? receive_packet : buffer_packets() * receive_packet;
  }
  [[nodiscard]] constexpr bool make_sense() const {
    return connections >= 1 && connections < 0x8000 && listeners >= 1 && replies >= 1 && virtio::detail::is_power_of_two(receive_packet) &&
           receive_packet >= 64 && receive_packet <= 65536 && buffer_packets() >= 1 && buffer_packets() <= 0xffff &&
           u64{connections} * buffer_packets() <= 0xffff'ffff &&
           pool_packets() >= connections &&
           send_packet >= 64 && send_packet <= 65536 && send_packets >= 2;
  }
};

/// How old what waits for a peer may get, in calls of `device::tick`. 0: as old as it likes.
struct ages {
  u32 connecting = 0;  // then it ends as `peer_silent`
  u32 closing = 0;     // since `close`, or the peer's last sign of life (`idle_for`); then it is reset
  u32 idle = 0;        // `ready::idle` is told, and again after as many more
};

}  // namespace virtio::vsock
