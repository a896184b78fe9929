// SPDX-License-Identifier: MIT
// Send buffers are shared: the errors of a program that finds none, the order of waiting connections, and what leaves
// before a sleep.
#include <catch2/generators/catch_generators.hpp>

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

TEST_CASE("vsock fair: a long message has its turn beside endless streams", "[vsock]") {
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

TEST_CASE("vsock fair: none of 64 connections of all kinds waits without end", "[vsock]") {
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
  CHECK(worst <= 64 * 17);  // each of the others once, and as many polls as a reservation lasts
}

TEST_CASE("vsock fair: a peer that withdraws room for a staged message keeps no buffers from others", "[vsock]") {
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

TEST_CASE("vsock fair: no_credit and no_buffer are distinct, and room and undelivered return the numbers", "[vsock]") {
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

  // Longer than a buffer, with a part of one gathered; and what can never be sent.
  const auto big = pattern(40'000, 5), more = pattern(300, 6);
  s.end(one).reads = true;
  const u64 before = s.model.peer(f).arrived;
  const std::vector<const_bytes> many{more, big, {}, more};  // a number that a program computes at run time
  REQUIRE(s->try_send_all(one, scatter<const_bytes>{many.data(), many.size()}));
  s.settle();
  CHECK(s.model.peer(f).arrived == before + 40'600);
  const auto huge = pattern(17 * 4096);
  CHECK(s->try_send_all(one, {const_bytes{huge}}).error() == errc::too_long);
  CHECK(s->try_send_all(one, {const_bytes{}}));
  s.check_works(one);
}

TEST_CASE("vsock fair: a stalled peer lets the program sleep, and gathered bytes leave first", "[vsock]") {
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
  // Far more than such a peer should have unread: the rest waits for its update.
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

TEST_CASE("vsock fair: an expired reservation is not valid again when the poll counter wraps", "[vsock]") {
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
    all[one].wants_bytes = 2 * few.send_packet;
    unsent.wait(all, one);
    return unsent.serve(all, buffers, served) && served == one;
  };
  REQUIRE(promise(0));  // it is never used
  CHECK_FALSE(unsent.may_take(all, 2, buffers, 4));
  u32 lapsed = 0;
  for (u32 polls = 0; polls < 16 * 65536; ++polls) {
    unsent.poll(all);
    if (unsent.has_work()) continue;
    lapsed += promise(1);
  }
  CHECK(lapsed == 65536);
  unsent.stop_waiting(all, 0);
  CHECK_FALSE(unsent.may_take(all, 2, buffers, 4));  // two are reserved for another
  unsent.stop_waiting(all, 1);
  CHECK(unsent.may_take(all, 2, buffers, 4));
}

TEST_CASE("vsock fair: a connection that waits for buffers keeps its place whatever its peer sends", "[vsock]") {
  mixed s;
  const auto message = s.with_messages_to(open_port);
  const auto big = pattern(60'000), piece = pattern(20'000), little = pattern(100);
  std::vector<vsock::socket> busy;
  for (int i = 0; i < 24; ++i) busy.push_back(s.connected());
  const auto stream = s.connected();
  const vsock_flow of_message = s.flow(message), of_stream = s.flow(stream);
  s.m.memory.events.clear();
  s.model.recording = false;
  u32 messages = 0, pieces = 0;
  u8 into[64];
  for (int i = 0; i < 2000; ++i) {
    for (const auto b : busy) (void)s.offer(b, piece);
    messages += s->try_send_message(message, big).has_value();
    pieces += s.offer(stream, little).has_value();
    s.model.send_message(of_message, pattern(10));
    s.model.send(of_stream, pattern(10));
    s.model.settle();
    (void)s.poll();
    s.events.clear();
    while (s->try_receive_message(message, into)) {}
    (void)s.drained(stream);
  }
  CHECK(messages > 100);
  CHECK(pieces > 100);
}

TEST_CASE("vsock fair: an unused reservation of buffers does not block others while the program sleeps", "[vsock]") {
  constexpr vsock::limits four{.connections = 4, .send_packets = 4};
  enum class what { is_not_used, is_used_in_part, is_of_a_closed_one, is_of_one_that_shut, is_of_one_that_is_aborted };
  const what promise = GENERATE(what::is_not_used, what::is_used_in_part, what::is_of_a_closed_one,
                                what::is_of_one_that_shut, what::is_of_one_that_is_aborted);
  CAPTURE(static_cast<int>(promise));
  rig::basic_sockets<four> s;
  REQUIRE(s.begin());
  const auto first = s.connected(), second = s.connected();
  s.end(first).answers_shutdown = false;
  s.model.tx = op::sending::keep;
  const auto all_buffers = pattern(4 * 4096);
  REQUIRE(s->try_send_all(second, {const_bytes{all_buffers}}));
  REQUIRE(s->try_send_all(first, {const_bytes{all_buffers}}).error() == errc::no_buffer);
  REQUIRE(s.offer(second, pattern(10'000)).error() == errc::no_buffer);
  if (promise == what::is_of_a_closed_one) REQUIRE(s->close(first));
  if (promise == what::is_of_one_that_shut) REQUIRE(s->shutdown(first, ends::send));
  s.model.give_back();
  s.model.settle();
  bool told = false;
  for (int i = 0; i < 100 && !told; ++i) {
    (void)s->poll([&](vsock::event e) {
      if (!e.what.has(ready::writable)) return;
      told |= e.which == second;
      if (e.which != first) return;
      if (promise == what::is_used_in_part) (void)s.offer(first, pattern(1));
      if (promise == what::is_of_one_that_is_aborted) (void)s->abort(first);
    });
    if (s->arm()) continue;
    const u64 before = s.model.packets();
    s.model.settle();
    if (s.model.packets() == before) break;  // no interrupt would arrive
  }
  CHECK(told);
}

TEST_CASE("vsock fair: a reservation of buffers lasts for 16 polls", "[vsock]") {
  constexpr vsock::limits four{.connections = 4, .send_packets = 4};
  rig::basic_sockets<four> s;
  REQUIRE(s.begin());
  const auto first = s.connected(), other = s.connected();
  const auto all_buffers = pattern(4 * 4096);
  const auto polls = [&](u32 n) {
    for (u32 i = 0; i < n; ++i) {
      s.model.settle();
      (void)s.poll();
    }
  };
  const auto promised = [&] {
    s.model.tx = op::sending::keep;
    REQUIRE(s->try_send_all(other, {const_bytes{all_buffers}}));
    REQUIRE(s->try_send_all(first, {const_bytes{all_buffers}}).error() == errc::no_buffer);
    s.forget();
    s.model.give_back();
    for (int i = 0; i < 100 && !s.said(first).has(ready::writable); ++i) polls(1);
    REQUIRE(s.said(first).has(ready::writable));
  };
  for (const u32 used_after : {0u, 5u, 10u, 15u}) {
    CAPTURE(used_after);
    promised();
    polls(used_after);
    REQUIRE(s->try_send_all(first, {const_bytes{all_buffers}}));
    polls(1);
    promised();
    u32 lasted = 0;
    for (; !s.offer(other, pattern(10)) && lasted < 100; ++lasted) polls(1);
    CHECK(lasted == 16);
    s.settle();
    polls(20);
  }
}

TEST_CASE("vsock fair: small packets to a peer with too many unread ones wait, even if others need their buffers",
          "[vsock]") {
  const u32 slow = GENERATE(1u, 7u);
  CAPTURE(slow);
  constexpr vsock::limits ten{.connections = 10};
  rig::basic_sockets<ten> s;
  REQUIRE(s.begin());
  std::vector<vsock::socket> readers;
  std::vector<vsock_flow> flows;
  for (u32 i = 0; i < slow; ++i) {
    readers.push_back(s.connected());
    flows.push_back(s.flow(readers.back()));
    s.end(readers.back()).reads = false;
  }
  const vsock::socket busy[] = {s.connected(), s.connected()};
  const auto big = pattern(200'000), small = pattern(10);
  s.model.recording = false;
  u64 bytes = 0;
  for (int round = 0; round < 2000; ++round) {
    for (const auto one : readers) (void)s.offer(one, small);
    for (const auto one : busy)
      if (const auto sent = s.offer(one, big)) bytes += *sent;
    s.model.settle();
    (void)s.poll();
    s.events.clear();
  }
  for (const vsock_flow& f : flows) CHECK(s.model.is_open(f));
  CHECK(bytes > 2000 * 10'000);
}

TEST_CASE("vsock fair: many peers with too many unread small packets leave buffers to others, and lose nothing",
          "[vsock]") {
  constexpr vsock::limits few{.connections = 10, .send_packets = 4};
  rig::basic_sockets<few> s;
  REQUIRE(s.begin());
  std::vector<vsock::socket> readers;
  std::vector<vsock_flow> flows;
  std::vector<u64> taken(8);
  for (u32 i = 0; i < 8; ++i) {
    readers.push_back(s.connected());
    flows.push_back(s.flow(readers.back()));
    s.end(readers.back()).reads = false;
  }
  const auto busy = s.connected();
  const auto big = pattern(20'000), small = pattern(10);
  s.model.recording = false;
  u64 bytes = 0;
  for (int round = 0; round < 3000; ++round) {
    for (usize i = 0; i < readers.size(); ++i)
      if (const auto sent = s.offer(readers[i], small)) taken[i] += *sent;
    if (const auto sent = s.offer(busy, big)) bytes += *sent;
    s.model.settle();
    (void)s.poll();
    s.events.clear();
  }
  CHECK(bytes > 3000 * 1000);
  for (usize i = 0; i < flows.size(); ++i) {
    REQUIRE(s.model.is_open(flows[i]));
    s.end(readers[i]).reads = true;
    (void)s.model.read(flows[i]);
  }
  for (int i = 0; i < 5000; ++i) {
    s.model.settle();
    (void)s.poll();
  }
  for (usize i = 0; i < flows.size(); ++i) CHECK(s.model.peer(flows[i]).arrived == taken[i]);
  CHECK(s.times(ready::writable) >= 4);
}

TEST_CASE("vsock fair: a peer with too little room receives ever fewer CREDIT_REQUESTs, and writable waits for enough",
          "[vsock]") {
  mixed s;
  const auto message = s.with_messages_to(open_port), little = s.with_messages_to(open_port);
  const auto stream = s.connected();
  const auto big = pattern(60'000), small = pattern(10);
  for (const auto one : {message, little, stream}) s.end(one).reads = false;
  while (s->try_send_message(message, big)) s.settle();
  while (s->try_send_message(little, small)) s.settle();
  while (s->try_send_all(stream, {const_bytes{big}})) s.settle();
  const bool sleeps = GENERATE(false, true), asks_always = GENERATE(false, true);
  CAPTURE(sleeps, asks_always);
  s.settle();
  s.forget();
  const auto try_all = [&] {
    (void)s->try_send_message(message, big);
    (void)s->try_send_message(little, small);
    (void)s->try_send_all(stream, {const_bytes{big}});
  };
  u32 awake = 0;
  for (int i = 0; i < 20'000; ++i) {
    s.model.settle();
    if (asks_always) try_all();
    (void)s->poll([&](vsock::event e) {
      s.events.push_back(e);
      if (e.what.has(ready::writable)) try_all();
    });
    if (sleeps) awake += s->arm();
  }
  CHECK(s.times(ready::writable) == 0);
  CHECK(s.model.count(op::credit_request) < 60);
  CHECK(awake < 60);
  s.forget();
  for (const auto one : {message, little, stream}) {
    const vsock_flow f = s.flow(one);
    s.model.peer(f).reads = true;
    (void)s.model.read(f);
    s.model.say(f, op::credit_update);
  }
  s.settle();
  for (const auto one : {message, little, stream}) CHECK(s.said(one).has(ready::writable));
}

TEST_CASE("vsock fair: a peer without room at the first CREDIT_REQUEST receives another", "[vsock]") {
  vsock_options o;
  o.host = vsock_host::vhost_device();
  o.host.update_below = 0;  // it reports what it has read only on request
  sockets s{o};
  REQUIRE(s.begin());
  const auto one = s.connected();
  s.end(one).reads = false;
  while (s.offer(one, pattern(4096))) s.settle();
  s.settle();
  (void)s.model.read(s.flow(one));
  s.forget();
  for (int i = 0; i < 1000; ++i) {
    s.model.settle();
    (void)s.poll();
  }
  CHECK(s.said(one).has(ready::writable));
}

TEST_CASE("vsock fair: new peers get the places of closed connections that were slow at the first search", "[vsock]") {
  vsock_options o;
  o.host = vsock_host::vhost_device();
  o.host.update_below = 0;
  sockets s{o};
  REQUIRE(s.begin());
  REQUIRE(s->listen(80, 20));
  std::vector<vsock_flow> flows;
  for (u32 i = 0; i < 8; ++i) {
    const auto one = s.accepted(80, 100 + i);
    flows.push_back(s.flow(one));
    s.end(one).answers_shutdown = false;
    s.end(one).reads = false;
    while (s.offer(one, pattern(4096))) s.settle();
    REQUIRE(s->close(one));
    s.settle();
  }
  (void)s.model.connect(80, 300);  // all receive a CREDIT_REQUEST, and have no room yet
  s.settle();
  for (const vsock_flow& f : flows) (void)s.model.read(f);
  s.settle();
  u32 came = 0;
  for (u32 i = 0; i < 100; ++i) {
    (void)s.model.connect(80, 400 + i);
    s.settle();
    came += s->try_accept(80).has_value();
  }
  CHECK(came == 8);
}

TEST_CASE("vsock fair: pieces gathered for a slow peer leave after it has read, by try_send_all as by try_send",
          "[vsock]") {
  const bool all = GENERATE(false, true);
  CAPTURE(all);
  sockets s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  const vsock_flow f = s.flow(one);
  s.model.peer(f).reads = false;
  for (u32 i = 0; i < 130; ++i) {
    REQUIRE(s.offer(one, pattern(100)));
    (void)s->arm();
    s.settle();
  }
  (void)s.model.read(f);  // Linux sends no update: there was much room
  REQUIRE(s->flush(one));
  s.settle();
  (void)s.model.read(f);
  s.model.peer(f).reads = true;
  const u64 arrived = s.model.peer(f).arrived;
  const auto small = pattern(10);
  if (all) REQUIRE(s->try_send_all(one, {const_bytes{small}}));
  else REQUIRE(s.offer(one, small));
  for (int i = 0; i < 10; ++i) {  // a program that sleeps when it may
    (void)s.poll();
    (void)s->arm();
    s.model.settle();
  }
  CHECK(s.model.peer(f).arrived == arrived + 10);
}

TEST_CASE("vsock fair: a peer that stalls for good does not delay requests to others", "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  s.model.recording = false;
  const auto dead = s.connected(), slow = s.connected();
  const auto crowd = [&](vsock::socket one, u32 pieces) {
    s.end(one).reads = false;
    for (u32 i = 0; i < pieces; ++i) {
      (void)s.offer(one, pattern(100));
      s.settle();
    }
  };
  crowd(dead, 80);
  for (int i = 0; i < 100'000; ++i) {
    s.model.settle();
    (void)s.poll();
  }
  crowd(slow, 70);
  const vsock_flow f = s.flow(slow);
  for (int i = 0; i < 3; ++i) {
    s.model.settle();
    (void)s.poll();
  }
  REQUIRE(s.model.peer(f).arrived < 7000);
  (void)s.model.read(f);
  s.model.peer(f).reads = true;
  u32 polls = 0;
  for (; s.model.peer(f).arrived != 7000 && polls < 10'000; ++polls) {
    (void)s.poll();
    s.model.settle();
  }
  CHECK(polls < 300);
}

TEST_CASE("vsock fair: a stream that answers small packets by small ones sends none to a peer that reads none",
          "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  auto stream = s->connect(rig::echo);
  REQUIRE(stream);
  const vsock_flow f = s.flow(stream->id());
  s.model.peer(f).reads = false;
  u8 in[10];
  const auto out = pattern(10);
  for (int round = 0; round < 2000; ++round) {
    s.model.send(f, pattern(10));
    REQUIRE(stream->receive_all(in));
    REQUIRE(stream->send(out));
  }
  CHECK(s.model.is_open(f));
}
