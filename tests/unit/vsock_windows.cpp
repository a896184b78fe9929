// SPDX-License-Identifier: MIT
// How far peers may send ahead when connections share memory: windows grow by use, and dropped data holds no memory.
#include <catch2/generators/catch_generators.hpp>

#include <vector>

#include "vsock.hpp"

using namespace virtio;

namespace {

constexpr vsock::limits crowd{.connections = 128, .receive_buffer = 65536, .receive_pool = 1024 * 1024};
constexpr vsock::limits pooled{.connections = 32, .receive_buffer = 65536, .receive_pool = 1024 * 1024};

struct cost {
  u32 rounds = 0, updates = 0;
};

// An upload of 4 MiB beside so many idle connections.
cost upload(u32 idle) {
  rig::basic_sockets<crowd> s;
  REQUIRE(s.begin());
  for (u32 i = 0; i < idle; ++i) (void)s.connected();
  const auto one = s.connected();
  const auto all = pattern(4 << 20);
  s.forget();
  s.model.send(s.flow(one), all);
  cost seen;
  std::vector<u8> got;
  for (; got.size() < all.size() && seen.rounds < 100'000; ++seen.rounds) {
    s.model.settle();
    (void)s.poll();
    const auto some = s.drained(one, 65536).first;
    got.insert(got.end(), some.begin(), some.end());
  }
  CHECK(got == all);
  seen.updates = s.model.count(op::credit_update);
  return seen;
}

}  // namespace

TEST_CASE(
    "vsock windows: an upload beside idle connections takes at most 1.2 times the rounds and credit updates it takes alone",
    "[vsock]") {
  const cost alone = upload(0);
  const u32 idle = GENERATE(16u, 60u, 127u);
  CAPTURE(idle);
  const cost beside = upload(idle);
  CHECK(beside.rounds * 10 <= alone.rounds * 12);
  CHECK(beside.updates * 10 <= alone.updates * 12);
}

TEST_CASE("vsock windows: connections that are closing, or no longer received from, hold no memory", "[vsock]") {
  const bool closes = GENERATE(false, true);
  CAPTURE(closes);
  rig::basic_sockets<pooled> s;
  REQUIRE(s.begin());
  std::vector<vsock::socket> kept;
  const auto grown = [&](u32 bytes) {
    const auto one = s.connected();
    s.end(one).answers_shutdown = false;
    s.model.send(s.flow(one), pattern(bytes));
    CHECK(s.receive(one, bytes).size() == bytes);
    return one;
  };
  const u32 alone = s.end(grown(300'000)).credit();
  for (int i = 0; i < 28; ++i) {
    const auto one = grown(300'000);
    if (closes) REQUIRE(s->close(one));
    else REQUIRE(s->shutdown(one, ends::receive));
    s.settle();
  }
  CHECK(s.end(grown(300'000)).credit() == alone);
}

TEST_CASE("vsock windows: SHUTDOWN opens no window for data that is dropped", "[vsock]") {
  rig::basic_sockets<pooled> s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  const vsock_flow f = s.flow(one);
  s.end(one).answers_shutdown = false;
  s.model.send(f, pattern(5000));
  s.settle();
  const u32 edge = s.model.peer(f).guest_consumed + s.model.peer(f).guest_window;
  REQUIRE(s->close(one));
  s.settle();
  CHECK(s.model.peer(f).guest_ends == op::both_ends);
  CHECK(s.model.peer(f).guest_consumed + s.model.peer(f).guest_window == edge);
}

TEST_CASE("vsock windows: a peer that continues to send after shutdown(receive) is not blocked", "[vsock]") {
  rig::basic_sockets<pooled> s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  REQUIRE(s->shutdown(one, ends::receive));
  s.model.send(s.flow(one), pattern(200'000));
  s.settle();
  CHECK(s.end(one).unsent() == 0);
  u8 byte[1];
  CHECK(s->try_receive(one, byte).error() == errc::invalid_argument);
}

TEST_CASE("vsock windows: a new connection's window is small, and doubles when the peer uses it up", "[vsock]") {
  rig::basic_sockets<pooled> s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  u32 window = s.end(one).credit();
  CHECK(window == 2 * pooled.receive_packet);
  for (const u32 next : {4u, 8u, 16u}) {
    s.model.send(s.flow(one), pattern(window));
    CHECK(s.receive(one, window).size() == window);
    s.model.say(s.flow(one), op::credit_request);
    s.settle();
    window = s.end(one).credit();
    CHECK(window == next * pooled.receive_packet);
  }
}

TEST_CASE("vsock windows: one connection may have a window of its own", "[vsock]") {
  rig::basic_sockets<pooled> s;
  REQUIRE(s.begin());
  const auto bulk = s.connected(), control = s.connected();
  REQUIRE(s->set_window(bulk, pooled.receive_buffer));
  REQUIRE(s->set_window(control, 4096));
  CHECK(s->set_window(bulk, pooled.receive_buffer + 1).error() == errc::invalid_argument);
  CHECK(s->set_window(bulk, 0).error() == errc::invalid_argument);
  s.settle();
  CHECK(s.end(bulk).credit() == pooled.receive_buffer);
  s.model.send(s.flow(control), pattern(100'000));
  CHECK(s.receive(control, 100'000) == pattern(100'000));
  s.check_works(control);
  CHECK(s.end(control).credit() <= 4096);
  REQUIRE(s->close(bulk));
  CHECK(s->set_window(bulk, 4096).error() == errc::stale_handle);
}

TEST_CASE("vsock windows: unread() returns how many bytes have arrived and are unread", "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  CHECK(*s->unread(one) == 0);
  s.model.send(s.flow(one), pattern(10'000));
  s.settle();
  CHECK(*s->unread(one) == 10'000);
  u8 some[3000];
  REQUIRE(s->try_receive(one, some));
  CHECK(*s->unread(one) == 7000);
  s.model.abort(s.flow(one));
  s.settle();
  CHECK(*s->unread(one) == 7000);
  REQUIRE(s->close(one));
  CHECK(s->unread(one).error() == errc::stale_handle);
}

namespace {

constexpr vsock::limits scarce{.connections = 4, .receive_buffer = 65536, .receive_pool = 4 * 4096};

// Frames of `a` and `b` bytes in turn: how many of 20 arrive whole. `Look` returns whether a frame of that size has
// arrived, and takes it.
template <class Sockets, class Look>
u32 frames_of(Sockets& s, u32 a, u32 b, Look&& look) {
  REQUIRE(s.begin());
  const auto one = s.connected();
  s.model.send(s.flow(one), pattern(10 * (a + b)));
  u32 frames = 0;
  for (int calls = 0; calls < 5000 && frames < 20; ++calls) {
    s.settle();
    frames += look(s, one, frames % 2 == 0 ? a : b);
  }
  return frames;
}

constexpr auto shown_whole = [](auto& s, vsock::socket one, u32 size) {
  bool whole = false;
  (void)s->receive_with(one,
                        [&](const vsock::arrived& here) -> usize { return (whole = here.size() >= size) ? size : 0; });
  return whole;
};
constexpr auto there_to_copy = [](auto& s, vsock::socket one, u32 size) {
  if (*s->unread(one) < size) return false;
  std::vector<u8> frame(size);
  const auto got = s->try_receive(one, frame);
  return got && *got == size;
};

}  // namespace

TEST_CASE("vsock windows: a frame shorter than the window arrives whole, however little was read before it",
          "[vsock]") {
  const bool asks = GENERATE(false, true);
  CAPTURE(asks);
  vsock_options o;
  if (asks) o.host = vsock_host::vhost_device();
  SECTION("shown, of more than half the window") {
    sockets s{o};
    CHECK(frames_of(s, 20'000, 50'000, shown_whole) == 20);
  }
  SECTION("shown, after a few bytes") {
    sockets s{o};
    CHECK(frames_of(s, 2, 65'500, shown_whole) == 20);
  }
  SECTION("shown, in the one packet that each connection has for certain") {
    rig::basic_sockets<scarce> s{o};
    CHECK(frames_of(s, 1000, 3500, shown_whole) == 20);
  }
  SECTION("copied when all of it has arrived") {
    sockets s{o};
    CHECK(frames_of(s, 20'000, 50'000, there_to_copy) == 20);
  }
}

TEST_CASE("vsock windows: a peer is informed of a larger window at once, even if it is larger by less than half",
          "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  REQUIRE(s->set_window(one, 65536 / 2));
  s.model.send(s.flow(one), pattern(200'000));
  s.settle();
  (void)s.receive(one, 100'000);
  s.settle();
  const usize before = *s->unread(one);
  REQUIRE(s->set_window(one, 40'960));
  s.settle();
  CHECK(*s->unread(one) >= before + 8192);
}

TEST_CASE("vsock windows: no window exceeds its memory if that is not a whole number of packets", "[vsock]") {
  constexpr vsock::limits odd{.connections = 40, .receive_packet = 4096, .receive_buffer = 8000};
  rig::basic_sockets<odd> s;
  REQUIRE(s.begin());
  for (int i = 0; i < 39; ++i) {
    const auto one = s.connected();
    REQUIRE(s->set_window(one, odd.receive_buffer));
    s.settle();
    CHECK(s.end(one).guest_window <= odd.receive_buffer);
    s.model.send(s.flow(one), pattern(8000));
    s.settle();
    CHECK(*s->unread(one) == 4096);
  }
  s.check_works(s.connected());
}

TEST_CASE("vsock windows: peers that have ended their direction hold no memory", "[vsock]") {
  rig::basic_sockets<pooled> s;
  REQUIRE(s.begin());
  const auto grown = [&] {
    const auto one = s.connected();
    s.model.send(s.flow(one), pattern(300'000));
    CHECK(s.receive(one, 300'000).size() == 300'000);
    return one;
  };
  const u32 alone = s.end(grown()).credit();
  for (int i = 0; i < 28; ++i) {
    const auto one = grown();
    s.model.shut(s.flow(one), op::no_send);
    s.settle();
    CHECK(s.drained(one).second == errc::peer_closed);
  }
  CHECK(s.end(grown()).credit() == alone);
}
