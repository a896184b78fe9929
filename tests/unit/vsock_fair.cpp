// SPDX-License-Identifier: MIT
// Send buffers are shared: what a program learns that finds none, who comes first, and what leaves ahead of a sleep.
#include "vsock.hpp"

using namespace virtio;

namespace {

constexpr vsock::limits with_messages{.connections = 64, .receive_buffer = 16384, .messages = true};

struct mixed : rig::basic_sockets<with_messages> {
  mixed() {
    model.offer({1});
    m.expect_objections = true;
    REQUIRE(begin());
  }
  vsock::socket with_messages_to(u32 port) {
    const auto s = d->try_connect({2, port}, vsock::kind::seqpacket);
    REQUIRE(s);
    settle();
    REQUIRE(said(*s).has(ready::connected));
    return *s;
  }
};

}  // namespace

TEST_CASE("vsock fair: a long message beside streams that never stop has its turn", "[vsock]") {
  mixed s;
  const auto talker = s.with_messages_to(open_port);
  const vsock::socket busy[] = {s.connected(), s.connected()};
  const auto big = pattern(60'000), piece = pattern(20'000);
  u64 bytes = 0, messages = 0;
  for (int i = 0; i < 2000; ++i) {
    for (const auto b : busy)
      if (const auto sent = s.offer(b, piece)) bytes += *sent;
    if (s->try_send_message(talker, big)) ++messages;
    (void)s.model.step();
    (void)s.poll();
    s.events.clear();
  }
  CAPTURE(bytes, messages);
  CHECK(messages > 100);
  CHECK(bytes > 100 * 20'000);
}

TEST_CASE("vsock fair: of 64 connections of all kinds none waits for ever, whatever the others do", "[vsock]") {
  mixed s;
  struct one {
    vsock::socket who;
    std::vector<u8> data;
    bool message, is_stopped;
    u32 done = 0, waits = 0, longest = 0;
  };
  std::vector<one> all;
  for (u32 i = 0; i < 64; ++i) {
    const bool message = i % 3 == 0, stopped = i % 8 == 7;
    const auto who = message ? s.with_messages_to(open_port) : s.connected();
    all.push_back({who, pattern(i % 2 == 0 ? 100 : message ? 60'000 : 9000), message, stopped});
    s.end(who).reads = !stopped;
  }
  s.m.memory.events.clear();
  s.model.recording = false;
  for (int round = 0; round < 6000; ++round) {
    for (one& c : all) {
      const auto sent = c.message ? s->try_send_message(c.who, c.data).has_value() : s.offer(c.who, c.data).has_value();
      c.waits = sent ? 0 : c.waits + 1;
      c.done += sent;
      if (c.waits > c.longest) c.longest = c.waits;
    }
    s.model.settle();
    (void)s.poll();
    s.events.clear();
  }
  u32 worst = 0;
  for (const one& c : all) {
    if (c.is_stopped) continue;
    CHECK(c.done > 0);
    if (c.longest > worst) worst = c.longest;
  }
  CHECK(worst <= 64 * 17);  // each of the others once, and as many polls as a promise lasts
}

TEST_CASE("vsock fair: a peer that takes back its room for a staged message keeps no buffers from others", "[vsock]") {
  mixed s;
  const auto victim = s.connected();
  const auto culprit = s.with_messages_to(open_port);
  const vsock_flow f = s.flow(culprit);
  s.model.tx = op::sending::ignore;
  for (u32 i = 0; i < 200; ++i) {
    vsock_packet p;
    p.src_port = 100 + i;
    p.dst_port = 9;
    p.op = op::request;
    s.model.inject(p);
  }
  s.settle();
  const auto big = pattern(60'000);
  REQUIRE(s->try_send_message(culprit, big));
  s.model.set_window(f, 1);
  s.settle();
  s.model.give_back();
  s.settle();
  u32 went = 0;
  for (int i = 0; i < 1000; ++i) {
    went += s.offer(victim, pattern(4000)).has_value();
    s.settle();
  }
  CHECK(went > 900);
}

TEST_CASE("vsock fair: no credit and no buffer are told apart, and room and undelivered say how things are", "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  const auto one = s.connected(), two = s.connected();
  s.end(one).reads = false;
  const u32 whole = *s->room(one);
  CHECK(*s->undelivered(one) == 0);
  s.send(two, pattern(100));
  while (const auto sent = s.offer(one, pattern(4096))) {
    CHECK(*s->room(one) + *s->undelivered(one) == whole);
    s.settle();
  }
  CHECK(s.offer(one, pattern(1)).error() == errc::no_credit);
  CHECK(*s->room(one) == 0);
  CHECK(*s->undelivered(one) == whole);
  s.model.tx = op::sending::keep;
  usize taken = 0;
  result<usize> sent{};
  while ((sent = s.offer(two, pattern(4096)))) taken += *sent;
  CHECK(taken == 16 * 4096);
  CHECK(sent.error() == errc::no_buffer);
  CHECK(*s->room(two) > 0);
  s.forget();
  s.model.give_back();
  s.settle();
  CHECK(s.said(two).has(ready::writable));
  CHECK(s.offer(two, pattern(4096)));
}

TEST_CASE("vsock fair: pieces leave together or not at all", "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  const vsock_flow f = s.flow(one);
  s.forget();
  std::vector<u8> expected;
  u32 frames = 0;
  for (u32 i = 0; i < 2000; ++i) {
    const auto head = pattern(2, i), frame = pattern(60 + i * 7 % 1400, i);
    result<void> sent{};
    while (!(sent = s->try_send_all(one, {const_bytes{head}, const_bytes{frame}}))) {
      REQUIRE((sent.error() == errc::no_credit || sent.error() == errc::no_buffer));
      s.settle();
    }
    expected.insert(expected.end(), head.begin(), head.end());
    expected.insert(expected.end(), frame.begin(), frame.end());
    ++frames;
    if (i % 4 == 0) s.settle();
  }
  REQUIRE(s->flush(one));
  s.settle();
  CHECK(s.model.peer(f).bytes == expected);
  CHECK(s.model.count(op::data) <= frames);

  // Longer than a buffer, with a part of one gathered; and what can never go.
  const auto big = pattern(40'000, 5), more = pattern(300, 6);
  s.end(one).reads = true;
  const u64 before = s.model.peer(f).arrived;
  const std::vector<const_bytes> many{more, big, {}, more};  // as many as a program finds out while it runs
  REQUIRE(s->try_send_all(one, scatter<const_bytes>{many.data(), many.size()}));
  s.settle();
  CHECK(s.model.peer(f).arrived == before + 40'600);
  const auto huge = pattern(17 * 4096);
  CHECK(s->try_send_all(one, {const_bytes{huge}}).error() == errc::too_long);
  CHECK(s->try_send_all(one, {const_bytes{}}));
  s.check_works(one);
}

TEST_CASE("vsock fair: a peer that stands still lets the program sleep, and what is gathered leaves first", "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  const vsock_flow f = s.flow(one);
  s.model.peer(f).reads = false;
  for (int i = 0; i < 80; ++i) {
    REQUIRE(s.offer(one, pattern(100)));
    s.settle();
  }
  (void)s->arm();
  s.settle();
  CHECK(s.model.peer(f).arrived == 8000);
  s.forget();
  u32 awake = 0;
  const auto wait = [&] {
    for (int i = 0; i < 100'000; ++i) {
      s.model.settle();
      (void)s.poll();
      s.events.clear();
      awake += s->arm();
    }
  };
  wait();
  CHECK(awake < 20);
  CHECK(s.model.count(op::credit_request) < 20);
  // Far more than such a peer should have unread: the rest waits for its word.
  for (int i = 0; i < 400; ++i) {
    (void)s.offer(one, pattern(10));
    (void)s->arm();
    s.model.settle();
  }
  CHECK(s.model.is_open(f));
  s.forget();
  wait();
  CHECK(awake < 60);
  CHECK(s.model.count(op::credit_request) < 60);
}

TEST_CASE("vsock fair: a promise that lapsed is not good again when the count of turns has come round", "[vsock]") {
  constexpr vsock::limits few{.connections = 3, .send_packets = 4};
  using pool = buffer_pool<4, few.send_packet>;
  using vsock::detail::connection;
  vsock::detail::outbox<pool, few> unsent;
  std::vector<u64> memory(pool::dma_bytes / sizeof(u64));
  pool buffers;
  buffers.start({reinterpret_cast<u8*>(memory.data()), pool::dma_bytes});
  connection all[3];
  unsent.start();
  u16 served = 0;
  const auto promise = [&](u16 one) {
    unsent.wait(all, one, 2);
    return unsent.serve(all, buffers, served) && served == one;
  };
  REQUIRE(promise(0));  // which never comes for it
  CHECK_FALSE(unsent.may_take(all, 2, buffers, 4));
  u32 lapsed = 0;
  for (u32 polls = 0; polls < 16 * 65536; ++polls) {
    unsent.poll(all);
    if (unsent.has_work()) continue;
    lapsed += promise(1);
  }
  CHECK(lapsed == 65536);
  unsent.forget_promise(all[0]);
  CHECK_FALSE(unsent.may_take(all, 2, buffers, 4));  // two are another's
  unsent.forget_promise(all[1]);
  CHECK(unsent.may_take(all, 2, buffers, 4));
}
