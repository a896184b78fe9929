// SPDX-License-Identifier: MIT
// The age of a silent peer: what resets it, and what does not. A server that ends silent connections to make room for
// others depends on it.
#include <catch2/generators/catch_generators.hpp>

#include "vsock.hpp"

using namespace virtio;

namespace {

constexpr vsock::limits with_messages{.connections = 32, .receive_buffer = 16384, .messages = true};

struct mixed : rig::basic_sockets<with_messages> {
  mixed() {
    model.offer({1});
    m.expect_objections = true;
    model.recording = false;
    REQUIRE(begin());
  }
  /// A connection whose peer has stopped reading, and has less room than a send of `size` bytes needs.
  vsock::socket stopped(vsock::kind what, const std::vector<u8>& data) {
    const auto one = d->try_connect({2, open_port}, what);
    REQUIRE(one);
    settle();
    end(*one).reads = false;
    while (send(*one, what, data)) settle();
    settle();
    return *one;
  }
  bool send(vsock::socket one, vsock::kind what, const std::vector<u8>& data) {
    return what == vsock::kind::stream ? offer(one, data).has_value() : d->try_send_message(one, data).has_value();
  }
};

}  // namespace

TEST_CASE("vsock ages: a stalled peer grows older, whatever its host answers to the driver's requests", "[vsock]") {
  const auto what = GENERATE(vsock::kind::stream, vsock::kind::seqpacket);
  CAPTURE(static_cast<int>(what));
  mixed s;
  // The peer of messages has room for a part of one.
  const auto data = pattern(what == vsock::kind::stream ? 4096 : 60'000);
  const auto one = s.stopped(what, data);
  const u32 begin = *s->idle_for(one);
  s.forget();
  for (u32 tick = 0; tick < 60; ++tick) {
    for (int i = 0; i < 50; ++i) {
      (void)s.send(one, what, data);
      s.model.settle();
      (void)s.poll();
    }
    s->tick({.idle = 20});
  }
  CHECK(*s->idle_for(one) == begin + 60);
  CHECK(s.times(ready::idle) >= 2);
  // It reads again, and reports that.
  const vsock_flow f = s.flow(one);
  s.end(one).reads = true;
  (void)s.model.read(f);
  s.model.say(f, op::credit_update);
  s.settle();
  CHECK(*s->idle_for(one) == 0);
}

TEST_CASE("vsock ages: any answer to the program's own probe is a sign of life", "[vsock]") {
  mixed s;
  const auto one = s.stopped(vsock::kind::stream, pattern(4096));
  for (int i = 0; i < 3; ++i) {
    s->tick({});
    s->tick({});
    CHECK(*s->idle_for(one) >= 2);
    REQUIRE(s->probe(one));
    s.settle();
    CHECK(*s->idle_for(one) == 0);
  }
}

TEST_CASE("vsock ages: killed clients are older than new peers that wait to be accepted", "[vsock]") {
  // A server that drops the most silent connection for a new peer would otherwise drop that new connection after
  // accept.
  const auto what = GENERATE(vsock::kind::stream, vsock::kind::seqpacket);
  CAPTURE(static_cast<int>(what));
  mixed s;
  const auto data = pattern(what == vsock::kind::stream ? 4096 : 60'000);
  std::vector<vsock::socket> killed;
  for (int i = 0; i < 20; ++i) killed.push_back(s.stopped(what, data));
  s->tick({});
  s->tick({});
  REQUIRE(s->listen(80, 4));
  (void)s.model.connect(80, 1000);
  s.settle();
  for (int tick = 0; tick < 100; ++tick) {
    for (int i = 0; i < 100; ++i) {
      for (const auto one : killed) (void)s.send(one, what, data);
      s.model.settle();
      (void)s.poll();
    }
    s->tick({});
  }
  const auto newcomer = s->try_accept(80);
  REQUIRE(newcomer);
  for (const auto one : killed) CHECK(*s->idle_for(one) > *s->idle_for(*newcomer));
}

TEST_CASE("vsock ages: a CREDIT_UPDATE with an impossible fwd_cnt is no sign of life, however often it arrives",
          "[vsock]") {
  sockets s;
  s.m.expect_objections = true;
  REQUIRE(s.begin());
  const auto one = s.connected();
  const u32 sent = GENERATE(u32{0}, u32{5000});
  const u32 beyond = GENERATE(u32{1}, u32{777'777}, u32{0xffff'ff00});
  CAPTURE(sent, beyond);
  if (sent != 0) REQUIRE(s.offer(one, pattern(sent)));
  s.settle();
  const auto says = [&](u32 allocation, u32 forwarded) {
    auto p = op::packet(s.flow(one), op::credit_update);
    p.buf_alloc = allocation;
    p.fwd_cnt = forwarded;
    s.model.inject(p);
    s.settle();
  };
  says(s.model.host.buf_alloc, sent);
  REQUIRE(*s->undelivered(one) == 0);
  const u32 begin = *s->idle_for(one);
  for (u32 i = 0; i < 30; ++i) {
    says(s.model.host.buf_alloc, sent + beyond);
    s->tick({.idle = 20});
  }
  CHECK(*s->idle_for(one) == begin + 30);
  CHECK(s.times(ready::idle) == 1);
  says(s.model.host.buf_alloc + 1, sent + beyond);  // that part of it is news
  CHECK(*s->idle_for(one) == 0);
}
