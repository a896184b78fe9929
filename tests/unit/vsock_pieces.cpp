// SPDX-License-Identifier: MIT
// Pieces of received data that the program takes and returns.
#include <random>
#include <vector>

#include "vsock.hpp"

using namespace virtio;

namespace {

constexpr vsock::limits holding{
    .connections = 8, .receive_packet = 256, .receive_buffer = 4096, .receive_pool = 8192, .pieces = 20};

struct started : rig::basic_sockets<holding> {
  started() { REQUIRE(begin()); }
};
std::vector<u8> copy(const vsock::piece& one) { return {one.data.data(), one.data.data() + one.data.size()}; }

}  // namespace

TEST_CASE("vsock pieces: the window counts a piece until it is returned, once", "[vsock]") {
  started s;
  const auto one = s.connected();
  const vsock_flow f = s.flow(one);
  s.model.send(f, pattern(100'000));
  s.settle();
  std::vector<vsock::piece> held;
  std::vector<u8> all;
  for (auto got = s->try_take(one); got || got.error() == errc::not_ready; got = s->try_take(one)) {
    if (!got) break;
    held.push_back(*got);
    const auto some = copy(*got);
    all.insert(all.end(), some.begin(), some.end());
    s.settle();
  }
  CHECK(all.size() == 512);  // its window
  CHECK(*s->unread(one) == 0);
  CHECK(all == pattern(all.size()));
  for (const auto& p : held) CHECK(s->give_back(p));
  for (const auto& p : held) CHECK(s->give_back(p).error() == errc::stale_handle);
  CHECK(s.receive(one, 100'000 - all.size()) == pattern(100'000 - all.size(), 1, all.size()));
}

TEST_CASE(
    "vsock pieces: a piece stays in place after its connection ends, and holding all places starves no other connection",
    "[vsock]") {
  started s;
  std::vector<vsock::piece> held;
  errc why = errc::ok;
  while (why == errc::ok) {
    const auto one = s.connected();
    s.model.send(s.flow(one), pattern(200));
    s.settle();
    const auto got = s->try_take(one);
    if (got) held.push_back(*got);
    why = got.error();
    REQUIRE((got || why == errc::table_full));
    REQUIRE(s->abort(one));
    s.settle();
  }
  CHECK(held.size() == holding.pieces);
  const auto other = s.connected();
  s.model.send(s.flow(other), pattern(50'000, 3));
  CHECK(s.receive(other, 50'000) == pattern(50'000, 3));
  for (const auto& p : held) CHECK(copy(p) == pattern(200));
  REQUIRE(s->reset());
  CHECK(s->give_back(held[0]).error() == errc::stale_handle);
  REQUIRE(s.begin());
  CHECK(s->give_back(held[1]).error() == errc::stale_handle);
  s.check_works(s.connected());
}

TEST_CASE("vsock pieces: taken and returned in any order, no byte is lost and no memory leaks", "[vsock]") {
  started s;
  std::mt19937 random{7};
  for (int life = 0; life < 40; ++life) {
    std::vector<vsock::socket> all;
    std::vector<usize> sent(6), got(6);
    std::vector<std::pair<vsock::piece, std::vector<u8>>> held;
    for (u32 i = 0; i < 6; ++i) all.push_back(s.connected());
    for (int step = 0; step < 300; ++step) {
      const u32 i = static_cast<u32>(random() % 6);
      switch (random() % 5) {
        case 0: {
          const usize n = 1 + random() % (random() % 2 == 0 ? 5u : 900u);
          s.model.send(s.flow(all[i]), pattern(n, i, sent[i]));
          sent[i] += n;
          break;
        }
        case 1:
          if (const auto p = s->try_take(all[i])) {
            REQUIRE(copy(*p) == pattern(p->data.size(), i, got[i]));
            got[i] += p->data.size();
            held.emplace_back(*p, copy(*p));
          }
          break;
        case 2:
          if (!held.empty()) {
            const usize n = random() % held.size();
            REQUIRE(s->give_back(held[n].first));
            held.erase(held.begin() + static_cast<std::ptrdiff_t>(n));
          }
          break;
        case 3: {
          std::vector<u8> into(1 + random() % 400);
          if (const auto n = s->try_receive(all[i], into)) {
            into.resize(*n);
            REQUIRE(into == pattern(*n, i, got[i]));
            got[i] += *n;
          }
          break;
        }
        default: s.settle();
      }
      for (const auto& [p, was] : held) REQUIRE(copy(p) == was);
      REQUIRE(s.model.promised() <= holding.receive_pool);
    }
    for (const auto one : all) REQUIRE((random() % 2 == 0 ? s->close(one) : s->abort(one)));
    s.settle();
    for (const auto& [p, was] : held) REQUIRE(copy(p) == was);
    for (const auto& one : held) REQUIRE(s->give_back(one.first));
  }
  const auto last = s.connected();  // the window of a connection that has all memory
  s.model.send(s.flow(last), pattern(100'000));
  CHECK(s.receive(last, 100'000).size() == 100'000);
  s.settle();
  CHECK(s.end(last).credit() >= holding.receive_buffer / 2);
}

TEST_CASE("vsock pieces: while most of a window is held the rest continues, also with a peer that requests nothing",
          "[vsock]") {
  constexpr vsock::limits whole{.connections = 2, .receive_packet = 256, .receive_buffer = 4096, .pieces = 15};
  rig::basic_sockets<whole> s;
  REQUIRE(s.begin());
  const auto one = s.connected();
  std::vector<vsock::piece> held;
  const auto all = pattern(40'000);
  s.model.send(s.flow(one), all);
  s.settle();
  while (held.size() < whole.pieces) {
    const auto got = s->try_take(one);
    REQUIRE(got);
    held.push_back(*got);
  }
  const usize taken = held.size() * 256;
  CHECK(s.receive(one, all.size() - taken) == pattern(all.size() - taken, 1, taken));
  for (usize i = 0; i < held.size(); ++i) CHECK(copy(held[i]) == pattern(256, 1, i * 256));
}

TEST_CASE("vsock streams: state_of returns whether both directions are open, whatever is unread", "[vsock]") {
  sockets s;
  REQUIRE(s.begin());
  s.model.ports[6000] = vsock_model::reception::is_silent;
  const auto state = [&](vsock::socket which) {
    const auto said = s->state_of(which);
    CHECK(s->is_open(which) == said.has_value());
    return said.error();
  };
  const auto waits = s->try_connect({vsock::host_cid, 6000});
  REQUIRE(waits);
  CHECK(state(*waits) == errc::not_ready);
  const auto one = s.connected(), other = s.connected(), third = s.connected();
  CHECK(state(one) == errc::ok);
  s.model.send(s.flow(one), pattern(10));
  s.model.send(s.flow(other), pattern(10));
  s.model.send(s.flow(third), pattern(10));
  s.settle();
  s.model.abort(s.flow(one));
  s.model.shut(s.flow(other), op::no_send);
  s.model.shut(s.flow(third), op::no_receive);
  s.settle();
  CHECK(state(one) == errc::peer_reset);
  CHECK(state(other) == errc::peer_closed);
  CHECK(state(third) == errc::peer_closed);
  CHECK(s.drained(one).first == pattern(10));
  REQUIRE(s->abort(one));
  CHECK(state(one) == errc::stale_handle);
}
