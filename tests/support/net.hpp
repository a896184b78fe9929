// SPDX-License-Identifier: MIT
// Shared by tests of the network driver.
#pragma once

#include <initializer_list>
#include <vector>

#include <virtio/net.hpp>
#include <virtio/testing/net_model.hpp>

#include "machine.hpp"

namespace rig {

using virtio::testing::net_model;
using net_offers = std::initializer_list<unsigned>;

inline constexpr net::options few_buffers{.receive_buffers = 8, .send_buffers = 4};
/// A frame of 1,500 bytes fills several of these.
inline constexpr net::options small_buffers{.receive_buffers = 16, .receive_bytes = 494, .send_buffers = 4};

template <class Queue = split_queue<8>, net::options O = few_buffers>
using net_driver = driver<net::device<platform_type, any_pci, Queue, O>>;
/// For a legacy QEMU device.
using legacy_net_queue = split_queue<16, ring_options{.ring_entries = 64}>;

/// A unique frame of this many bytes.
inline std::vector<u8> frame_of(usize size, u32 seed = 1) {
  std::vector<u8> out(size);
  for (usize i = 0; i < size; ++i) out[i] = static_cast<u8>(seed * 31 + i * 7 + (i >> 8) * 3);
  return out;
}

template <class Driver>
result<void> send(Driver& d, const std::vector<u8>& data, net::to_compute compute = {}) {
  const const_bytes one[] = {{data.data(), data.size()}};
  return d->try_send(one, compute);
}

/// A frame as received.
struct seen_frame {
  std::vector<u8> data;
  usize pieces = 0;
  net::checksum sum{};
  net::to_compute compute{};
  net::kept_frame name{};
};
/// The next frame. An `error` other than ok: there was none.
template <class Driver>
errc receive(Driver& d, seen_frame& out, net::after_look what = net::after_look::done) {
  return d
      ->receive_with([&](const net::frame& f) {
        out = {std::vector<u8>(f.size), f.pieces.count, f.sum, f.compute, f.name};
        REQUIRE(f.copy_to(0, bytes{out.data.data(), out.data.size()}) == f.size);
        REQUIRE(f.pieces.size() == f.size);
        return what;
      })
      .error();
}
template <class Driver>
std::vector<u8> received(Driver& d) {
  seen_frame one;
  const errc got = receive(d, one);
  CHECK(got == errc::ok);
  return one.data;
}

/// The addresses of a held frame, to check that they are not written.
template <class Driver>
net::kept_frame keep(Driver& d, const u8*& at, usize& size) {
  net::kept_frame name;
  REQUIRE(d->receive_with([&](const net::frame& f) {
    name = f.name;
    at = f.pieces.first[0].data();
    size = f.pieces.first[0].size();
    return net::after_look::keep;
  }));
  return name;
}

}  // namespace rig
