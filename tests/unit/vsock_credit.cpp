// SPDX-License-Identifier: MIT
// Credit: what may be sent, what is promised, and when each end reports it. The device model keeps its own counters and
// objects to every packet that exceeds them [VSOCK-05] or whose own counters are wrong [VSOCK-06].
#include <catch2/generators/catch_generators.hpp>

#include <random>

#include "vsock.hpp"

using namespace virtio;

namespace {

struct started : sockets {
  explicit started(vsock_options options = {}) : sockets{std::move(options)} { REQUIRE(begin()); }
};

// A host that allows so many bytes per connection.
vsock_options window(u32 bytes, vsock_host host = vsock_host::kernel()) {
  host.buf_alloc = bytes;
  host.update_below = bytes / 4;
  host.queued_packets = 0;
  return {.host = host};
}

// Sends as much as possible without an update from the host.
template <class Sockets>
usize fill(Sockets& s, vsock::socket one, usize most = 10'000'000) {
  usize taken = 0;
  for (;;) {
    const auto n = s.offer(one, pattern(std::min<usize>(most - taken, 4096), 1, taken));
    if (n) taken += *n;
    (void)s->flush(one);
    const u64 before = s.model.packets();
    s.settle();
    if (taken == most || (!n && before == s.model.packets())) return taken;
  }
}

}  // namespace

TEST_CASE("vsock credit: no more is sent than the peer has allowed [VSOCK-05]", "[vsock]") {
  const u32 bytes = GENERATE(1u, 7u, 1023u, 1024u, 5000u, 65536u, 300'000u);
  CAPTURE(bytes);
  started s{window(bytes)};
  const auto one = s.connected();
  auto& there = s.end(one);
  there.reads = false;
  const usize taken = fill(s, one, 500'000);
  CHECK(taken >= bytes);
  CHECK(there.arrived == bytes);
  CHECK(s.offer(one, pattern(1)).error() == errc::no_credit);
  CHECK(s.model.read(s.flow(one)) == pattern(bytes));
  s.settle();
  CHECK(s.said(one).has(ready::writable));
  (void)s->abort(one);
  s.settle();
}

TEST_CASE("vsock credit: nothing is sent to a peer without room until it has some [VSOCK-05]", "[vsock]") {
  started s{window(0)};
  const auto one = s.connected();
  const auto f = s.flow(one);
  CHECK(fill(s, one, 1) <= 1);  // none has left: it may have been gathered
  CHECK(s.model.peer(f).arrived == 0);
  s.model.set_window(f, 100);
  s.settle();
  if (s.offer(one, pattern(1))) s.settle();
  REQUIRE(s->flush(one));
  s.settle();
  CHECK(s.model.peer(f).arrived >= 1);
}

TEST_CASE(
    "vsock credit: a window that shrinks below the bytes in flight stops the sender until they are read [VSOCK-05]",
    "[vsock]") {
  const u32 smaller = GENERATE(0u, 1u, 1000u, 9999u);
  CAPTURE(smaller);
  started s{window(20'000)};
  const auto one = s.connected();
  const auto f = s.flow(one);
  auto& there = s.model.peer(f);
  there.reads = false;
  CHECK(fill(s, one, 10'000) == 10'000);
  s.model.set_window(f, smaller);  // 10,000 bytes are there, more than this
  s.settle();
  s.model.settled(f);
  CHECK(s.offer(one, pattern(1)).error() == errc::no_credit);
  (void)s->flush(one);
  s.settle();
  CHECK(there.arrived == 10'000);
  CHECK(s.model.read(f, 9'999).size() == 9'999);
  s.model.say(f, op::credit_update);
  s.settle();
  s.model.settled(f);
  if (smaller > 1) CHECK(fill(s, one, smaller - 1) == smaller - 1);  // one byte is unread
  else CHECK(s.offer(one, pattern(1)).error() == errc::no_credit);
  (void)s.model.read(f);
  s.model.set_window(f, 20'000);
  s.settle();
  CHECK(s.offer(one, pattern(1)));
  s.settle();
  (void)s->abort(one);
  s.settle();
}

TEST_CASE("vsock credit: a window that changes with data in flight loses nothing [VSOCK-05][VSOCK-06]", "[vsock]") {
  started s{window(8'000)};
  std::mt19937 random{5};
  const auto one = s.connected();
  const auto f = s.flow(one);
  auto& there = s.model.peer(f);
  there.reads = false;
  usize out = 0, in = 0;
  for (int round = 0; round < 3000; ++round) {
    switch (random() % 4) {
      case 0: s.model.set_window(f, random() % 3 == 0 ? 0 : static_cast<u32>(random() % 20'000)); break;
      case 1:
        if (const auto n = s.offer(one, pattern(1 + random() % 3000, 1, out))) out += *n;
        break;
      case 2: {
        const auto got = s.model.read(f, random() % 5000);
        REQUIRE(got == pattern(got.size(), 1, in));
        in += got.size();
        break;
      }
      default: s.settle();
    }
  }
  for (int i = 0; i < 1000 && in < out; ++i) {
    s.model.set_window(f, 20'000);
    REQUIRE(s->flush(one));
    s.settle();
    const auto got = s.model.read(f);
    REQUIRE(got == pattern(got.size(), 1, in));
    in += got.size();
  }
  CHECK(in == out);
  CHECK(out > 50'000);
}

TEST_CASE("vsock credit: impossible counters of a peer give no credit and do no harm [VSOCK-05]", "[vsock][hostile]") {
  started s{window(1000)};
  const auto one = s.connected();
  const auto f = s.flow(one);
  auto& there = s.model.peer(f);
  there.reads = false;
  CHECK(fill(s, one, 1000) == 1000);
  const u32 fwd = GENERATE(1001u, 2000u, 0x7fff'ffffu, 0x8000'0000u, 0xffff'ffffu);
  CAPTURE(fwd);
  auto p = op::packet(f, op::credit_update);
  p.fwd_cnt = fwd;  // more than was sent, or less than was confirmed
  p.buf_alloc = 1000;
  s.model.inject(p);
  s.settle();
  CHECK(there.arrived == 1000);
  (void)s->flush(one);
  s.settle();
  CHECK(there.arrived == 1000);
  if (s->peer_of(one)) {
    (void)s.model.read(f);
    s.model.say(f, op::credit_update);
    s.settle();
    CHECK(s.offer(one, pattern(10)));
    CHECK(s->flush(one));
    s.settle();
    CHECK(there.arrived > 1000);
  }
}

TEST_CASE("vsock credit: a sender without credit requests it once, and receives an update [VSOCK-05]", "[vsock]") {
  vsock_host host = vsock_host::kernel();
  started s{window(5000, host)};
  s.model.host.update_below = 0;  // it sends no updates by itself
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.peer(f).reads = false;
  (void)fill(s, one, 20'000);
  CHECK(s.model.peer(f).arrived == 5000);
  const u32 asked = s.model.count(op::credit_request);
  CHECK(asked >= 1);
  for (int i = 0; i < 20; ++i) {
    CHECK(!s.offer(one, pattern(1)));
    s.settle();
  }
  // Answers without credit do not cause an endless exchange of requests
  CHECK(s.model.count(op::credit_request) <= asked + 2);
  (void)s.model.read(f);
  s.model.say(f, op::credit_update);
  s.settle();
  CHECK(s.offer(one, pattern(1)));
  (void)s->abort(one);
  s.settle();
}

TEST_CASE("vsock credit: a CREDIT_REQUEST is answered at once with current values [VSOCK-06]", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.forget();
  s.model.say(f, op::credit_request);
  s.settle();
  CHECK(s.model.count(op::credit_update) == 1);
  CHECK(s.model.last(f)->fwd_cnt == 0);
  s.model.send(f, pattern(100));
  s.settle();
  CHECK(s.drained(one).first.size() == 100);
  s.model.say(f, op::credit_request);
  s.settle();
  CHECK(s.model.last(f)->op == op::credit_update);
  CHECK(s.model.last(f)->fwd_cnt == 100);
  CHECK(s.model.last(f)->buf_alloc >= sockets::layout.receive_packet);
}

TEST_CASE("vsock credit: every packet reports the consumed bytes, data and updates alike [VSOCK-06]", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  u32 consumed = 0;
  for (u32 i = 1; i < 30; ++i) {
    s.model.send(f, pattern(i * 10));
    s.settle();
    CHECK(s.drained(one).first.size() == i * 10);
    consumed += i * 10;
    s.send(one, pattern(1));
    CHECK(s.model.last(f)->op == op::data);
    CHECK(s.model.last(f)->fwd_cnt == consumed);
  }
}

TEST_CASE("vsock credit: the peer is informed of room before it runs out, and not at every read [VSOCK-06]",
          "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.forget();
  constexpr usize total = 1'000'000;
  s.model.send(f, pattern(total));
  CHECK(s.receive(one, total, 500) == pattern(total));
  const u32 updates = s.model.count(op::credit_update);
  CHECK(updates >= total / sockets::layout.receive_buffer - 1);
  CHECK(updates <= 8 * total / sockets::layout.receive_buffer);
}

TEST_CASE("vsock credit: a host that sends a byte at a time never starves [VSOCK-06]", "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  std::vector<u8> all;
  for (u32 i = 0; i < 3000; ++i) s.model.send(f, {static_cast<u8>(i)});
  CHECK(s.receive(one, 3000).size() == 3000);
  CHECK(s.model.peer(f).unsent() == 0);
}

TEST_CASE("vsock credit: packets of one byte use memory as well as window, and promises stay within it [VSOCK-06]",
          "[vsock][hostile]") {
  static constexpr vsock::limits few{
      .connections = 4, .receive_packet = 256, .receive_buffer = 4096, .receive_pool = 4096};
  rig::basic_sockets<few> s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  const auto f = s.flow(one);
  for (u32 i = 0; i < 4096; ++i) s.model.send(f, {static_cast<u8>(i)});
  for (int round = 0; round < 5; ++round) s.settle();
  const auto other = s.connected();
  s.check_works(other);  // whatever the first peer does with its memory
  std::vector<u8> want(4096);
  for (u32 i = 0; i < 4096; ++i) want[i] = static_cast<u8>(i);
  CHECK(s.receive(one, 4096) == want);
}

TEST_CASE("vsock credit: a host that exceeds the window loses the connection [VSOCK-06]", "[vsock][hostile]") {
  started s;
  const auto one = s.connected(), other = s.connected(77);
  const auto f = s.flow(one);
  for (int i = 0; i < 64 && s.model.is_open(f); ++i) {
    s.model.inject(op::packet(f, op::data, pattern(4096)));
    s.settle();
  }
  CHECK(s.model.peer(f).end == peer::ending::by_guest);
  CHECK(s.said(one).has(ready::closed));
  const auto [data, why] = s.drained(one);
  CHECK(why == errc::peer_reset);
  CHECK(data.size() <= sockets::layout.receive_buffer);
  s.check_works(other);
}

TEST_CASE("vsock credit: many connections share little memory, and promises never exceed it [VSOCK-06]", "[vsock]") {
  static constexpr vsock::limits shared{
      .connections = 64, .receive_packet = 512, .receive_buffer = 16384, .receive_pool = 65536};
  rig::basic_sockets<shared> s;
  REQUIRE(s.begin());
  std::vector<vsock::socket> all;
  for (int i = 0; i < shared.connections; ++i) {
    all.push_back(s.connected());
    CHECK(s.model.promised() <= shared.receive_pool);
  }
  for (const auto one : all) CHECK(s.end(one).credit() >= shared.receive_packet);  // each has one packet for certain
  std::mt19937 random{2};
  std::vector<usize> sent(all.size()), got(all.size());
  for (int round = 0; round < 4000; ++round) {
    const u32 i = static_cast<u32>(random() % all.size());
    if (random() % 2 == 0) {
      const usize n = 1 + random() % 5000;
      s.model.send(s.flow(all[i]), pattern(n, i, sent[i]));
      sent[i] += n;
    } else {
      std::vector<u8> some(1 + random() % 6000);
      if (const auto n = s->try_receive(all[i], some)) {
        some.resize(*n);
        REQUIRE(some == pattern(*n, i, got[i]));
        got[i] += *n;
      }
    }
    if (random() % 4 == 0) s.settle();
    u64 unread = 0;
    for (u32 n = 0; n < all.size(); ++n) unread += s.end(all[n]).sent - got[n];
    REQUIRE(s.model.promised() + unread <= shared.receive_pool);
  }
  for (u32 i = 0; i < all.size(); ++i) {
    const auto rest = s.receive(all[i], sent[i] - got[i]);
    CHECK(rest == pattern(sent[i] - got[i], i, got[i]));
  }
}

TEST_CASE("vsock credit: an idle connection gets its packet while others hold all memory [VSOCK-06]", "[vsock]") {
  static constexpr vsock::limits shared{
      .connections = 16, .receive_packet = 512, .receive_buffer = 16384, .receive_pool = 16 * 512};
  rig::basic_sockets<shared> s;
  REQUIRE(s.begin());
  std::vector<vsock::socket> all;
  for (int i = 0; i < shared.connections; ++i) {
    all.push_back(s.connected());
    s.model.send(s.flow(all.back()), pattern(10'000, static_cast<u32>(i)));
  }
  s.settle();
  for (const auto one : all) CHECK(s.end(one).sent == 512);
  for (u32 i = 0; i < all.size(); ++i) CHECK(s.receive(all[i], 10'000) == pattern(10'000, i));
}

TEST_CASE("vsock credit: memory of unread bytes is freed when a connection ends", "[vsock]") {
  static constexpr vsock::limits shared{
      .connections = 4, .receive_packet = 512, .receive_buffer = 4096, .receive_pool = 4096};
  rig::basic_sockets<shared> s;
  REQUIRE(s.begin());
  for (int i = 0; i < 100; ++i) {
    const auto one = s.connected();
    s.model.send(s.flow(one), pattern(10'000));
    s.settle();
    if (i % 2 == 0) REQUIRE(s->abort(one));
    else s.model.abort(s.flow(one)), s.settle(), (void)s->close(one);
    s.settle();
  }
  const auto last = s.connected();
  s.model.send(s.flow(last), pattern(50'000));
  CHECK(s.receive(last, 50'000) == pattern(50'000));
}

TEST_CASE("vsock credit: 100,000 writes of one byte reach a host that limits packets, in few of them", "[vsock]") {
  started s;
  REQUIRE(s.model.host.queued_packets != 0);
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.peer(f).reads = false;  // so that packets pile up
  const bool slow = GENERATE(false, true);
  const auto all = pattern(100'000);
  usize done = 0;
  s.forget();
  for (int round = 0; done < all.size() && round < 1'000'000; ++round) {
    const auto n = s->try_send(one, const_bytes{all.data() + done, 1});
    if (n) done += *n;
    if (!n || (slow && round % 50 == 0)) s.settle();
    if (!n) (void)s.model.read(f);
  }
  REQUIRE(done == all.size());
  REQUIRE(s->flush(one));
  s.settle();
  CHECK(s.model.is_open(f));
  (void)s.model.read(f);
  CHECK(s.model.peer(f).bytes == all);
  CHECK(s.model.count(op::data) <= 500);  // 98 of 1 KiB each, and some small ones each time the host has read
}

TEST_CASE(
    "vsock credit: small writes leave at once on a quiet connection, and gathered ones at flush, close and when there is room",
    "[vsock]") {
  started s;
  const auto one = s.connected();
  const auto f = s.flow(one);
  s.model.peer(f).reads = false;
  s.forget();
  REQUIRE(s.offer(one, pattern(3)));
  s.settle();
  CHECK(s.model.peer(f).arrived == 3);
  for (usize i = 3; i < 500; ++i) {
    if (s.offer(one, pattern(1, 1, i))) continue;
    s.settle();
    REQUIRE(s.offer(one, pattern(1, 1, i)));
  }
  s.settle();
  CHECK(s.model.small_packets() <= 100);
  SECTION("flush") {
    REQUIRE(s->flush(one));
    s.settle();
    CHECK(s.model.peer(f).arrived == 500);
  }
  SECTION("the peer has consumed what was sent") {
    for (int i = 0; i < 5 && s.model.peer(f).bytes.size() < 500; ++i) {
      (void)s.model.read(f);
      s.model.say(f, op::credit_update);
      s.settle();
    }
    CHECK(s.model.peer(f).bytes.size() == 500);
  }
  SECTION("close") {
    REQUIRE(s->close(one));
    s.settle();
    CHECK(s.model.peer(f).arrived == 500);
    CHECK(s.model.peer(f).guest_ends == 3);
  }
  SECTION("shutdown") {
    REQUIRE(s->shutdown(one, vsock::ends::send));
    s.settle();
    CHECK(s.model.peer(f).arrived == 500);
    CHECK(s.model.peer(f).guest_ends == op::no_send);
  }
  CHECK(s.model.read(f).size() + s.model.peer(f).bytes.size() >= 500);
  (void)s->abort(one);
  s.settle();
}

TEST_CASE("vsock credit: gathered bytes leave before a wait for an answer", "[vsock]") {
  started s;
  auto conn = s->connect(rig::echo);
  REQUIRE(conn);
  const auto f = s.flow(conn->id());
  for (usize i = 0; i < 200; ++i) {
    if (s.offer(conn->id(), pattern(1, 1, i))) continue;
    s.settle();
    REQUIRE(s.offer(conn->id(), pattern(1, 1, i)));
  }
  s.model.on_packet = [&](const vsock_packet&) {
    if (s.model.peer(f).arrived == 200 && s.model.peer(f).unsent() == 0 && s.model.peer(f).sent == 0)
      s.model.send(f, {1});
  };
  u8 byte[1];
  CHECK(conn->receive(byte));
  s.model.on_packet = nullptr;
  CHECK(s.model.peer(f).bytes == pattern(200));
}

namespace {

constexpr vsock::limits large{
    .connections = 2, .receive_packet = 65536, .receive_buffer = 1 << 20, .send_packet = 65536};
constexpr u64 around = (u64{1} << 32) + 10'000'000;

}  // namespace

TEST_CASE("vsock credit: counters of sent bytes wrap at 2^32 without loss [VSOCK-05][VSOCK-06]", "[vsock][slow]") {
  auto s = std::make_unique<rig::basic_sockets<large>>();
  REQUIRE(s->begin());
  const auto one = s->connected();
  auto& there = s->end(one);
  there.keeps = false;
  s->model.recording = false;
  const auto piece = pattern(65536);
  u64 out = 0;
  for (int idle = 0; out < around && idle < 1000; ++idle) {
    const auto n = (*s)->try_send(one, piece);
    if (n) out += *n, idle = 0;
    else s->settle();
  }
  REQUIRE(out >= around);
  s->settle();
  CHECK(there.arrived == out);
  CHECK(there.received == static_cast<u32>(out));
  there.keeps = s->model.recording = true;
  s->check_works(one);
}

TEST_CASE("vsock credit: counters of received bytes wrap at 2^32 without loss [VSOCK-06]", "[vsock][slow]") {
  auto s = std::make_unique<rig::basic_sockets<large>>();
  REQUIRE(s->begin());
  const auto one = s->connected();
  const auto f = s->flow(one);
  s->model.recording = false;
  u64 in = 0;
  const auto piece = pattern(1 << 20);
  for (int idle = 0; in < around && idle < 1000; ++idle) {
    if (s->model.peer(f).unsent() < piece.size()) s->model.send(f, piece);
    s->settle();
    for (;;) {
      const auto got = (*s)->receive_with(one, [&](const_bytes some) {
        if (some.data()[0] != piece[in % piece.size()]) FAIL("byte " << in);
        return some.size();
      });
      if (!got) break;
      in += *got;
      idle = 0;
    }
  }
  REQUIRE(in >= around);
  s->model.recording = true;
  for (int i = 0; i < 1000 && s->model.peer(f).unsent() != 0; ++i) {
    s->settle();
    (void)s->drained(one, 65536);
  }
  s->check_works(one);
}
