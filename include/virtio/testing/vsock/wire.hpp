// SPDX-License-Identifier: MIT
// Packets of a socket device as bytes: a header of 44 bytes, then data. The layout is written again with the kit's own
// structs: it shares none with the library, whose oracle it is.
// Spec: virtio 1.4, 5.10.6. Layer: testing.
#pragma once

#include <compare>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include <virtio/testing/device_memory.hpp>

namespace virtio::testing {

namespace vsock_wire {

inline constexpr std::uint32_t header_size = 44;

enum op : std::uint16_t { invalid, request, response, reset, shutdown, data, credit_update, credit_request };
enum flag : std::uint32_t { no_receive = 1, no_send = 2, both_ends = 3, end_of_message = 1, end_of_record = 2 };

[[nodiscard]] inline std::string name_of(std::uint16_t op) {
  static constexpr const char* names[] = {"INVALID",  "REQUEST", "RESPONSE",      "RST",
                                          "SHUTDOWN", "RW",      "CREDIT_UPDATE", "CREDIT_REQUEST"};
  return op < std::size(names) ? names[op] : "op " + std::to_string(op);
}

}  // namespace vsock_wire

/// The ends of a connection. The guest's CID is implied.
struct vsock_flow {
  std::uint32_t guest_port = 0, host_port = 0;
  std::uint64_t cid = 2;  // of the peer: the host, or a sibling
  [[nodiscard]] friend auto operator<=>(const vsock_flow&, const vsock_flow&) = default;
};

/// One packet. Injected packets are sent unchanged: any field, any value.
struct vsock_packet {
  static constexpr std::uint64_t the_guest = ~std::uint64_t{0};

  std::uint64_t src_cid = 2, dst_cid = the_guest;
  std::uint32_t src_port = 0, dst_port = 0, len = 0;
  std::uint16_t type = 1, op = 0;
  std::uint32_t flags = 0, buf_alloc = 0, fwd_cnt = 0;

  std::vector<std::uint8_t> payload{};  // written after the header, as far as it fits; `len` is only the header's value
  std::optional<std::uint32_t> used{};  // the used length instead of the bytes written
  std::uint32_t header_bytes = 44;      // if smaller, the rest of the header keeps the buffer's content

  /// The connection that a packet from the guest, or one to it, belongs to.
  [[nodiscard]] vsock_flow flow_from_guest() const { return {src_port, dst_port, dst_cid}; }
  [[nodiscard]] vsock_flow flow_to_guest() const { return {dst_port, src_port, src_cid}; }
  /// Makes it a packet to the guest.
  void address(const vsock_flow& f) {
    src_cid = f.cid;
    src_port = f.host_port;
    dst_port = f.guest_port;
  }
};

namespace vsock_wire {

inline void put_header(std::uint8_t (&to)[header_size], const vsock_packet& p) {
  wire::put64(to, p.src_cid);
  wire::put64(to + 8, p.dst_cid);
  wire::put32(to + 16, p.src_port);
  wire::put32(to + 20, p.dst_port);
  wire::put32(to + 24, p.len);
  wire::put16(to + 28, p.type);
  wire::put16(to + 30, p.op);
  wire::put32(to + 32, p.flags);
  wire::put32(to + 36, p.buf_alloc);
  wire::put32(to + 40, p.fwd_cnt);
}

[[nodiscard]] inline vsock_packet get_header(const std::uint8_t (&from)[header_size]) {
  vsock_packet p;
  p.src_cid = wire::get64(from);
  p.dst_cid = wire::get64(from + 8);
  p.src_port = wire::get32(from + 16);
  p.dst_port = wire::get32(from + 20);
  p.len = wire::get32(from + 24);
  p.type = wire::get16(from + 28);
  p.op = wire::get16(from + 30);
  p.flags = wire::get32(from + 32);
  p.buf_alloc = wire::get32(from + 36);
  p.fwd_cnt = wire::get32(from + 40);
  return p;
}

}  // namespace vsock_wire
}  // namespace virtio::testing
