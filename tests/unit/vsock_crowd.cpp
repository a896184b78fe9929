// SPDX-License-Identifier: MIT
// Many peers at one socket device: which gets a place, which is evicted, and what happens to peers that vanished.
#include <catch2/generators/catch_generators.hpp>

#include "vsock.hpp"

using namespace virtio;

namespace {

struct started : sockets {
  explicit started(vsock_options options = {}) : sockets{std::move(options)} { REQUIRE(begin()); }

  // `n` connections that the program has closed and whose peers do not answer the close; those with `reads` true read
  // their data.
  template <class F>
  std::vector<vsock_flow> closing(u32 n, F&& reads) {
    std::vector<vsock_flow> flows;
    for (u32 i = 0; i < n; ++i) {
      const auto one = accepted(80, 100 + i);
      flows.push_back(flow(one));
      peer& p = model.peer(flows.back());
      p.answers_shutdown = false;
      p.reads = reads(i);
      REQUIRE(offer(one, pattern(4000)));
      settle();
      REQUIRE(d->close(one));
      settle();
    }
    return flows;
  }
  u32 reset(const std::vector<vsock_flow>& flows) {
    u32 n = 0;
    for (const vsock_flow& f : flows) n += model.peer(f).end == peer::ending::by_guest;
    return n;
  }
};

}  // namespace

TEST_CASE("vsock crowd: a REQUEST on an established connection ends it as peer_reset, with a RST", "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 4));
  const auto one = s.accepted(80, 1000);
  const auto f = s.flow(one);
  s.forget();
  s.m.expect_objections = true;  // the model's own peer did not forget
  s.model.inject(op::packet(f, op::request));
  s.settle();
  CHECK(s.model.count(op::reset) == 1);
  CHECK(s.said(one).has(ready::closed));
  CHECK(s.drained(one).second == errc::peer_reset);
  REQUIRE(s->close(one));
  s.settle();
  CHECK(s->idle_for(one).error() == errc::stale_handle);
}

TEST_CASE("vsock crowd: a closing connection is evicted only after its peer has read everything", "[vsock]") {
  vsock_options o;
  const bool asks = GENERATE(false, true);
  if (asks) o.host = vsock_host::vhost_device();
  else o.host.update_below = 0xffff'ffff;  // reports every read
  started s{std::move(o)};
  REQUIRE(s->listen(80, 8));
  const auto flows = s.closing(8, [](u32 i) { return i != 0; });
  s.m.expect_objections = true;
  // A host that reports a read only on request receives a CREDIT_REQUEST when the first connection finds no place.
  if (asks) {
    (void)s.model.connect(80, 400);
    s.settle();
    CHECK(s->try_accept(80).error() == errc::not_ready);
    CHECK(s.reset(flows) == 0);
  }
  for (u32 i = 0; i < 7; ++i) {
    (void)s.accepted(80, 500 + i);
    CHECK(s.reset(flows) == i + 1);
  }
  CHECK(s.model.peer(flows[0]).end == peer::ending::none);
  (void)s.model.connect(80, 600);
  s.settle();
  CHECK(s->try_accept(80).error() == errc::not_ready);
  CHECK(s.model.peer(flows[0]).end == peer::ending::none);
  CHECK(s.model.peer(flows[0]).unread() == 4000);
  CHECK(s->try_connect({2, open_port}).error() == errc::table_full);
}

TEST_CASE("vsock crowd: no connection is evicted for a new peer that is refused", "[vsock]") {
  started s;
  s.model.host.update_below = 0xffff'ffff;
  REQUIRE(s->listen(80, 8));
  const auto flows = s.closing(8, [](u32) { return true; });
  s.m.expect_objections = true;
  s.model.tx = op::sending::ignore;  // nothing can be sent for a while
  for (u32 i = 0; i < 100; ++i) {
    vsock_packet p;
    p.src_port = 1000 + i;
    p.dst_port = 9;  // no listener there
    p.op = op::request;
    s.model.inject(p);
  }
  for (u32 i = 0; i < 8; ++i) (void)s.model.connect(80, 500 + i);
  s.settle();
  s.model.give_back();
  s.settle();
  u32 open = 0;
  for (u32 i = 0; i < 8; ++i) open += s.model.is_open({80, 500 + i, 2});
  CHECK(open == s.reset(flows));
  CHECK(open == 7);  // none was accepted: a place is left to connect from
  CHECK(s->try_connect({2, open_port}));
}

TEST_CASE("vsock crowd: connections that wait to be accepted leave a place to connect from", "[vsock]") {
  started s;
  s.m.expect_objections = true;
  REQUIRE(s->listen(80, 100));
  for (u32 i = 0; i < 8; ++i) (void)s.model.connect(80, 100 + i);
  s.settle();
  CHECK(s->try_connect({2, open_port}));
  u32 got_in = 0;
  while (s->try_accept(80)) ++got_in;
  CHECK(got_in == 7);
}

TEST_CASE("vsock crowd: data after the peer's SHUTDOWN is dropped", "[vsock]") {
  started s;
  s.m.expect_objections = true;
  const auto one = s.connected();
  const auto f = s.flow(one);
  auto p = op::packet(f, op::shutdown);
  p.flags = 2;
  p.buf_alloc = 65536;
  s.model.inject(p);
  s.settle();
  CHECK(s.drained(one) == std::pair{std::vector<u8>{}, errc::peer_closed});
  s.model.inject(op::packet(f, op::data, pattern(5)));
  s.settle();
  CHECK(s.drained(one) == std::pair{std::vector<u8>{}, errc::peer_closed});
}

TEST_CASE(
    "vsock crowd: a context id that no guest can have is refused with its verdict, at start and after a transport reset",
    "[vsock]") {
  const u64 cid = GENERATE(u64{0}, u64{1}, u64{2}, u64{0xffff'ffff}, u64{0x5'0000'0002});
  CAPTURE(cid);
  {
    sockets s{{.cid = cid}};
    CHECK(s.begin().error() == errc::unsupported);
    CHECK(s->why().why == verdict::cid_unusable);
    s.m.expect_objections = true;
  }
  started s;
  s.m.expect_objections = true;
  s.model.reset_transport(cid);
  s.model.settle();
  CHECK(s.poll().error() == errc::device_misbehaved);
  CHECK(s->try_connect({2, open_port}).error() == errc::not_started);
}

TEST_CASE("vsock crowd: ticks limit a connect and a close, and report a silent peer", "[vsock]") {
  started s;
  s.m.expect_objections = true;
  s.model.ports[6000] = op::reception::is_silent;
  constexpr vsock::ages most{.connecting = 3, .closing = 4, .idle = 5};
  const auto waits = s->try_connect({2, 6000});
  REQUIRE(waits);
  const auto gone = s.connected(), leaves = s.connected();
  const vsock_flow left = s.flow(leaves);
  s.end(leaves).answers_shutdown = false;
  REQUIRE(s->close(leaves));
  s.settle();
  s.forget();
  for (int i = 0; i < 2; ++i) s->tick(most);
  s.settle();
  CHECK(s.events.empty());
  s->tick(most);
  s.settle();
  CHECK(s.said(*waits).has(ready::closed));
  CHECK(s.drained(*waits).second == errc::peer_silent);
  CHECK(s.model.peer(left).end == peer::ending::none);
  s->tick(most);
  s.settle();
  CHECK(s.model.peer(left).end == peer::ending::by_guest);
  CHECK_FALSE(s.said(gone).has(ready::idle));
  s->tick(most);
  s.settle();
  CHECK(s.said(gone).has(ready::idle));
  CHECK(*s->idle_for(gone) == 5);

  // Once in so many ticks, until a packet arrives.
  s.forget();
  for (int i = 0; i < 4; ++i) s->tick(most);
  s.settle();
  CHECK(s.times(ready::idle) == 0);
  s->tick(most);
  s.settle();
  CHECK(s.times(ready::idle) == 1);
  REQUIRE(s->probe(gone));
  s.settle();
  CHECK(s.model.count(op::credit_request) == 1);
  CHECK(*s->idle_for(gone) == 0);
  for (int i = 0; i < 4; ++i) s->tick({});
  s->tick({});
  s.settle();
  CHECK(s.times(ready::idle) == 1);  // no age was set
}

TEST_CASE("vsock crowd: the caller can end a wait, and the platform's limit for peers differs from that for devices",
          "[vsock]") {
  started s;
  s.model.ports[6000] = op::reception::is_silent;
  REQUIRE(s->listen(80, 4));
  int asked = 0;
  const auto soon = [&] { return ++asked == 10; };
  CHECK(s->accept(80, soon).error() == errc::canceled);
  asked = 0;
  CHECK(s->connect({2, 6000}, vsock::kind::stream, soon).error() == errc::canceled);
  asked = 0;
  auto conn = s->connect(rig::echo);
  REQUIRE(conn);
  u8 byte[1];
  const u64 before = s.m.memory.waits[static_cast<int>(waiting::request)];
  CHECK(conn->receive(byte, soon).error() == errc::canceled);
  CHECK(conn->receive(byte).error() == errc::peer_silent);
  CHECK(s->accept(80).error() == errc::peer_silent);
  CHECK(s.m.memory.waits[static_cast<int>(waiting::request)] == before);
  s.check_works(conn->id());
}

TEST_CASE("vsock crowd: a listener can have any port, and its waiting peers are known before accept", "[vsock]") {
  started s;
  const auto here = s->listen_anywhere(2);
  REQUIRE(here);
  const auto there = s->listen_anywhere(2);
  REQUIRE(there);
  CHECK(*here != *there);
  CHECK(s->next_peer(*here).error() == errc::not_ready);
  (void)s.model.connect(*here, 1234);
  s.settle();
  const auto who = s->next_peer(*here);
  REQUIRE(who);
  CHECK(*who == vsock::address{2, 1234});
  CHECK(s->next_peer(1).error() == errc::not_found);
  CHECK(s->try_accept(*here));
}

TEST_CASE("vsock crowd: try_connect finds the places of limits::outgoing at once, however many connections are closing",
          "[vsock]") {
  constexpr vsock::limits crowd{.connections = 60, .outgoing = 3, .receive_packet = 4096, .receive_buffer = 4096};
  const u32 delivered = GENERATE(u32{0}, u32{2}, u32{3}, u32{4}, u32{10});
  const bool is_last = GENERATE(false, true);  // those that have delivered everything were closed last, otherwise first
  CAPTURE(delivered, is_last);
  rig::basic_sockets<crowd> s;
  REQUIRE(s.begin());
  REQUIRE(s->listen(7, 60));
  std::vector<vsock::socket> all;
  for (u32 i = 0; i < 56; ++i) all.push_back(s.connected());
  for (u32 i = 0; i < 56; ++i) {
    s.end(all[i]).answers_shutdown = s.end(all[i]).reads = false;
    const bool delivers = is_last ? i >= 56 - delivered : i < delivered;
    if (!delivers) REQUIRE(s.offer(all[i], pattern(100)));
    s.settle();
  }
  for (const auto one : all) REQUIRE(s->close(one));
  s.settle();
  u32 admitted = 0;
  for (u32 i = 0; i < 30; ++i) {
    const auto f = s.model.connect(7, 100 + i);
    s.settle();
    admitted += s.model.is_open(f);
  }
  CHECK(admitted == 1 + delivered);  // 4 places are free, and these count as free
  for (u32 i = 0; i < 3; ++i) {
    CAPTURE(i);
    CHECK(s->try_connect({vsock::host_cid, open_port}));
    s.settle();
  }
  CHECK(s->try_connect({vsock::host_cid, open_port}).error() == errc::table_full);
}
