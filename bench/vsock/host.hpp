// SPDX-License-Identifier: MIT
// A host with a socket device for counted drivers: packets are written and read by the specification (5.10).
// Little-endian hosts.
#pragma once

#include <cstring>

#include <virtio/vsock/protocol.hpp>

#include "../host.hpp"

namespace bench {

constexpr u32 guest_cid = 3;

struct vsock_host {
  static constexpr device_type type = device_type::vsock;
  static constexpr feature_set offers{feature::version_1, feature::event_idx, vsock::feature::stream};
  u8 status = 0;
  host_queue queues[3];

  template <class T>
  [[nodiscard]] static T config(usize at) {
    return at == 0 ? T{guest_cid} : T{0};
  }

  enum operation : std::uint16_t { request = 1, response = 2, data = 5, credit_update = 6 };
  static constexpr usize header_bytes = 44, length_at = 24;

  /// Sends a packet of `length` bytes from one of the host's ports, whose peer may send `allocation` bytes beyond the
  /// first `read`. The first `size` of its bytes are given; the others are not set.
  void send(operation what, u32 port, u32 guest_port, u32 allocation, u32 read, u32 length = 0,
            const void* bytes = nullptr, usize size = 0) {
    host_queue& to = queues[0];
    if (!to.has_chain()) __builtin_trap();
    unsigned char* const header = to.buffer(0);
    put<std::uint64_t>(header, 2);
    put<std::uint64_t>(header + 8, guest_cid);
    put<std::uint32_t>(header + 16, port);
    put<std::uint32_t>(header + 20, guest_port);
    put<std::uint32_t>(header + length_at, length);
    put<std::uint16_t>(header + 28, 1);
    put<std::uint16_t>(header + 30, what);
    put<std::uint32_t>(header + 32, 0);
    put<std::uint32_t>(header + 36, allocation);
    put<std::uint32_t>(header + 40, read);
    if (size != 0) std::memcpy(to.buffer(1), bytes, size);
    to.give_back(static_cast<std::uint32_t>(header_bytes + length));
  }
  /// Reads the packets from the guest, and calls `see(header)` for each.
  template <class See>
  void read_all(See see) {
    for (; queues[1].has_chain(); queues[1].give_back(0)) see(queues[1].buffer(0));
  }
};

}  // namespace bench
