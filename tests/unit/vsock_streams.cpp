// SPDX-License-Identifier: MIT
// Bytes over the socket driver: in order, once each, in both directions at the same time, however they are cut; and
// packets that belong to no connection.
#include <catch2/generators/catch_generators.hpp>
#include <catch2/catch_template_test_macros.hpp>

#include <random>

#include "vsock.hpp"

using namespace virtio;

namespace {

struct started : sockets {
  explicit started(vsock_options options = {}) : sockets{std::move(options)} { REQUIRE(begin()); }
};

// A layout with little memory, so that everything runs out soon.
constexpr vsock::limits little{.connections = 4,
                               .listeners = 2,
                               .replies = 4,
                               .receive_packet = 256,
                               .receive_buffer = 1024,
                               .receive_pool = 2048,
                               .send_packet = 512,
                               .send_packets = 4};

struct split_and_usual {
  using type = rig::basic_sockets<vsock::limits{}, split_queue<64>>;
};
struct packed_and_usual {
  using type = rig::basic_sockets<vsock::limits{}, packed_queue<64>>;
};
struct split_and_little {
  using type = rig::basic_sockets<little, split_queue<16>>;
};
struct packed_and_little {
  using type = rig::basic_sockets<little, packed_queue<16>>;
};

}  // namespace

TEMPLATE_TEST_CASE("vsock streams: bytes arrive once and in order, both ways at once, on several connections",
                   "[vsock]", split_and_usual, packed_and_usual, split_and_little, packed_and_little) {
  const int which = GENERATE(0, 1, 2);
  const vsock_host hosts[] = {vsock_host::kernel(), vsock_host::firecracker(), vsock_host::vhost_device()};
  typename TestType::type s{{.queue_sizes = {32, 16, 4}, .host = hosts[which]}};
  REQUIRE(s.begin());
  std::mt19937 random{7};
  s.model.burst = 3;
  struct half {
    vsock::socket id;
    vsock_flow flow;
    usize out = 0, in = 0;
  };
  std::vector<half> all;
  for (int i = 0; i < 3; ++i) {
    const auto one = s.connected();
    all.push_back({one, s.flow(one)});
    s.model.peer(all.back().flow).reads = i != 1;
  }
  constexpr usize total = 100'000;
  for (u32 i = 0; i < 3; ++i)
    for (usize at = 0; at < total;) {
      const usize n = std::min<usize>(total - at, 1 + random() % 5000);
      s.model.send(all[i].flow, pattern(n, 100 + i, at));
      at += n;
    }
  const auto left = [&] {
    return std::any_of(all.begin(), all.end(), [](const half& h) { return h.out < total || h.in < total; });
  };
  for (int round = 0; left() && round < 200'000; ++round) {
    const u32 i = static_cast<u32>(random() % 3);
    half& h = all[i];
    switch (random() % 4) {
      case 0: {
        const auto some = pattern(std::min<usize>(total - h.out, 1 + random() % 3000), i, h.out);
        if (some.empty()) break;
        if (const auto n = s.offer(h.id, some)) h.out += *n;
        else if (random() % 2 == 0) REQUIRE(s->flush(h.id));
        break;
      }
      case 1: {
        std::vector<u8> some(1 + random() % 3000);
        const auto n = s->try_receive(h.id, some);
        if (!n) {
          REQUIRE(n.error() == errc::not_ready);
          break;
        }
        some.resize(*n);
        REQUIRE(some == pattern(*n, 100 + i, h.in));
        h.in += *n;
        break;
      }
      case 2: (void)s.model.step(); break;
      default:
        (void)s.poll();
        if (random() % 3 == 0) (void)s.model.read(all[1].flow, random() % 4000);
    }
  }
  for (half& h : all) {
    REQUIRE(s->flush(h.id));
    CHECK(h.in == total);
    CHECK(h.out == total);
  }
  for (int i = 0; i < 1000 && s.model.peer(all[1].flow).bytes.size() < total; ++i) {
    s.settle();
    (void)s.model.read(all[1].flow);
  }
  s.settle();
  for (u32 i = 0; i < 3; ++i) CHECK(s.model.peer(all[i].flow).bytes == pattern(total, i));
}

TEST_CASE("vsock streams: data larger than a receive buffer arrives in several", "[vsock]") {
  started s;
  const auto one = s.connected();
  const usize packet = sockets::layout.receive_packet;
  s.model.send(s.flow(one), pattern(3 * packet + 1));
  s.settle();
  CHECK(s.drained(one, 100).first == pattern(3 * packet + 1));
}

TEST_CASE("vsock streams: receive_with shows bytes in place, and keeps those that are not consumed", "[vsock]") {
  started s;
  const auto one = s.connected();
  u32 calls = 0;
  const auto none = s->receive_with(one, [&](const_bytes) -> usize { return ++calls; });
  CHECK(none.error() == errc::not_ready);
  CHECK(calls == 0);
  s.model.send(s.flow(one), pattern(1000));
  s.settle();
  std::vector<u8> all;
  const u8* first = nullptr;
  for (usize want : {usize{10}, usize{0}, usize{90}, usize{100000}}) {
    const auto got = s->receive_with(one, [&](const_bytes now) -> usize {
      ++calls;
      CHECK(now.size() == 1000 - all.size());
      if (first == nullptr) first = now.data();
      CHECK(now.data() == first + all.size());  // without a copy
      const usize n = std::min(want, now.size());
      all.insert(all.end(), now.data(), now.data() + n);
      return want;  // more than there is counts as all
    });
    CHECK(got);
  }
  CHECK(calls == 4);
  CHECK(all == pattern(1000));
  CHECK(s->try_receive(one, all).error() == errc::not_ready);
  s.check_works(one);
}

TEST_CASE("vsock streams: empty data has no effect", "[vsock]") {
  started s;
  const auto one = s.connected();
  s.forget();
  const auto sent = s->try_send(one, const_bytes{});
  CHECK((!sent || *sent == 0));
  u8 byte[1] = {0x33};
  CHECK(s->try_receive(one, bytes{byte, 0}).value_or(0) == 0);
  s.model.inject(op::packet(s.flow(one), op::data));  // no bytes
  s.settle();
  CHECK(s->try_receive(one, byte).error() == errc::not_ready);
  CHECK(s.model.count(op::data) == 0);
  CHECK(byte[0] == 0x33);
  s.check_works(one);
}

TEST_CASE("vsock streams: a host that takes nothing stops the sender, which is notified of room", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.peer(f).reads = false;
  const auto piece = pattern(4096);
  usize out = 0;
  for (;;) {
    const auto n = s.offer(one, piece);
    if (!n) {
      CHECK((n.error() == errc::no_buffer || n.error() == errc::no_credit));
      (void)s->flush(one);
      s.settle();
      if (!s.offer(one, {1}) && s.model.peer(f).unread() >= s.model.host.buf_alloc) break;
      ++out;
      continue;
    }
    out += *n;
    REQUIRE(out <= s.model.host.buf_alloc + 65536);
  }
  CHECK(s.model.peer(f).arrived == s.model.host.buf_alloc);
  s.forget();
  s.settle();
  CHECK(s.times(ready::writable) == 0);
  (void)s.model.read(f);
  s.settle();
  CHECK(s.said(one).has(ready::writable));
  CHECK(s.offer(one, piece));
  (void)s->abort(one);
  s.settle();
}

TEST_CASE("vsock streams: a program that reads nothing stops the host at the window, and nothing is lost", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.send(f, pattern(1'000'000));
  s.settle();
  const u64 waiting = s.model.peer(f).unsent();
  CHECK(waiting >= 1'000'000 - sockets::layout.receive_buffer);
  CHECK(waiting < 1'000'000);
  CHECK_FALSE(s.model.has_more());
  CHECK(s.receive(one, 1'000'000) == pattern(1'000'000));
}

TEST_CASE("vsock streams: a connection without a reader does not stop others", "[vsock]") {
  rig::basic_sockets<little, split_queue<16>> s{{.queue_sizes = {16, 16, 4}}};
  REQUIRE(s.begin());
  const auto idle = s.connected();
  s.model.send(s.flow(idle), pattern(50'000, 3));
  s.settle();
  const auto busy = s.connected();
  s.model.send(s.flow(busy), pattern(50'000, 4));
  CHECK(s.receive(busy, 50'000) == pattern(50'000, 4));
  s.check_works(busy);
  CHECK(s.receive(idle, 50'000) == pattern(50'000, 3));
}

TEST_CASE(
    "vsock streams: packets of type 3 and of no connection are answered with RST; a RST and other CIDs are not [VSOCK-08]",
    "[vsock][hostile]") {
  started s{{.cid = 5}};
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.forget();
  const vsock_flow nobody{999, 998};
  u32 answers = 0;
  SECTION("an unknown type, on a connection or not") {
    auto p = op::packet(GENERATE_COPY(f, nobody), op::data, pattern(4));
    p.type = GENERATE(u16{0}, u16{3}, u16{0xffff});
    s.model.inject(p);
    answers = 1;
  }
  SECTION("every op except RST and undefined ones") {
    for (u16 code = 0; code < 12; ++code) s.model.inject(op::packet(nobody, code));
    answers = 6;  // RST, op 0 and 8 to 11 are not answered
  }
  SECTION("a request to a port that does not listen") {
    s.model.inject(op::packet(nobody, op::request));
    answers = 1;
  }
  SECTION("a RST of any type to no connection") {
    auto p = op::packet(nobody, op::reset);
    s.model.inject(p);
    p.type = 9;
    s.model.inject(p);
  }
  SECTION("another CID") {
    for (const u64 cid : {u64{0}, u64{2}, u64{6}, u64{0x1'0000'0005}, u64{0xffff'ffff}}) {
      auto p = op::packet(f, op::data, pattern(4));
      p.dst_cid = cid;
      s.model.inject(p);
      p.op = op::reset;
      s.model.inject(p);
    }
  }
  s.settle();
  CHECK(s.model.count(op::reset) == answers);
  for (const auto& what : s.model.record())
    if (!what.to_guest) {
      CHECK(what.packet.src_cid == 5);
      CHECK(what.packet.dst_cid == 2);
    }
  u8 byte[1];
  CHECK(!s->try_receive(one, byte));
  if (s.model.is_open(f) && s->peer_of(one)) s.check_works(one);
  s.check_works(s.connected());
}

TEST_CASE("vsock streams: a packet from a CID beyond 32 bits belongs to no connection", "[vsock][hostile]") {
  started s;
  const auto one = s.connected();
  auto p = op::packet(s.flow(one), op::data, pattern(4));
  p.src_cid = 0x1'0000'0002;
  s.model.inject(p);
  s.settle();
  u8 byte[1];
  CHECK(s->try_receive(one, byte).error() == errc::not_ready);
  s.check_works(one);
}

TEST_CASE("vsock streams: receiving continues while the send ring is full, then waits, and nothing is lost [VSOCK-04]",
          "[vsock]") {
  started s{{.queue_sizes = {32, 16, 4}}};
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.tx = op::sending::ignore;
  s.forget();
  SECTION("data arrives although the send ring is full") {
    const auto piece = pattern(1024);
    while (s.offer(one, piece)) {}
    s.model.send(f, pattern(20'000, 3));
    CHECK(s.receive(one, 20'000) == pattern(20'000, 3));
    s.model.give_back();
    s.settle();
    s.check_works(one);
  }
  SECTION("pending resets wait in a list, and receiving waits while the list is full") {
    for (u32 i = 0; i < 1000; ++i) s.model.inject(op::packet({7, i}, op::request));
    s.model.send(f, pattern(500, 3));
    s.settle();
    s.settle();
    CHECK(s.model.has_more());
    CHECK(s.model.count(op::reset) == 0);
    s.model.give_back();
    s.settle();
    CHECK_FALSE(s.model.has_more());
    CHECK(s.model.count(op::reset) == 1000);
    std::vector<bool> answered(1000);
    for (const auto& what : s.model.record())
      if (!what.to_guest && what.packet.op == op::reset) answered[what.packet.dst_port] = true;
    CHECK(std::count(answered.begin(), answered.end(), true) == 1000);
    CHECK(s.receive(one, 500) == pattern(500, 3));
    s.check_works(one);
  }
}

TEST_CASE("vsock streams: send buffers that are never returned end in bounded errors", "[vsock][hostile]") {
  started s;
  auto conn = s->connect(rig::echo);
  REQUIRE(conn);
  const auto one = conn->id();
  s.model.tx = GENERATE(op::sending::keep, op::sending::ignore);
  const auto piece = pattern(4096);
  usize taken = 0;
  while (const auto n = s.offer(one, piece)) {
    taken += *n;
    REQUIRE(taken < 1'000'000);
    s.settle();
  }
  CHECK(conn->send(piece).error() == errc::peer_silent);
  // A host that reads and keeps the buffers still answers packets without data.
  const errc want = s.model.tx == op::sending::keep ? errc::ok : errc::peer_silent;
  CHECK(s->connect(rig::echo).error() == want);
  CHECK(conn->close().error() == want);
  REQUIRE(s->reset());
  REQUIRE(s.begin());
  s.model.tx = op::sending::serve;
  s.check_works(s.connected());
}

TEST_CASE("vsock streams: a device that missed the doorbell for a packet gets another one, and no more after that",
          "[vsock]") {
  started s;
  s.model.tx = op::sending::ignore;
  const auto one = *s->try_connect(rig::echo);
  s.model.settle();  // the doorbell is lost, the packet is still there
  s.model.tx = op::sending::serve;
  const u32 doorbells = s.model.doorbells(1);
  for (int quiet = 0; quiet < 1500; ++quiet) (void)s.poll();
  CHECK(s.model.doorbells(1) == doorbells + 1);
  s.settle();
  REQUIRE(s.said(one).has(ready::connected));
  s.check_works(one);
  const u32 afterwards = s.model.doorbells(1);
  for (int quiet = 0; quiet < 1500; ++quiet) (void)s.poll();
  CHECK(s.model.doorbells(1) == afterwards);
}

TEST_CASE(
    "vsock streams: a transport reset ends connections, keeps listeners, and updates the CID [VSOCK-09][VSOCK-10][VSOCK-11][VSOCK-12]",
    "[vsock]") {
  started s{{.cid = 3}};
  REQUIRE(s->listen(80, 4));
  const auto one = s.connected();
  const auto two = s.accepted(80, 1);
  s.model.ports[77] = op::reception::waits;
  const auto connecting = *s->try_connect({2, 77});
  s.settle();
  s.model.send(s.flow(one), pattern(10));
  s.settle();
  s.forget();
  s.model.reset_transport(0x77);
  // Until the event queue is kicked nothing is received, whether or not the device requests kicks.
  s.model.ring_in_use(2).set_no_notify(true);
  const u32 doorbells = s.model.doorbells(2);
  s.settle();
  CHECK(s.model.doorbells(2) == doorbells + 1);
  CHECK(s->cid() == 0x77);
  for (const auto which : {one, two, connecting}) CHECK(s.said(which).has(ready::closed));
  CHECK(s.drained(one).second == errc::peer_reset);
  CHECK(s.drained(two).second == errc::peer_reset);
  CHECK(!s.offer(one, pattern(1)));
  for (const auto which : {one, two, connecting}) (void)s->close(which);
  s.settle();
  s.model.ring_in_use(2).set_no_notify(false);
  s.check_works(s.accepted(80, 1));
  s.check_works(s.connected());
  CHECK(s.model.record().back().packet.src_cid != 3);
}

TEST_CASE("vsock streams: hundreds of consecutive transport resets are all processed [VSOCK-09]", "[vsock]") {
  started s;
  REQUIRE(s->listen(80, 1));
  for (u32 i = 0; i < 300; ++i) {
    s.model.reset_transport(10 + i);
    if (i % 3 != 0) s.settle();
    else s.model.settle();
  }
  s.settle();
  CHECK(s->cid() == 309);
  CHECK(s.model.event_buffers() >= 1);
  s.check_works(s.accepted(80, 1));
}

TEST_CASE("vsock streams: an unknown event is ignored, and its buffer is returned", "[vsock][hostile]") {
  started s;
  const auto one = s.connected();
  const u16 before = s.model.event_buffers();
  for (u32 i = 1; i < 50; ++i) {
    s.model.raise(i * 0x1111'1111u);
    s.settle();
  }
  CHECK(s.model.event_buffers() == before);
  s.check_works(one);
}

TEST_CASE("vsock streams: an event with the used length of the whole buffer is accepted", "[vsock]") {
  vsock_options options;
  options.host.claims_event_buffer = true;
  started s{options};
  s.model.reset_transport(20);
  s.settle();
  CHECK(s->cid() == 20);
  s.check_works(s.connected());
}

TEST_CASE("vsock streams: the same script on three hosts gives the same transcript", "[vsock]") {
  const int which = GENERATE(0, 1, 2);
  const vsock_host hosts[] = {vsock_host::kernel(), vsock_host::firecracker(), vsock_host::vhost_device()};
  started s{{.host = hosts[which]}};
  REQUIRE(s->listen(80, 1));
  s.forget();
  const auto one = *s->try_connect_from(2000, rig::echo);
  s.settle();
  s.send(one, pattern(5));
  s.model.send({2000, 5000}, pattern(6000));
  CHECK(s.receive(one, 6000).size() == 6000);
  const auto two = s.accepted(80, 0);
  s.send(two, pattern(4));
  REQUIRE(s->close(one));
  s.settle();
  s.model.close({80, 0});
  s.settle();
  CHECK(s.drained(two).second == errc::peer_closed);
  s.settle();
  CHECK(
      s.model.text(false) ==
      "> REQUEST 2000:5000\n< RESPONSE 2000:5000\n> RW 2000:5000 len=5\n< RW 2000:5000 len=4096\n< RW 2000:5000 len=1904\n"
      "< REQUEST 80:0\n> RESPONSE 80:0\n> RW 80:0 len=4\n> SHUTDOWN 2000:5000 flags=3\n< RST 2000:5000\n"
      "< SHUTDOWN 80:0 flags=3\n> RST 80:0");
}
