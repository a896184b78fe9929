// SPDX-License-Identifier: MIT
// Shared by tests of the network link over a socket device: a machine with such a device, a link on it with a clock
// that the test sets, and the other end of its stream.
#pragma once

#include <vector>

#include <virtio/vsock/ethernet_link.hpp>

#include "vsock.hpp"

namespace rig {

inline u64 now_ms = 0;
struct test_clock {
  u64 operator()() const { return now_ms; }
};

using frame_bytes = std::vector<u8>;
using frames = std::vector<frame_bytes>;

/// A frame whose bytes identify it.
inline frame_bytes some_frame(usize size, u32 seed = 1) { return pattern(size, seed); }
/// The frame as it is in the stream.
inline frame_bytes framed(const frame_bytes& f, vsock::framing how = vsock::framing::hyperkit) {
  const auto n = static_cast<u32>(f.size());
  frame_bytes all;
  if (how == vsock::framing::hyperkit) all = {static_cast<u8>(n), static_cast<u8>(n >> 8)};
  else all = {static_cast<u8>(n >> 24), static_cast<u8>(n >> 16), static_cast<u8>(n >> 8), static_cast<u8>(n)};
  all.insert(all.end(), f.begin(), f.end());
  return all;
}
template <class... More>
frame_bytes join(frame_bytes all, const More&... more) {
  (all.insert(all.end(), more.begin(), more.end()), ...);
  return all;
}
inline frame_bytes bytes_of(const net::frame& f) {
  frame_bytes all(f.size);
  REQUIRE(f.copy_to(0, all) == f.size);
  return all;
}

inline constexpr u32 gvproxy_port = 1024;
inline constexpr vsock::limits ethernet_limits{
    .connections = 4, .receive_packet = 4096, .receive_buffer = 65536, .pieces = 16};

template <vsock::limits L = ethernet_limits>
struct basic_ethernet : basic_sockets<L> {
  using base = basic_sockets<L>;
  using link_type = vsock::ethernet_link<typename base::device, test_clock>;
  static_assert(net::link<link_type>);

  link_type link{};
  vsock::ethernet_options how{};

  explicit basic_ethernet(vsock_options options = {}) : base{std::move(options)} {
    now_ms = 1000;
    this->model.ports[gvproxy_port] = vsock_model::reception::accepts;
    REQUIRE(this->begin());
  }
  void start() { REQUIRE(link.start(*this->d, how)); }
  /// Runs device and link in turn until both are idle.
  void turn() {
    for (int round = 0; round < 100000; ++round) {
      const auto before = this->model.packets();
      const auto state = link.state();
      this->model.settle();
      (void)link.poll([&](const vsock::event& one) { this->events.push_back(one); });
      this->model.settle();
      if (before == this->model.packets() && state == link.state()) return;
    }
    FAIL("the link never comes to rest");
  }
  void pass(u64 milliseconds) {
    now_ms += milliseconds;
    turn();
  }
  [[nodiscard]] bool is_up() const { return link.state() == net::link_state::up; }
  /// Runs until the link is up.
  void up() {
    start();
    turn();
    pass(how.settle);
    REQUIRE(is_up());
  }
  [[nodiscard]] vsock_flow flow() { return base::flow(link.id()); }
  [[nodiscard]] peer& end() { return this->model.peer(flow()); }
  /// The bytes that the other end received since the request.
  [[nodiscard]] frame_bytes sent() {
    const auto& all = end().bytes;
    const std::string text{all.begin(), all.end()};
    const auto blank = how.path.empty() ? 0 : text.find("\r\n\r\n") + 4;
    return {all.begin() + static_cast<std::ptrdiff_t>(blank), all.end()};
  }
  result<void> send(const frame_bytes& f) {
    const const_bytes one[] = {const_bytes{f}};
    return link.try_send(one);
  }
  /// Sends from the other end.
  void feed(const frame_bytes& all) {
    this->model.send(flow(), all);
    turn();
  }
  /// The frames that can be received.
  frames received() {
    frames all;
    for (;;) {
      const auto got = link.receive_with([&](const net::frame& f) {
        all.push_back(bytes_of(f));
        return net::after_look::done;
      });
      if (!got) {
        REQUIRE(got.error() == errc::not_ready);
        return all;
      }
    }
  }
  struct kept {
    net::kept_frame name;
    std::vector<const_bytes> pieces;
    [[nodiscard]] frame_bytes bytes() const {
      frame_bytes all;
      for (const const_bytes& piece : pieces) all.insert(all.end(), piece.data(), piece.data() + piece.size());
      return all;
    }
  };
  /// Holds the next frame.
  errc keep(kept& out) {
    return link
        .receive_with([&](const net::frame& f) {
          out.name = f.name;
          out.pieces.assign(f.pieces.begin(), f.pieces.end());
          return net::after_look::keep;
        })
        .error();
  }
};
using ethernet = basic_ethernet<>;

}  // namespace rig

using rig::ethernet;
using rig::framed;
using rig::frame_bytes;
using rig::now_ms;
using rig::some_frame;
