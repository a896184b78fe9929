// SPDX-License-Identifier: MIT
// Shared by tests of the socket driver: a machine with one socket device, its driver, and the events that it returned.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <virtio/testing/vsock_model.hpp>
#include <virtio/vsock.hpp>

#include "machine.hpp"

namespace rig {

using virtio::testing::vsock_flow;
using virtio::testing::vsock_host;
using virtio::testing::vsock_model;
using virtio::testing::vsock_options;
using virtio::testing::vsock_packet;
using peer = vsock_model::connection;
using vsock::ready;

inline constexpr u32 open_port = 5000;  // of the host: accepts
inline constexpr vsock::address echo{vsock::host_cid, open_port};

/// Bytes that identify their origin.
inline std::vector<u8> pattern(usize n, u32 seed = 1, usize from = 0) {
  std::vector<u8> all(n);
  for (usize i = 0; i < n; ++i)
    all[i] = static_cast<u8>(((from + i) * 167 + ((from + i) >> 8) * 13 + seed * 29) & 0xff);
  return all;
}

// Compiled in vsock.cpp, as those of machine.hpp are in machine.cpp.
std::unique_ptr<device_model> made(kind<vsock_model>, device_memory& memory, vsock_options options = {});

/// A driver and its host. `L` is the driver's layout.
template <vsock::limits L = vsock::limits{}, class Queue = split_queue<64>, class Transport = modern_pci>
struct basic_sockets {
  using device = vsock::device<platform_type, Transport, Queue, L>;
  static constexpr vsock::limits layout = L;

  machine m{};
  vsock_model& model;
  driver<device> d{};
  std::vector<vsock::event> events{};

  explicit basic_sockets(vsock_options options = {}, seat where = seat::modern)
      : model{m.add<vsock_model>(where, 4, std::move(options))} {
    model.ports[open_port] = vsock_model::reception::accepts;
    model.offer({34});
  }
  result<void> begin() { return d.start(m, m.where(4)); }
  device* operator->() { return &*d; }

  result<usize> poll() {
    return d->poll([&](vsock::event one) { events.push_back(one); });
  }
  /// Runs device and driver in turn until both are idle.
  void settle() {
    for (int round = 0; round < 100000; ++round) {
      const auto before = std::pair{model.packets(), events.size()};
      model.settle();
      (void)poll();
      model.settle();
      if (before == std::pair{model.packets(), events.size()}) return;
    }
    FAIL("driver and device never come to rest");
  }
  /// The events of a socket since the last forget().
  [[nodiscard]] flags<vsock::ready> said(vsock::socket s) const {
    flags<vsock::ready> all{};
    for (const vsock::event& one : events)
      if (one.which == s) all |= one.what;
    return all;
  }
  [[nodiscard]] u32 times(vsock::ready what) const {
    return static_cast<u32>(
        std::count_if(events.begin(), events.end(), [&](const auto& one) { return one.what.has(what); }));
  }
  void forget() {
    events.clear();
    model.clear();
  }

  /// The host's name of a connection.
  vsock_flow flow(vsock::socket s) {
    const auto whom = d->peer_of(s);
    const auto mine = d->local_port_of(s);
    REQUIRE(whom);
    REQUIRE(mine);
    return {*mine, whom->port, whom->cid};
  }
  peer& end(vsock::socket s) { return model.peer(flow(s)); }

  /// A connection opened by the guest.
  vsock::socket connected(u32 port = open_port) {
    model.ports.try_emplace(port, vsock_model::reception::accepts);
    const auto s = d->try_connect({vsock::host_cid, port});
    REQUIRE(s);
    settle();
    REQUIRE(said(*s).has(ready::connected));
    return *s;
  }
  /// A connection opened by the host, to a listening port.
  vsock::socket accepted(u32 port, u32 from) {
    (void)model.connect(port, from);
    settle();
    const auto s = d->try_accept(port);
    REQUIRE(s);
    return *s;
  }
  /// All bytes that can be read, and the error that ended the reading.
  std::pair<std::vector<u8>, errc> drained(vsock::socket s, usize piece = 1000) {
    std::vector<u8> all, buffer(piece);
    for (;;) {
      const auto got = d->try_receive(s, buffer);
      if (!got) return {all, got.error()};
      REQUIRE(*got <= piece);
      REQUIRE(*got != 0);
      all.insert(all.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(*got));
    }
  }
  /// Reads until this many bytes have arrived, while the device runs.
  std::vector<u8> receive(vsock::socket s, usize n, usize piece = 4096) {
    std::vector<u8> all;
    for (int round = 0; all.size() < n && round < 100000; ++round) {
      settle();
      const auto [some, why] = drained(s, piece);
      all.insert(all.end(), some.begin(), some.end());
      if (some.empty() && why != errc::not_ready) break;
    }
    return all;
  }
  /// Sends everything, while the device runs; calls `between` after each piece.
  template <class F>
  void send(vsock::socket s, const std::vector<u8>& all, F&& between) {
    usize done = 0;
    for (int round = 0; done < all.size() && round < 1000000; ++round) {
      const auto sent = d->try_send(s, const_bytes{all.data() + done, all.size() - done});
      if (sent) {
        REQUIRE(*sent != 0);
        REQUIRE(*sent <= all.size() - done);
        done += *sent;
      } else {
        REQUIRE((sent.error() == errc::no_credit || sent.error() == errc::no_buffer));
        settle();
      }
      between();
    }
    REQUIRE(done == all.size());
    REQUIRE(d->flush(s));
    settle();
  }
  void send(vsock::socket s, const std::vector<u8>& all) {
    send(s, all, [] {});
  }
  /// Sends at once as much as is accepted.
  result<usize> offer(vsock::socket s, const std::vector<u8>& all) { return d->try_send(s, all); }
  /// Whether a round trip works on a connection.
  void check_works(vsock::socket s) {
    const vsock_flow f = flow(s);
    REQUIRE(model.is_open(f));
    const auto out = pattern(100, 7), in = pattern(50, 9);
    const u64 before = model.peer(f).arrived;
    send(s, out);
    if (!model.peer(f).reads) (void)model.read(f);
    CHECK(model.peer(f).arrived == before + 100);
    model.send(f, in);
    CHECK(receive(s, 50) == in);
  }
};
using sockets = basic_sockets<>;

}  // namespace rig

using rig::open_port;
using rig::pattern;
using rig::peer;
using rig::sockets;
using rig::vsock_flow;
using rig::vsock_host;
using rig::vsock_model;
using rig::vsock_options;
using rig::vsock_packet;
using virtio::vsock::ends;
using op = vsock_model;  // op::request, op::both_ends
using virtio::vsock::ready;

#ifdef VIRTIO_TEST_ONE_UNIT
#include "vsock.cpp"
#else
extern template class virtio::vsock::device<rig::platform_type, rig::modern_pci, virtio::split_queue<64>>;
extern template struct rig::basic_sockets<>;
#endif
