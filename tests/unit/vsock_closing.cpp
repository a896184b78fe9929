// SPDX-License-Identifier: MIT
// The ends of the socket driver's connections: orderly, half-closed, aborted, closed by both at once, without an
// answer; and the state after each.
#include <catch2/generators/catch_generators.hpp>

#include <random>

#include "vsock.hpp"

using namespace virtio;

namespace {

struct started : sockets {
  explicit started(vsock_options options = {}) : sockets{std::move(options)} { REQUIRE(begin()); }

  // Every place of the table is available.
  void check_empty() {
    settle();
    std::vector<vsock::socket> all;
    for (int i = 0; i < layout.connections; ++i) {
      const auto one = d->try_connect({2, rig::open_port});
      REQUIRE(one);
      all.push_back(*one);
    }
    settle();
    for (const auto one : all) REQUIRE(d->abort(one));
    settle();
  }
};

}  // namespace

TEST_CASE("vsock closing: an orderly close sends SHUTDOWN, is answered, and frees its place", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.send(one, pattern(10));
  s.forget();
  REQUIRE(s->close(one));
  s.settle();
  const std::string ports = std::to_string(f.guest_port) + ":5000";
  CHECK(s.model.text(false) == "> SHUTDOWN " + ports + " flags=3\n< RST " + ports);
  CHECK(s.model.peer(f).bytes == pattern(10));
  s.check_empty();
}

TEST_CASE("vsock closing: close makes the handle stale at once, and no event follows", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.forget();
  REQUIRE(s->close(one));
  s.model.send(f, pattern(100));  // it was in flight
  s.settle();
  for (const auto& what : s.events) CHECK_FALSE(what.which == one);
  s.check_empty();
}

TEST_CASE("vsock closing: a host that never answers a close keeps no place: the oldest is evicted with a RST",
          "[vsock]") {
  started s;
  std::vector<vsock_flow> flows;
  for (int i = 0; i < sockets::layout.connections; ++i) {
    const auto one = s.connected();
    flows.push_back(s.flow(one));
    s.model.peer(flows.back()).answers_shutdown = false;
    REQUIRE(s->close(one));
    s.settle();
  }
  s.forget();
  const auto fresh = s.connected();
  CHECK(s.model.count(op::reset) == 1);
  CHECK(s.model.peer(flows[0]).end == peer::ending::by_guest);
  CHECK(s.model.peer(flows[1]).end == peer::ending::none);
  s.check_works(fresh);
  REQUIRE(s->listen(80, 2));
  s.check_works(s.accepted(80, 1));  // new connections take the next places
  CHECK(s.model.peer(flows[1]).end == peer::ending::by_guest);
  CHECK(s.model.peer(flows[2]).end == peer::ending::none);
}

TEST_CASE("vsock closing: a close() that waits has a limit, then sends a RST", "[vsock]") {
  started s;
  const bool answers = GENERATE(false, true);
  auto conn = s->connect(rig::echo);
  REQUIRE(conn);
  const auto f = s.flow(conn->id());
  s.model.peer(f).answers_shutdown = answers;
  const u64 before = s.m.memory.waits[static_cast<int>(waiting::shutdown)];
  s.forget();
  const auto done = conn->close();
  if (answers) CHECK(done);
  s.settle();
  CHECK(s.model.peer(f).guest_ends == 3);
  CHECK(s.model.peer(f).end == (answers ? peer::ending::by_host : peer::ending::by_guest));
  CHECK(s.model.count(op::reset) == (answers ? 0 : 1));
  const u64 waits = s.m.memory.waits[static_cast<int>(waiting::shutdown)] - before;
  if (!answers) CHECK(waits >= s.m.memory.wait_limit[static_cast<int>(waiting::shutdown)]);
  CHECK(s.model.resets() == 1);
  s.check_empty();
}

TEST_CASE("vsock closing: data in flight from a closing peer is read to the end, then a RST answers", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.send(f, pattern(9000));
  s.model.close(f);
  s.forget();
  s.settle();
  CHECK(s.model.count(op::reset) == 0);  // not before all data was read
  CHECK(s.said(one).has(ready::readable));
  std::vector<u8> half(5000);
  usize got = 0;
  while (got < 5000) got += *s->try_receive(one, bytes{half.data() + got, 5000 - got});
  CHECK(half == pattern(5000));
  s.settle();
  CHECK(s.model.count(op::reset) == 0);
  const auto [rest, why] = s.drained(one);
  CHECK(rest == pattern(4000, 1, 5000));
  CHECK(why == errc::peer_closed);
  s.settle();
  CHECK(s.model.count(op::reset) == 1);
  CHECK(s.model.peer(f).end == peer::ending::by_guest);
  CHECK(s.said(one).has(ready::closed));
  CHECK(s->try_receive(one, half).error() == errc::peer_closed);  // on every later call
  CHECK(!s.offer(one, pattern(1)));
  CHECK(s->close(one));
  s.settle();
  CHECK(s.model.count(op::reset) == 1);
  s.check_empty();
}

TEST_CASE("vsock closing: a peer that closes with more data than the window holds delivers all of it", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.send(f, pattern(300'000));
  s.model.close(f);
  CHECK(s.receive(one, 300'000) == pattern(300'000));
  s.settle();
  CHECK(s.drained(one).second == errc::peer_closed);
  s.settle();
  CHECK(s.model.peer(f).end == peer::ending::by_guest);
}

TEST_CASE("vsock closing: after a RST from the peer, earlier data stays readable, then the reason is peer_reset",
          "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.send(f, pattern(3000));
  s.settle();
  const bool said_so = GENERATE(false, true);
  if (said_so) s.model.close(f);
  s.settle();
  s.model.abort(f);
  s.forget();
  s.settle();
  CHECK(s.said(one).has(ready::closed));
  const auto [data, why] = s.drained(one);
  CHECK(data == pattern(3000));
  CHECK(why == (said_so ? errc::peer_closed : errc::peer_reset));
  CHECK(!s.offer(one, pattern(1)));
  CHECK(s->close(one));
  s.settle();
  CHECK(s.model.count(op::reset) == 0);  // a RST has no answer
  CHECK(s.model.count(op::shutdown) == 0);
  s.check_empty();
}

TEST_CASE("vsock closing: the end of the peer's direction ends the stream, and the other direction stays open",
          "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.send(f, pattern(100));
  s.model.shut(f, op::no_send);
  s.settle();
  CHECK(s.said(one).has(ready::readable));
  const auto [data, why] = s.drained(one);
  CHECK(data == pattern(100));
  CHECK(why == errc::peer_closed);
  s.forget();
  s.send(one, pattern(20'000));
  CHECK(s.model.peer(f).bytes == pattern(20'000));
  CHECK(s.model.count(op::reset) == 0);
  REQUIRE(s->close(one));
  s.settle();
  CHECK(s.model.peer(f).guest_ends == 3);
  s.check_empty();
}

TEST_CASE("vsock closing: a peer that stops receiving is sent nothing more, and is still read", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.shut(f, op::no_receive);
  s.settle();
  s.forget();
  CHECK(!s.offer(one, pattern(10)));
  (void)s->flush(one);
  s.settle();
  CHECK(s.model.count(op::data) == 0);
  s.model.send(f, pattern(20'000));
  CHECK(s.receive(one, 20'000) == pattern(20'000));
  s.model.shut(f, op::no_send);  // both directions, one after the other
  s.settle();
  CHECK(s.drained(one).second == errc::peer_closed);
  s.settle();
  CHECK(s.model.peer(f).end == peer::ending::by_guest);
  (void)s->close(one);
  s.check_empty();
}

TEST_CASE("vsock closing: shutdown of one's own direction", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.peer(f).answers_shutdown = false;
  s.send(one, pattern(50));
  SECTION("send: bytes still arrive") {
    REQUIRE(s->shutdown(one, ends::send));
    s.settle();
    CHECK(s.model.peer(f).guest_ends == op::no_send);
    CHECK(!s.offer(one, pattern(1)));
    s.model.send(f, pattern(20'000));
    CHECK(s.receive(one, 20'000) == pattern(20'000));
    REQUIRE(s->shutdown(one, ends::receive));
    s.settle();
    CHECK(s.model.peer(f).guest_ends == 3);
  }
  SECTION("receive: bytes are still sent") {
    REQUIRE(s->shutdown(one, ends::receive));
    s.settle();
    CHECK(s.model.peer(f).guest_ends == op::no_receive);
    s.send(one, pattern(20'000));
    CHECK(s.model.peer(f).arrived == 20'050);
    u8 byte[1];
    CHECK(!s->try_receive(one, byte));
    s.model.send(f, pattern(300'000));  // a peer that ignores it
    s.settle();
    CHECK(!s->try_receive(one, byte));
  }
  SECTION("both") {
    REQUIRE(s->shutdown(one, ends::both));
    s.settle();
    CHECK(s.model.peer(f).guest_ends == 3);
    CHECK(!s.offer(one, pattern(1)));
  }
  CHECK(s.model.peer(f).bytes.size() >= 50);
  const auto other = s.connected();
  s.check_works(other);
  CHECK(s->abort(one));
  s.settle();
  CHECK(s->abort(other));
  s.check_empty();
}

TEST_CASE("vsock closing: both ends close at once", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.peer(f).answers_shutdown = GENERATE(false, true);
  s.model.resets_cross = true;
  s.model.close(f);
  s.model.settle();  // in flight
  REQUIRE(s->close(one));
  s.settle();
  CHECK_FALSE(s.model.is_open(f));
  CHECK(s.model.count(op::reset) <= 1);
  s.check_empty();
}

TEST_CASE("vsock closing: an abort sends RST at once, even with unread and unsent data", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.peer(f).reads = false;
  s.model.send(f, pattern(100'000));
  s.settle();
  while (s.offer(one, pattern(4096))) {}
  s.forget();
  REQUIRE(s->abort(one));
  s.settle();
  CHECK(s.model.count(op::reset) == 1);
  CHECK(s.model.peer(f).end == peer::ending::by_guest);
  s.check_empty();
}

TEST_CASE("vsock closing: closes and aborts are not lost while the queue is full", "[vsock]") {
  started s{{.queue_sizes = {32, 4, 4}}};
  std::vector<vsock::socket> all;
  std::vector<vsock_flow> flows;
  for (int i = 0; i < 6; ++i) {
    all.push_back(s.connected());
    flows.push_back(s.flow(all.back()));
  }
  s.model.tx = op::sending::ignore;
  while (s.offer(all[0], pattern(4096))) {}
  s.settle();
  for (usize i = 0; i < 6; ++i) {
    if (i % 2 == 0) REQUIRE(s->close(all[i]));
    else REQUIRE(s->abort(all[i]));
  }
  s.settle();
  s.model.give_back();
  s.settle();
  for (usize i = 0; i < 6; ++i) {
    CAPTURE(i);
    CHECK_FALSE(s.model.is_open(flows[i]));
    CHECK(s.model.peer(flows[i]).guest_ends == (i % 2 == 0 ? 3 : 0));
  }
  s.check_empty();
}

TEST_CASE("vsock closing: data written before a close arrives before it, even at a peer without room", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.peer(f).reads = false;
  s.model.set_window(f, 50);
  s.settle();
  s.model.settled(f);
  usize out = 0;
  while (const auto n = s.offer(one, pattern(10, 1, out))) out += *n;
  REQUIRE(out >= 50);
  REQUIRE(s->close(one));
  s.settle();
  for (int i = 0; i < 200 && s.model.is_open(f); ++i) {
    (void)s.model.read(f);
    s.settle();
  }
  CHECK(s.model.peer(f).bytes == pattern(out));
  CHECK(s.model.peer(f).guest_ends == 3);
}

TEST_CASE("vsock closing: a close before the peer has answered", "[vsock]") {
  started s;
  s.model.ports[77] = op::reception::waits;
  const auto one = *s->try_connect({2, 77});
  s.settle();
  const auto f = s.flow(one);
  if (GENERATE(false, true)) REQUIRE(s->close(one));
  else REQUIRE(s->abort(one));
  s.settle();
  if (s.model.peer(f).now == peer::state::waiting) {
    s.model.accept(f);
    s.settle();
  }
  CHECK_FALSE(s.model.is_open(f));
  s.check_empty();
}

TEST_CASE("vsock closing: a storm of RSTs, to connections and to unknown ones, is not answered", "[vsock][hostile]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.forget();
  std::mt19937 random{3};
  for (u32 i = 0; i < 20'000; ++i) {
    auto p = op::packet({static_cast<u32>(random()), static_cast<u32>(random())}, op::reset);
    if (i % 100 == 0) p = op::packet({f.guest_port, static_cast<u32>(random())}, op::reset);
    if (i % 3 == 0) p.type = static_cast<u16>(random());
    if (i % 5 == 0) p.payload = pattern(10), p.len = 10;
    s.model.inject(p);
  }
  s.settle();
  CHECK(s.model.count(op::reset) == 0);
  s.check_works(one);
  s.model.abort(f);
  for (int i = 0; i < 100; ++i) s.model.inject(op::packet(f, op::reset));
  s.settle();
  CHECK(s.model.count(op::reset) == 0);
  CHECK(s.drained(one).second == errc::peer_reset);
}

TEST_CASE("vsock closing: thousands of connections end in every way, and no resource leaks", "[vsock]") {
  const int which = GENERATE(0, 1, 2);
  const vsock_host hosts[] = {vsock_host::kernel(), vsock_host::firecracker(), vsock_host::vhost_device()};
  started s{{.host = hosts[which]}};
  REQUIRE(s->listen(80, 3));
  s.model.recording = false;
  s.model.resets_cross = true;
  std::mt19937 random{11};
  struct open_one {
    vsock::socket id;
    vsock_flow flow;
  };
  std::vector<open_one> all;
  u32 from = 0;
  for (int round = 0; round < 30'000; ++round) {
    const usize i = all.empty() ? 0 : random() % all.size();
    switch (random() % 10) {
      case 0:
        if (const auto one = s->try_connect(rig::echo)) all.push_back({*one, s.flow(*one)});
        break;
      case 1: (void)s.model.connect(80, ++from); break;
      case 2:
        if (const auto one = s->try_accept(80)) all.push_back({*one, s.flow(*one)});
        break;
      case 3:
        if (!all.empty()) (void)s.offer(all[i].id, pattern(random() % 3000));
        break;
      case 4:
        if (!all.empty() && s.model.find(all[i].flow) != nullptr && s.model.is_open(all[i].flow))
          s.model.send(all[i].flow, pattern(random() % 20'000));
        break;
      case 5:
        if (!all.empty()) (void)s.drained(all[i].id);
        break;
      case 6:
        if (!all.empty() && s.model.find(all[i].flow) != nullptr && s.model.is_open(all[i].flow)) {
          if (random() % 2 == 0) s.model.close(all[i].flow);
          else s.model.abort(all[i].flow);
        }
        break;
      case 7:
        if (all.empty()) break;
        if (random() % 2 == 0) (void)s->close(all[i].id);
        else (void)s->abort(all[i].id);
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      case 8: s.model.settle(); break;
      default: (void)s.poll(); s.events.clear();
    }
  }
  for (const auto& one : all) (void)s->abort(one.id);
  s.settle();
  while (const auto one = s->try_accept(80)) (void)s->abort(*one);
  s.model.recording = true;
  s.check_empty();
  const auto last = s.connected();
  s.model.send(s.flow(last), pattern(100'000));
  CHECK(s.receive(last, 100'000) == pattern(100'000));
}

TEST_CASE("vsock closing: a host that drops a SHUTDOWN while it holds data receives it again after the data was read",
          "[vsock]") {
  vsock_options o;
  o.host = vsock_host::vhost_device();
  o.host.update_below = 0xffff'ffff;  // it reports what it could not deliver at once
  const bool closes = GENERATE(true, false);
  CAPTURE(closes);
  started s{std::move(o)};
  const auto one = s.connected();
  const vsock_flow f = s.flow(one);
  s.end(one).reads = false;
  s.send(one, pattern(5000));
  s.settle();
  s.forget();
  if (closes) REQUIRE(s->close(one));
  else REQUIRE(s->shutdown(one, ends::both));
  s.settle();
  (void)s.model.read(f, 4000);
  s.settle();
  CHECK(s.model.count(op::shutdown) == 1);  // not before all data was read
  CHECK(s.model.is_open(f));
  (void)s.model.read(f);
  s.settle();
  CHECK(s.model.count(op::shutdown) == 2);
  CHECK(s.model.peer(f).end == peer::ending::by_host);
  CHECK(s.model.peer(f).arrived == 5000);
  if (!closes) CHECK(s.drained(one).second == errc::peer_closed);
}

TEST_CASE("vsock closing: a SHUTDOWN is repeated once, whatever the host answers", "[vsock]") {
  vsock_options o;
  o.host.update_below = 0xffff'ffff;
  started s{std::move(o)};
  const auto one = s.connected();
  const vsock_flow f = s.flow(one);
  s.end(one).reads = s.end(one).answers_shutdown = false;
  s.send(one, pattern(5000));
  s.settle();
  s.forget();
  REQUIRE(s->close(one));
  s.settle();
  (void)s.model.read(f);
  for (int i = 0; i < 100; ++i) {
    s.model.say(f, op::credit_update);
    s.settle();
  }
  CHECK(s.model.count(op::shutdown) == 2);
}
