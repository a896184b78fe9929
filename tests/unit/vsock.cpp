// SPDX-License-Identifier: MIT
// The socket driver: bring-up, connections in both directions, the table of them, and the calls that wait.
#include <catch2/generators/catch_generators.hpp>
#include <catch2/catch_template_test_macros.hpp>

#include <set>

#include "vsock.hpp"

using namespace virtio;

namespace {

constexpr u32 somewhere = 77;  // a port of the host

struct started : sockets {
  explicit started(vsock_options options = {}) : sockets{std::move(options)} { REQUIRE(begin()); }
};

}  // namespace

TEST_CASE("vsock: starts on modern devices, reads its CID, and carries a stream", "[vsock]") {
  const seat where = GENERATE(seat::modern, seat::crosvm);
  sockets s{{.cid = 0x1234'5678}, where};
  if (where == seat::crosvm) {
    rig::basic_sockets<vsock::limits{}, split_queue<64>, rig::any_pci> any{{.cid = 4}, where};
    REQUIRE(any.begin());
    CHECK(any->cid() == 4);
    any.check_works(any.connected());
  }
  REQUIRE(s.begin());
  CHECK(s->cid() == 0x1234'5678);
  s.check_works(s.connected());
}

TEST_CASE("vsock: does the same over packed rings", "[vsock]") {
  rig::basic_sockets<vsock::limits{}, packed_queue<64>> s;
  const auto up = s.begin();
  CAPTURE(static_cast<int>(s->why().why), s->why().wanted, s->why().available);
  REQUIRE(up);
  CHECK(s->features().has(feature::ring_packed));
  const auto one = s.connected();
  for (int i = 0; i < 100; ++i) s.check_works(one);
}

TEST_CASE("vsock: every host serves it", "[vsock]") {
  const auto host = GENERATE(0, 1, 2);
  const vsock_host hosts[] = {vsock_host::kernel(), vsock_host::firecracker(), vsock_host::vhost_device()};
  started s{{.host = hosts[host]}};
  const auto one = s.connected();
  for (int i = 0; i < 50; ++i) s.check_works(one);
  REQUIRE(s->listen(80, 2));
  const auto two = s.accepted(80, 0);
  s.check_works(two);
  s.check_works(one);
}

TEST_CASE("vsock: negotiates by the specification's rules for stream sockets [VSOCK-01][VSOCK-02][VSOCK-03]",
          "[vsock]") {
  sockets s{{.host = {}}};
  SECTION("no feature bit at all is a stream device") {}
  SECTION("the stream bit") { s.model.offer({0}); }
  SECTION("the stream bit without implied streams") { s.model.offer({0, 2}); }
  SECTION("messages, which imply streams") { s.model.offer({1}); }
  REQUIRE(s.begin());
  if (s.model.offers(2)) CHECK(s.model.accepted(2));
  if (s.model.offers(2)) CHECK(s.model.accepted(0));
  s.check_works(s.connected());
}

TEST_CASE("vsock: posts event buffers before anything else, and many receive buffers", "[vsock]") {
  started s;
  CHECK(s.model.event_buffers() >= 1);
  CHECK(s.model.ring_in_use(0).pending() >= 1);
}

TEST_CASE("vsock: every call returns not_started before start and after a reset", "[vsock]") {
  sockets s;
  const auto check_down = [&](vsock::socket one) {
    u8 byte[1] = {};
    CHECK(s->try_connect(rig::echo).error() == errc::not_started);
    CHECK(s->listen(80, 1).error() == errc::not_started);
    CHECK(!s->try_send(one, byte));
    CHECK(!s->try_receive(one, byte));
    CHECK(s->check().error() == errc::not_started);
    CHECK(s->connect(rig::echo).error() == errc::not_started);
    (void)s.poll();  // reports the end to the program
    CHECK(s.poll().error() == errc::not_started);
  };
  check_down({});
  REQUIRE(s.begin());
  const auto one = s.connected();
  REQUIRE(s->reset());
  check_down(one);
  s.model.put_config(0, 11, 8);
  REQUIRE(s.begin());
  CHECK(s->cid() == 11);
  CHECK(s.offer(one, pattern(1)).error() == errc::stale_handle);
  s.check_works(s.connected());
  REQUIRE(s->hand_off());
}

TEST_CASE("vsock: a device that sets NEEDS_RESET is detected", "[vsock]") {
  started s;
  (void)s.connected();
  s.model.set_needs_reset();
  CHECK(s->acknowledge_interrupt().config);
  CHECK(s->check().error() == errc::needs_reset);
  REQUIRE(s.begin());
  s.check_works(s.connected());
}

TEST_CASE("vsock: a connection is one REQUEST and one RESPONSE, from the CID that the device assigned [VSOCK-07]",
          "[vsock]") {
  started s{{.cid = 42}};
  const auto one = s.connected();
  CHECK(s.said(one).has(ready::connected));
  const u32 mine = *s->local_port_of(one);
  CHECK(mine >= 1024);
  CHECK(s->peer_of(one)->cid == 2);
  CHECK(s->peer_of(one)->port == rig::open_port);
  const std::string ports = std::to_string(mine) + ":5000";
  CHECK(s.model.text() == "> REQUEST " + ports + "\n< RESPONSE " + ports);
  CHECK(s.model.record()[0].packet.src_cid == 42);
  CHECK(s.model.record()[0].packet.buf_alloc >= sockets::layout.receive_packet);
  CHECK(s.model.record()[0].packet.fwd_cnt == 0);
}

TEST_CASE("vsock: nothing can be sent before the peer has answered", "[vsock]") {
  started s;
  s.model.ports[somewhere] = op::reception::waits;
  const auto one = *s->try_connect({2, somewhere});
  s.settle();
  CHECK(s.said(one).empty());
  CHECK(!s.offer(one, pattern(5)));
  u8 byte[1];
  CHECK(s->try_receive(one, byte).error() == errc::not_ready);
  CHECK(s.model.text() == "> REQUEST " + std::to_string(*s->local_port_of(one)) + ":77");
  s.model.accept(s.flow(one));
  s.settle();
  CHECK(s.said(one).has(ready::connected));
  s.check_works(one);
}

TEST_CASE("vsock: a peer that refuses ends the attempt, by event and by connect()", "[vsock]") {
  started s;
  const auto one = *s->try_connect({2, somewhere});
  s.settle();
  CHECK(s.said(one).has(ready::closed));
  CHECK_FALSE(s.said(one).has(ready::connected));
  CHECK(!s.offer(one, pattern(1)));
  (void)s->close(one);
  CHECK(s->connect({2, somewhere}).error() == errc::refused);
  CHECK(s.model.resets() == 1);
  CHECK(s.model.count(op::reset) == 0);
  for (int i = 0; i < 3 * sockets::layout.connections; ++i) CHECK(s->connect({2, somewhere}).error() == errc::refused);
  CHECK(s->connect(rig::echo));  // none of the attempts has left an entry in the table
}

TEST_CASE("vsock: a silent peer ends connect() by the platform's limit, and the device stays up", "[vsock]") {
  started s;
  const auto other = s.connected();
  s.model.ports[somewhere] = op::reception::is_silent;
  s.m.memory.wait_limit[static_cast<int>(waiting::connect)] = 30;
  const u32 resets = s.model.resets();
  for (int i = 0; i < 3 * sockets::layout.connections; ++i)
    CHECK(s->connect({2, somewhere}).error() == errc::peer_silent);
  CHECK(s.m.memory.waits[static_cast<int>(waiting::connect)] > 0);
  CHECK(s.model.resets() == resets);
  s.settle();
  s.check_works(other);
}

TEST_CASE("vsock: a late answer is reset", "[vsock]") {
  started s;
  s.model.ports[somewhere] = op::reception::is_silent;
  s.m.memory.wait_limit[static_cast<int>(waiting::connect)] = 10;
  CHECK(s->connect({2, somewhere}).error() == errc::peer_silent);
  s.settle();
  vsock_flow f{};
  for (const auto& one : s.model.record())
    if (one.packet.op == op::request) f = {one.packet.src_port, one.packet.dst_port, 2};
  s.forget();
  s.model.inject(op::packet(f, op::response));
  s.settle();
  CHECK(s.model.count(op::reset) == 1);
}

TEST_CASE("vsock: a first packet other than an answer connects nothing, and op 0 is ignored", "[vsock]") {
  started s;
  s.model.ports[somewhere] = op::reception::waits;
  const auto one = *s->try_connect({2, somewhere});
  s.settle();
  const vsock_flow f = s.flow(one);
  auto nothing = op::packet(f, op::invalid);
  nothing.header_bytes = 0;
  s.model.inject(nothing);  // all zeros
  s.model.inject(op::packet(f, op::invalid));
  s.settle();
  CHECK(s.said(one).empty());
  const u16 odd =
      GENERATE(u16{op::invalid}, u16{op::data}, u16{op::shutdown}, u16{op::credit_update}, u16{op::request});
  CAPTURE(odd);
  if (odd != op::invalid) {
    auto p = op::packet(f, odd, odd == op::data ? pattern(10) : std::vector<u8>{});
    if (odd == op::shutdown) p.flags = 3;
    s.model.inject(p);
    s.settle();
    CHECK_FALSE(s.said(one).has(ready::connected));
    u8 buffer[16];
    CHECK(!s->try_receive(one, buffer));
    (void)s->abort(one);
  } else {
    s.model.accept(f);
    s.settle();
    s.check_works(one);
  }
  s.settle();
  s.check_works(s.connected());
}

TEST_CASE("vsock: an undefined op is ignored, before and after the connection is established", "[vsock]") {
  started s;
  s.model.ports[somewhere] = op::reception::waits;
  const auto one = *s->try_connect({2, somewhere});
  const auto two = s.connected();
  for (const u16 odd : {u16{8}, u16{99}, u16{0xffff}}) {
    s.model.inject(op::packet(s.flow(one), odd));
    s.model.inject(op::packet(s.flow(two), odd));
    s.model.inject(op::packet({7, 8}, odd));
  }
  s.settle();
  CHECK(s.model.count(op::reset) == 0);
  CHECK_FALSE(s.said(one).has(ready::closed));
  if (s.model.peer(s.flow(one)).now == peer::state::waiting) s.model.accept(s.flow(one));
  s.settle();
  s.check_works(one);
  s.check_works(two);
}

TEST_CASE("vsock: every 32-bit port is valid on either side, including 0", "[vsock]") {
  started s;
  const u32 theirs = GENERATE(0u, 1u, 0xffff'ffffu), mine = GENERATE(0u, 1023u, 0xffff'ffffu);
  CAPTURE(theirs, mine);
  s.model.ports[theirs] = op::reception::accepts;
  const auto one = s->try_connect_from(mine, {2, theirs});
  REQUIRE(one);
  s.settle();
  CHECK(*s->local_port_of(*one) == mine);
  CHECK(s.model.is_open({mine, theirs}));
  s.check_works(*one);
  REQUIRE(s->listen(mine, 1));
  const auto two = s.accepted(mine, theirs ^ 0x8000'0000u);
  CHECK(s->peer_of(two)->port == (theirs ^ 0x8000'0000u));
  s.check_works(two);
}

TEST_CASE("vsock: two connections may share a port but not both", "[vsock]") {
  started s;
  s.model.ports[somewhere] = op::reception::accepts;
  const auto one = *s->try_connect_from(9, rig::echo);
  CHECK(s->try_connect_from(9, rig::echo).error() == errc::in_use);
  const auto two = *s->try_connect_from(9, {2, somewhere});
  const auto three = *s->try_connect_from(10, rig::echo);
  s.settle();
  for (const auto which : {one, two, three}) s.check_works(which);
}

TEST_CASE("vsock: a connection beyond the table's size is refused, and a free place is used again", "[vsock]") {
  started s;
  std::vector<vsock::socket> all;
  for (int i = 0; i < sockets::layout.connections; ++i) all.push_back(s.connected());
  CHECK(s->try_connect(rig::echo).error() == errc::table_full);
  CHECK(s->connect(rig::echo).error() == errc::table_full);
  REQUIRE(s->abort(all[3]));
  const auto fresh = s.connected();
  CHECK(s.offer(all[3], pattern(1)).error() == errc::stale_handle);
  all[3] = fresh;
  for (const auto one : all) s.check_works(one);
}

TEST_CASE("vsock: an automatic port is used again only after many others", "[vsock]") {
  started s;
  std::set<u32> seen;
  for (int i = 0; i < 1000; ++i) {
    const auto one = s->try_connect(rig::echo);
    REQUIRE(one);
    CHECK(seen.insert(*s->local_port_of(*one)).second);
    REQUIRE(s->abort(*one));
    if (i % 10 == 0) s.settle();
  }
  s.settle();
}

TEST_CASE("vsock: an automatic port is neither listening nor in use", "[vsock]") {
  started s;
  const auto first = *s->try_connect(rig::echo);
  const u32 next = *s->local_port_of(first) + 1;
  REQUIRE(s->abort(first));
  for (u32 i = 0; i < sockets::layout.listeners; ++i) REQUIRE(s->listen(next + i, 1));
  for (int i = 0; i < 100; ++i) {
    const auto one = *s->try_connect(rig::echo);
    const u32 port = *s->local_port_of(one);
    CHECK((port < next || port >= next + sockets::layout.listeners));
    REQUIRE(s->abort(one));
  }
  s.settle();
}

TEST_CASE("vsock: every call refuses a stale handle", "[vsock]") {
  started s;
  const auto one = s.connected();
  if (GENERATE(false, true)) REQUIRE(s->abort(one));
  else REQUIRE(s->close(one));
  for (int reused = 0; reused < 2; ++reused) {
    u8 byte[1] = {};
    CHECK(s->try_send(one, byte).error() == errc::stale_handle);
    CHECK(s->try_receive(one, byte).error() == errc::stale_handle);
    int called = 0;
    const auto look = [&](const_bytes) -> usize { return static_cast<usize>(called++ & 0); };
    CHECK(s->receive_with(one, look).error() == errc::stale_handle);
    CHECK(called == 0);
    CHECK(s->flush(one).error() == errc::stale_handle);
    CHECK(s->shutdown(one, ends::both).error() == errc::stale_handle);
    CHECK(s->close(one).error() == errc::stale_handle);
    CHECK(s->abort(one).error() == errc::stale_handle);
    CHECK(s->peer_of(one).error() == errc::stale_handle);
    CHECK(s->local_port_of(one).error() == errc::stale_handle);
    s.settle();
    if (reused == 0)
      for (int i = 0; i < sockets::layout.connections; ++i) (void)s.connected();
  }
  CHECK(s.offer({0xffff, 0}, pattern(1)).error() == errc::stale_handle);
  CHECK(s.offer({0, 0xffff'ffff}, pattern(1)).error() == errc::stale_handle);
}

TEST_CASE("vsock: a request to a port that listens is answered at once, and accepted later", "[vsock]") {
  started s;
  CHECK(s->try_accept(80).error() != errc::ok);
  REQUIRE(s->listen(80, 3));
  CHECK(s->try_accept(80).error() == errc::not_ready);
  const auto f = s.model.connect(80, 0);
  s.settle();
  CHECK(s.model.is_open(f));
  REQUIRE(s.times(ready::incoming) == 1);
  CHECK(s.events.back().port == 80);
  s.model.send(f, pattern(500));  // before the accept
  s.settle();
  const auto one = s->try_accept(80);
  REQUIRE(one);
  CHECK(s->try_accept(80).error() == errc::not_ready);
  CHECK(s->peer_of(*one)->port == 0);
  CHECK(*s->local_port_of(*one) == 80);
  CHECK(s.receive(*one, 500) == pattern(500));
  s.check_works(*one);
}

TEST_CASE("vsock: a full backlog refuses connections, and has room again after an accept", "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 2));
  for (u32 i = 0; i < 4; ++i) (void)s.model.connect(80, i);
  s.settle();
  CHECK(s.model.count(op::response) == 2);
  CHECK(s.model.count(op::reset) == 2);
  CHECK(s.model.is_open({80, 0}));
  CHECK(s.model.is_open({80, 1}));
  const auto first = s->try_accept(80);
  REQUIRE(first);
  CHECK(s->peer_of(*first)->port == 0);  // in order
  (void)s.model.connect(80, 9);
  s.settle();
  CHECK(s.model.is_open({80, 9}));
  CHECK(s->peer_of(*s->try_accept(80))->port == 1);
  CHECK(s->peer_of(*s->try_accept(80))->port == 9);
}

TEST_CASE("vsock: unlisten resets connections that were not accepted", "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 4));
  const auto kept = s.accepted(80, 1);
  const auto dropped = s.model.connect(80, 2);
  s.settle();
  REQUIRE(s->unlisten(80));
  s.settle();
  CHECK(s.model.peer(dropped).end == peer::ending::by_guest);
  CHECK(s->try_accept(80).error() != errc::ok);
  s.check_works(kept);
  const auto refused = s.model.connect(80, 3);
  s.settle();
  CHECK(s.model.peer(refused).end == peer::ending::by_guest);
  CHECK(s->unlisten(80).error() != errc::ok);
  REQUIRE(s->listen(80, 4));
  s.check_works(s.accepted(80, 4));
}

TEST_CASE("vsock: a port has one listener, and the table of listeners is bounded", "[vsock]") {
  started s;
  for (u32 i = 0; i < sockets::layout.listeners; ++i) REQUIRE(s->listen(i, 1));
  CHECK(s->listen(0, 1).error() == errc::in_use);
  CHECK(s->listen(1000, 1).error() == errc::table_full);
  REQUIRE(s->unlisten(2));
  CHECK(s->listen(1000, 1));
}

TEST_CASE("vsock: a connection that the peer reset before accept is not returned as open", "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 2));
  const auto f = s.model.connect(80, 1);
  s.settle();
  s.model.abort(f);
  s.settle();
  if (const auto one = s->try_accept(80)) {
    u8 byte[1];
    CHECK(s->try_receive(*one, byte).error() == errc::peer_reset);
    (void)s->close(*one);
  }
  for (u32 i = 2; i < 40; ++i) {
    const auto one = s.accepted(80, i);
    s.model.abort({80, i});
    s.settle();
    REQUIRE(s->close(one));
  }
}

TEST_CASE("vsock: a flood of requests to a full table is refused one by one, and other connections continue",
          "[vsock][hostile]") {
  started s;
  REQUIRE(s->listen(80, 100));
  std::vector<vsock::socket> all;
  for (int i = 0; i < sockets::layout.connections; ++i) all.push_back(s.connected());
  s.forget();
  for (u32 i = 0; i < 10000; ++i) (void)s.model.connect(80, i);
  s.settle();
  CHECK(s.model.count(op::response) == 0);
  CHECK(s.model.count(op::reset) == 10000);
  for (const auto one : all) s.check_works(one);
}

TEST_CASE("vsock: a flood of accepted requests leaves no place taken after its connections end", "[vsock][hostile]") {
  started s;
  REQUIRE(s->listen(80, 4));
  for (u32 i = 0; i < 5000; ++i) {
    const auto f = s.model.connect(80, i);
    if (i % 3 == 0) s.settle();
    s.model.abort(f);
    if (i % 7 == 0) s.settle();
    while (const auto one = s->try_accept(80)) (void)s->close(*one);
  }
  s.settle();
  s.check_works(s.accepted(80, 0xabcdef));
  for (int i = 1; i < sockets::layout.connections; ++i) (void)s.connected();
}

TEST_CASE("vsock: a second request on a flow that has a connection does not open another", "[vsock][hostile]") {
  started s;
  REQUIRE(s->listen(80, 4));
  const auto one = s.accepted(80, 1);
  (void)one;
  s.forget();
  s.model.inject(op::packet({80, 1}, op::request));
  s.settle();
  CHECK(s.model.count(op::response) == 0);
  CHECK(s->try_accept(80).error() == errc::not_ready);
  s.model.abort({80, 1});
  s.settle();
}

TEST_CASE("vsock: connections with colliding ports chosen by a host are found", "[vsock][hostile]") {
  static constexpr vsock::limits many{
      .connections = 512, .outgoing = 0, .receive_packet = 1024, .receive_buffer = 2048, .receive_pool = 512 * 1024};
  auto s = std::make_unique<rig::basic_sockets<many, split_queue<256>>>();
  REQUIRE(s->begin());
  REQUIRE((*s)->listen(80, 512));
  std::vector<vsock_flow> flows;
  const u32 step = GENERATE(1u, 512u, 65536u, 0x0080'0001u);
  CAPTURE(step);
  for (u32 i = 0; i < many.connections; ++i) flows.push_back(s->model.connect(80, i * step));
  s->settle();
  std::vector<std::pair<vsock::socket, u32>> all;
  while (const auto one = (*s)->try_accept(80)) all.emplace_back(*one, (*s)->peer_of(*one)->port);
  REQUIRE(all.size() == flows.size());
  for (u32 i = 0; i < many.connections; ++i) s->model.send(flows[i], pattern(20, i));
  s->settle();
  for (const auto& [one, port] : all) CHECK(s->drained(one).first == pattern(20, port / step));
}

TEST_CASE("vsock: siblings on the same host are peers like any other", "[vsock]") {
  started s;
  s.model.siblings = {2, 7};
  s.model.ports[somewhere] = op::reception::accepts;
  const auto one = *s->try_connect_from(9, {2, somewhere});
  const auto two = *s->try_connect_from(9, {7, somewhere});
  s.settle();
  CHECK(s->peer_of(two)->cid == 7);
  CHECK(s.model.is_open({9, somewhere, 7}));
  s.check_works(one);
  s.check_works(two);
  REQUIRE(s->listen(80, 4));
  (void)s.model.connect(80, 5, 1, 7);
  (void)s.model.connect(80, 5, 1, 2);
  s.settle();
  const auto three = *s->try_accept(80), four = *s->try_accept(80);
  CHECK(s->peer_of(three)->cid == 7);
  CHECK(s->peer_of(four)->cid == 2);
  s.check_works(three);
  s.check_works(four);
}

TEST_CASE("vsock: connect, send, receive and close wait", "[vsock]") {
  started s;
  auto conn = s->connect(rig::echo);
  REQUIRE(conn);
  const auto f = s.flow(conn->id());
  s.model.on_packet = [&](const virtio::testing::vsock_packet& p) {
    if (p.op == virtio::testing::vsock_wire::data) s.model.send(f, p.payload);
  };
  const auto out = pattern(20000);
  std::vector<u8> in(out.size());
  for (usize done = 0; done < out.size(); done += 5000) {
    REQUIRE(conn->send(const_bytes{out.data() + done, 5000}));
    REQUIRE(conn->receive_all(bytes{in.data() + done, 5000}));
  }
  CHECK(in == out);
  s.model.on_packet = nullptr;
  u8 some[100];
  s.model.send(f, pattern(7));
  const auto got = conn->receive(some);
  REQUIRE(got);
  CHECK(*got == 7);
  REQUIRE(conn->close());
  CHECK(s.model.peer(f).guest_ends == 3);
  CHECK(conn->send(some).error() == errc::stale_handle);
}

TEST_CASE("vsock: accept waits", "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 2));
  int attempts = 0;
  s.m.memory.on_wait = [&](waiting, u64) {
    if (++attempts == 5) s.model.send(s.model.connect(80, 1), pattern(10));
    (void)s.model.step();
  };
  auto conn = s->accept(80);
  REQUIRE(conn);
  std::vector<u8> data(10);
  REQUIRE(conn->receive_all(data));
  CHECK(data == pattern(10));
  s.m.memory.on_wait = nullptr;
  CHECK(s->accept(80).error() == errc::peer_silent);
  CHECK(s.model.resets() == 1);
}

TEST_CASE("vsock: a call that waits keeps other connections running", "[vsock]") {
  started s;
  const auto other = s.connected();
  const auto f = s.flow(other);
  s.model.send(f, pattern(30000));
  auto conn = s->connect(rig::echo);
  REQUIRE(conn);
  const auto out = pattern(10000);
  REQUIRE(conn->send(out));
  CHECK(s.receive(other, 30000) == pattern(30000));
  CHECK(s.said(other).has(ready::readable));
}

TEST_CASE("vsock: a receive without data ends by the limit, without a reset", "[vsock]") {
  started s;
  auto conn = s->connect(rig::echo);
  REQUIRE(conn);
  u8 byte[1];
  CHECK(conn->receive(byte).error() == errc::peer_silent);
  CHECK(s.model.resets() == 1);
  s.model.send(s.flow(conn->id()), {42});
  REQUIRE(conn->receive(byte));
  CHECK(byte[0] == 42);
}

TEST_CASE("vsock: each change causes one event, and poll keeps to its budget", "[vsock]") {
  started s;
  const auto one = s.connected();
  s.forget();
  s.model.send(s.flow(one), pattern(10));
  s.settle();
  CHECK(s.times(ready::readable) == 1);
  (void)s.poll();
  (void)s.poll();
  CHECK(s.times(ready::readable) == 1);  // once per change, not while it lasts
  CHECK(s.drained(one).first.size() == 10);
  s.model.send(s.flow(one), pattern(10));
  s.settle();
  CHECK(s.times(ready::readable) == 2);
  for (int i = 0; i < 20; ++i) s.model.say(s.flow(one), op::credit_update);
  s.model.settle();
  CHECK(s->poll([](auto) {}, 3).value_or(9) <= 3);
}

TEST_CASE("vsock: interrupts are requested for packets and for events", "[vsock]") {
  started s;
  const auto one = s.connected();
  s.settle();
  (void)s->acknowledge_interrupt();
  REQUIRE_FALSE(s->arm());
  u32 before = s.model.interrupts();
  s.model.send(s.flow(one), pattern(10));
  s.model.settle();
  CHECK(s.model.interrupts() > before);
  CHECK(s->acknowledge_interrupt().queue);
  CHECK(s->arm());  // work is present
  s.settle();
  (void)s.drained(one);
  s.settle();
  REQUIRE_FALSE(s->arm());
  before = s.model.interrupts();
  s.model.reset_transport(5);
  s.model.settle();
  CHECK(s.model.interrupts() > before);
  s.settle();
  CHECK(s->cid() == 5);
}
