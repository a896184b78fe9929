// SPDX-License-Identifier: MIT
// Regression tests: sequences of calls and packets, each of which was a bug once.
#include <catch2/generators/catch_generators.hpp>

#include <vector>

#include "lies.hpp"
#include "vsock.hpp"

using namespace virtio;

namespace {

struct started : sockets {
  explicit started(vsock_options options = {}) : sockets{std::move(options)} { REQUIRE(begin()); }
};

}  // namespace

TEST_CASE("vsock corners: a connection leaves its listener once, however the device ends", "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 2));
  for (int round = 0; round < 3; ++round) {
    const auto from = static_cast<u32>(6000 + round);
    const vsock_flow f = s.model.connect(80, from);
    s.settle();
    s.model.send(f, pattern(100));
    s.settle();
    if (round == 1) s.model.reset_transport(4);
    s.settle();
    if (round == 2) {
      REQUIRE(s->reset());
      CHECK(s->unlisten(80));
      REQUIRE(s->hand_off());
      REQUIRE(s.begin());
      REQUIRE(s->listen(80, 2));
      break;
    }
    REQUIRE(s->unlisten(80));
    s.settle();
    REQUIRE(s->listen(80, 2));
  }
  // The listener still accepts as many as it should.
  s.settle();
  (void)s.model.connect(80, 7000);
  (void)s.model.connect(80, 7001);
  s.settle();
  CHECK(s->try_accept(80));
  CHECK(s->try_accept(80));
  CHECK(s->try_accept(80).error() == errc::not_ready);
}

TEST_CASE("vsock corners: bytes that are shown in place cannot be received a second time meanwhile", "[vsock]") {
  started s;
  const auto one = s.connected();
  s.model.send(s.flow(one), pattern(3000));
  s.settle();
  std::vector<u8> inside(5000);
  const auto shown = s->receive_with(one, [&](const_bytes here) {
    const auto got = s->try_receive(one, inside);
    CHECK((got && *got == 3000));
    return here.size();
  });
  CHECK(shown.error() == errc::in_use);
  inside.resize(3000);
  CHECK(inside == pattern(3000));
  s.settle();
  s.check_works(one);
  // Closing it inside the callback is allowed.
  s.model.send(s.flow(one), pattern(10));
  s.settle();
  const auto gone = s->receive_with(one, [&](const_bytes here) {
    REQUIRE(s->close(one));
    return here.size();
  });
  CHECK(gone.error() == errc::stale_handle);
  s.settle();
  s.check_works(s.connected());
}

TEST_CASE("vsock corners: after a reset no byte is read from storage that belongs to the caller again", "[vsock]") {
  started s;
  const auto one = s.connected();
  s.model.send(s.flow(one), pattern(100));
  s.settle();
  REQUIRE(s->reset());
  u8 into[100];
  CHECK(s->try_receive(one, into).error() == errc::canceled);
}

TEST_CASE("vsock corners: without a pool a single connection gets its whole receive buffer", "[vsock]") {
  started s;
  const auto one = s.connected();
  s.model.send(s.flow(one), pattern(sockets::layout.receive_buffer));
  s.settle();
  CHECK(s.end(one).unsent() == 0);
  CHECK(s.receive(one, sockets::layout.receive_buffer) == pattern(sockets::layout.receive_buffer));
}

TEST_CASE("vsock corners: room promised to a connection that was never established is returned", "[vsock]") {
  constexpr vsock::limits pooled{
      .connections = 4, .receive_packet = 1024, .receive_buffer = 16384, .receive_pool = 32768};
  rig::basic_sockets<pooled> s;
  REQUIRE(s.begin());
  for (int i = 0; i < 20; ++i) {
    s.model.tx = op::sending::ignore;
    std::vector<vsock::socket> all;
    for (int n = 0; n < 4; ++n) {
      const auto one = s->try_connect({2, open_port});
      if (one) all.push_back(*one);
    }
    for (const auto one : all) CHECK(s->abort(one));
    s.model.tx = op::sending::serve;
    s.settle();
  }
  const auto last = s.connected();
  s.model.send(s.flow(last), pattern(100'000));
  CHECK(s.receive(last, 100'000).size() == 100'000);
  s.settle();
  CHECK(s.end(last).credit() >= 8 * 1024);
}

TEST_CASE("vsock corners: a REQUEST for a place that is not closed yet is answered", "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 2));
  const auto one = s.accepted(80, 6000);
  const vsock_flow f = s.flow(one);
  s.model.abort(f);
  s.settle();
  s.forget();
  s.model.clear();
  s.model.inject(op::packet(f, op::request));
  s.settle();
  CHECK(s.model.count(op::reset) == 1);
  REQUIRE(s->close(one));
}

TEST_CASE("vsock corners: an orderly end is the same whichever end began it", "[vsock]") {
  started s;
  const auto one = s.connected();
  REQUIRE(s->shutdown(one, vsock::ends::both));
  s.settle();
  u8 into[10];
  CHECK(s->try_receive(one, into).error() == errc::peer_closed);
  REQUIRE(s->close(one));
}

TEST_CASE("vsock corners: the answer to a stray packet does not end a connection that begins at the same address",
          "[vsock]") {
  started s;
  s.m.expect_objections = true;
  REQUIRE(s->listen(80, 4));
  const vsock_flow f{80, 1234, 2}, other{80, 1235, 2};
  s.model.inject(op::packet(f, op::credit_update));
  s.model.inject(op::packet(other, op::credit_update));
  (void)s.model.connect(80, 1234);  // all in one batch
  s.forget();
  s.settle();
  REQUIRE(s->try_accept(80));
  CHECK(s.model.is_open(f));
  CHECK(s.model.count(op::reset) == 1);  // the other is answered
}

TEST_CASE("vsock corners: a closing connection that cannot be evicted does not let new peers take the last place",
          "[vsock]") {
  started s;
  s.m.expect_objections = true;
  REQUIRE(s->listen(80, 100));
  const auto slow = s.accepted(80, 50);
  s.end(slow).answers_shutdown = false;
  s.end(slow).reads = false;
  REQUIRE(s.offer(slow, pattern(4000)));
  s.settle();
  REQUIRE(s->close(slow));
  s.settle();
  for (u32 i = 0; i < 20; ++i) (void)s.model.connect(80, 100 + i);
  s.settle();
  CHECK(s->try_connect({2, open_port}));
}

TEST_CASE("vsock corners: a send that finds an invalid completion reports it, and keeps no place in a queue",
          "[vsock][hostile]") {
  const int how = GENERATE(0, 1);
  CAPTURE(how);
  sockets s;
  REQUIRE(s.begin());
  s.m.expect_objections = true;
  const auto one = s.connected();
  const auto packet = pattern(4096);
  s.model.tx = op::sending::keep;
  while (s.offer(one, packet)) {}
  s.model.settle();
  rig::lie(static_cast<virtio::testing::split_device&>(s.model.ring_in_use(1)), 0, 0);
  if (how == 0) CHECK(s.offer(one, packet).error() == errc::device_misbehaved);
  else CHECK(s->try_send_all(one, {const_bytes{packet}}).error() == errc::device_misbehaved);
  CHECK(s.offer(one, packet).error() == errc::device_misbehaved);
  REQUIRE(s.begin());
  s.model.tx = op::sending::serve;
  s.check_works(s.connected());
}
