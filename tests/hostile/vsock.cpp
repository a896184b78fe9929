// SPDX-License-Identifier: MIT
// Devices that lie to the socket driver: rings, lengths and packets that no honest device has. Every call ends, nothing
// is read that was not written, and after a reset everything works.
#include <catch2/generators/catch_generators.hpp>
#include <catch2/catch_template_test_macros.hpp>

#include <random>

#include "ring_rig.hpp"
#include "vsock.hpp"
#include "vsock_script.hpp"

using namespace virtio;

namespace {

struct started : sockets {
  explicit started(vsock_options options = {}) : sockets{std::move(options)} { REQUIRE(begin()); }
};

}  // namespace

TEST_CASE("hostile: a vsock ring that lies takes the device down, and a start mends it", "[vsock][hostile]") {
  const u16 queue = GENERATE(u16{0}, u16{1}, u16{2});
  const int which = GENERATE(0, 1, 2, 3);
  CAPTURE(queue, which);
  started s;
  const auto one = s.connected();
  s.settle();
  auto& ring = s.model.ring(queue);
  const u16 idx = ring.raw_used_idx();
  switch (which) {
    case 0: ring.raw_used_idx(static_cast<u16>(idx + 30000)); break;
    case 1: ring.raw_used_idx(static_cast<u16>(idx - 1)); break;
    case 2:
      ring.raw_used_element(idx, 0xfffff, 0);
      ring.raw_used_idx(static_cast<u16>(idx + 1));
      break;
    default:
      ring.raw_used_element(idx, 63, 44);  // of the rx ring that is one that it has; the others have it not
      ring.raw_used_idx(static_cast<u16>(idx + 1));
      if (queue == 0) return;
  }
  for (int i = 0; i < 5; ++i) {
    (void)s.poll();
    (void)s.offer(one, pattern(4096));
  }
  CHECK(!s.offer(one, pattern(10)));
  CHECK(s->check().error() == errc::not_started);  // it was reset, and has nothing
  CHECK(s->connect(rig::echo).error() == errc::not_started);
  CHECK(s->listen(1, 1).error() != errc::ok);
  u8 byte[1];
  CHECK(!s->try_receive(one, byte));
  CHECK(s.model.status() == 0);
  CHECK(s.m.memory.live() == 0);
  s.m.expect_objections = true;  // the device remembers other positions than it showed
  REQUIRE(s.begin());
  s.check_works(s.connected());
}

TEST_CASE(
    "hostile: a used length below the header, or below what the header says, delivers nothing that was not written",
    "[vsock][hostile]") {
  started s;
  const auto one = s.connected();
  auto p = op::packet(s.flow(one), op::data, pattern(100));
  const u32 claimed = GENERATE(0u, 1u, 43u, 44u, 54u, 143u);
  CAPTURE(claimed);
  p.used = claimed;
  s.model.inject(p);
  s.settle();
  if (s->peer_of(one)) {
    const auto data = s.drained(one).first;
    CHECK(data.size() <= (claimed > 44 ? claimed - 44 : 0));
    CHECK(data == pattern(data.size()));
  }
  s.m.expect_objections = true;  // it took fewer bytes than the model gave
  REQUIRE(s.begin());
  s.check_works(s.connected());
}

TEST_CASE("hostile: a header that says more than its buffer holds delivers nothing beyond it", "[vsock][hostile]") {
  started s;
  const auto one = s.connected();
  auto p = op::packet(s.flow(one), op::data, pattern(100));
  p.len = GENERATE(101u, 4096u, 4097u, 65536u, 0x7fff'ffffu, 0xffff'ffd4u, 0xffff'ffffu);
  if (GENERATE(false, true)) p.used = 0xffff'ffff;
  CAPTURE(p.len);
  s.model.inject(p);
  s.settle();
  usize seen = 0;
  if (s->peer_of(one)) {
    const auto data = s.drained(one).first;
    seen = data.size();
    CHECK(seen <= sockets::layout.receive_packet);
    if (!p.used) CHECK(data == pattern(seen));
  }
  if (!p.used) CHECK(seen <= 100);
  s.m.expect_objections = true;
  REQUIRE(s.begin());
  s.check_works(s.connected());
}

TEST_CASE("hostile: headers that the device left as they were are headers of zeros, and nothing comes of them",
          "[vsock][hostile]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  for (int i = 0; i < 500; ++i) {
    // Each buffer has held a packet with data before.
    s.model.send(f, pattern(10));
    s.settle();
    CHECK(s.drained(one).first == pattern(10));
    auto p = op::packet(f, op::data, pattern(40));
    p.header_bytes = static_cast<u32>(i % 3 == 0 ? 0 : i % 30);
    s.model.inject(p);
    s.settle();
    REQUIRE(s->peer_of(one));
    u8 byte[1];
    CHECK(s->try_receive(one, byte).error() == errc::not_ready);
  }
  s.check_works(one);
}

TEST_CASE("hostile: flags, lengths and credit where they mean nothing change nothing", "[vsock][hostile]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  for (u32 i = 0; i < 200; ++i) {
    auto p = op::packet(f, i % 2 != 0 ? op::credit_update : op::credit_request);
    p.flags = i * 0x0101'0101u;
    p.buf_alloc = 256 * 1024;
    p.payload = pattern(i);
    p.len = i;
    s.model.inject(p);
  }
  s.settle();
  u8 byte[1];
  CHECK(s->try_receive(one, byte).error() == errc::not_ready);
  s.check_works(one);
}

TEST_CASE("hostile: a vsock device pulled out under its driver ends every call", "[vsock][hostile]") {
  started s;
  auto conn = s->connect(rig::echo);
  REQUIRE(conn);
  s.m.bus.unplug({0, 0, 4, 0});
  s.m.running = false;
  CHECK(s->check().error() == errc::device_broken);
  u8 byte[1] = {};
  CHECK(!conn->send(byte));
  CHECK(!conn->receive(byte));
  CHECK(!conn->close());
  CHECK(!s->connect(rig::echo));
  (void)s.poll();
  CHECK(s->hand_off().error() == errc::device_broken);
}

TEST_CASE("hostile: a configuration that is too short or names no guest", "[vsock][hostile]") {
  sockets s;
  const u64 cid = GENERATE(u64{0}, u64{1}, u64{2}, u64{0xffff'ffff}, u64{0x1'0000'0003}, ~u64{0});
  CAPTURE(cid);
  s.model.put_config(0, cid, 8);
  if (s.begin()) {
    (void)s->try_connect(rig::echo);
    s.settle();
  } else {
    CHECK(s->why().why != verdict::bound);
  }
  s.m.expect_objections = true;
}

TEMPLATE_TEST_CASE("hostile: hundreds of thousands of packets of garbage among calls of every kind", "[vsock][hostile]",
                   split_queue<16>, packed_queue<16>) {
  const u32 seed = rig::seed();
  CAPTURE(seed);
  std::mt19937 random{seed};
  rig::vsock_script<TestType> script;
  std::vector<u8> moves(4000);
  for (int round = 0; round < 350; ++round) {
    for (u8& one : moves) one = static_cast<u8>(random());
    script.run({moves.data(), moves.size()});
  }
  CHECK(script.packets() > 100'000);
}
