// SPDX-License-Identifier: MIT
// Links between a link and its stack.
#include <algorithm>
#include <string>
#include <vector>

#include <virtio/net/filters.hpp>

#include "loopback_link.hpp"
#include "machine.hpp"

using namespace virtio;
using net::after_look;
using net::passing;
using rig::loopback_link;

namespace {

using frame_bytes = std::vector<u8>;

// Offloads that a type of link never has are also left out above it.
struct without_offloads : loopback_link {
  static constexpr flags<net::offload> may_do{};
};
static_assert(net::may_do<loopback_link>.has(net::offload::checksum) &&
              net::may_do<loopback_link>.has(net::offload::received_checksum));
static_assert(net::may_do<net::filter<without_offloads>>.empty());
static_assert(net::may_do<net::filter<loopback_link>> == net::may_do<loopback_link>);

frame_bytes some_frame(usize size, u8 seed = 1) {
  frame_bytes all(size);
  for (usize i = 0; i < size; ++i) all[i] = static_cast<u8>(i * 7 + seed);
  return all;
}
frame_bytes bytes_of(const net::frame& f) {
  frame_bytes all(f.size);
  REQUIRE(f.copy_to(0, all) == f.size);
  return all;
}
template <class Link>
result<void> send(Link& link, const frame_bytes& all, usize piece = ~usize{0}) {
  std::vector<const_bytes> pieces;
  for (usize at = 0; at < all.size(); at += detail::smaller(piece, all.size() - at))
    pieces.push_back(const_bytes{all}.part(at, piece));
  return link.try_send(scatter<const_bytes>{pieces.data(), pieces.size()});
}
usize differences(const frame_bytes& a, const frame_bytes& b) {
  REQUIRE(a.size() == b.size());
  usize n = 0;
  for (usize i = 0; i < a.size(); ++i) n += a[i] != b[i];
  return n;
}

struct shower {
  std::vector<std::pair<passing, frame_bytes>>* seen = nullptr;
  void operator()(passing way, const net::frame& f) const { seen->emplace_back(way, bytes_of(f)); }
};
static_assert(net::link<net::filter<loopback_link>>);
static_assert(net::link<net::traced<loopback_link, shower>>);
static_assert(net::link<net::faulty<loopback_link>>);
static_assert(net::link<net::traced<net::faulty<net::faulty<loopback_link>>, shower>>);

}  // namespace

TEST_CASE("net filters: a trace shows each taken or received frame once, and changes nothing", "[net]") {
  loopback_link card;
  std::vector<std::string> seen;
  net::traced trace{card, [&](passing way, const net::frame& f) {
                      seen.push_back((way == passing::sent ? "sent " : "received ") + std::to_string(f.size) +
                                     (f.sum == net::checksum::missing ? " missing" : ""));
                    }};
  CHECK(trace.mac() == card.mac());
  CHECK(trace.facts().most_kept == 4);
  CHECK(send(trace, some_frame(60), 7).error() == errc::ok);
  CHECK(send(trace, some_frame(13)).error() == errc::invalid_argument);
  card.room = 0;
  CHECK(send(trace, some_frame(61)).error() == errc::queue_full);
  card.room = 1;
  const auto f = some_frame(62);
  const const_bytes one[] = {const_bytes{f}};
  CHECK(trace.try_send(one, {34, 6}));
  card.to_receive = {some_frame(70), some_frame(71)};
  CHECK(trace.receive_with([](const net::frame& got) { return got.size == 70 ? after_look::keep : after_look::done; }));
  CHECK(trace.receive_with([](const net::frame&) { return after_look::done; }));
  CHECK(trace.receive_with([](const net::frame&) { return after_look::done; }).error() == errc::not_ready);
  CHECK(seen == std::vector<std::string>{"sent 60", "sent 62 missing", "received 70", "received 71"});
  CHECK(card.sent == std::vector{some_frame(60), some_frame(62)});
  CHECK(trace.give_back({0, 1}));
  CHECK(trace.give_back({0, 1}).error() == errc::stale_handle);
}

TEST_CASE("net filters: calls that do not concern frames pass through", "[net]") {
  loopback_link card;
  net::faulty bad{card, {}};
  net::traced trace{bad, [](passing, const net::frame&) {}};
  card.is = net::link_state::down;
  CHECK(trace.state() == net::link_state::down);
  CHECK(send(trace, some_frame(60)).error() == errc::not_ready);
  CHECK(*trace.poll() == false);
  card.to_receive = {some_frame(60)};
  CHECK(*trace.poll() == true);
  CHECK(trace.arm());
  trace.disarm();
  trace.flush();
  CHECK(card.flushes == 1);
  CHECK(card.polls == 2);
  CHECK(trace.acknowledge_interrupt() == 7);
  CHECK(trace.wait_until(waiting::peer, [] { return true; }) == errc::ok);
  CHECK(trace.wait_until(waiting::peer, [] { return false; }, [] { return true; }) == errc::canceled);
}

TEST_CASE("net filters: without faults every frame passes unchanged", "[net]") {
  loopback_link card;
  net::faulty bad{card, {.seed = 5}};
  for (usize size = 14; size <= 1514; size += 50) {
    CHECK(send(bad, some_frame(size), 150));
    card.to_receive.push_back(some_frame(size));
    CHECK(bad.receive_with([&](const net::frame& f) {
      CHECK(bytes_of(f) == some_frame(size));
      CHECK(f.sum == net::checksum::right);
      return after_look::done;
    }));
    CHECK(card.sent.back() == some_frame(size));
  }
  CHECK(bad.counts().lost[0] + bad.counts().lost[1] + bad.counts().corrupted[0] + bad.counts().corrupted[1] +
            bad.counts().repeated ==
        0);
}

TEST_CASE(
    "net filters: frames are lost, corrupted and repeated at the given rates, counted, and the same for the same seed",
    "[net]") {
  const auto run = [](u64 seed) {
    loopback_link card;
    card.piece = 100;
    net::faulty bad{card, {.drop = 100, .corrupt = 50, .repeat = 30, .seed = seed}};
    const auto f = some_frame(500);
    for (int i = 0; i < 3'000; ++i) REQUIRE(send(bad, f, 60));
    usize corrupted = 0;
    for (const auto& one : card.sent) {
      REQUIRE(differences(one, f) <= 1);
      REQUIRE(std::equal(one.begin(), one.begin() + 14, f.begin()));
      corrupted += differences(one, f);
    }
    const auto& n = bad.counts();
    CHECK(card.sent.size() == 3'000 - n.lost[0] + n.repeated);
    CHECK(corrupted >= n.corrupted[0]);
    CHECK((n.lost[0] > 230 && n.lost[0] < 370));
    CHECK((n.corrupted[0] > 90 && n.corrupted[0] < 185));
    CHECK((n.repeated > 45 && n.repeated < 120));
    corrupted = 0;
    usize got = 0;
    for (int i = 0; i < 3'000; ++i) card.to_receive.push_back(f);
    while (bad.receive_with([&](const net::frame& one) {
      ++got;
      const usize wrong = differences(bytes_of(one), f);
      REQUIRE(wrong <= 1);
      REQUIRE(one.sum == (wrong != 0 ? net::checksum::unknown : net::checksum::right));
      corrupted += wrong;
      return after_look::done;
    })) {}
    CHECK(got == 3'000 - n.lost[1]);
    CHECK(corrupted == n.corrupted[1]);
    CHECK((n.lost[1] > 230 && n.lost[1] < 370));
    CHECK((corrupted > 90 && corrupted < 185));
    return std::pair{n.lost[0], n.lost[1]};
  };
  CHECK(run(1) == run(1));
  CHECK(run(1) != run(2));
}

TEST_CASE("net filters: a frame that found no room gets its fault once", "[net]") {
  loopback_link card;
  net::faulty bad{card, {.drop = 500, .seed = 3}};
  usize taken = 0, refused = 0;
  for (int i = 0; i < 1000; ++i) {
    card.room = 0;
    // As long as there is no room, a frame is lost at once or never.
    errc first = send(bad, some_frame(60)).error();
    if (first == errc::ok) {
      ++taken;
      continue;
    }
    for (int again = 0; again < 20; ++again) REQUIRE(send(bad, some_frame(60)).error() == errc::queue_full);
    ++refused;
    card.room = 1;
    REQUIRE(send(bad, some_frame(60)));
  }
  CHECK(bad.counts().lost[0] == taken);
  CHECK(card.sent.size() == refused);
  CHECK((taken > 400 && taken < 600));
}

TEST_CASE("net filters: a corrupted frame that is kept stays as shown, for a few frames at a time", "[net]") {
  loopback_link card;
  net::faulty bad{card, {.corrupt = 1000}};
  struct kept {
    net::kept_frame name;
    std::vector<const_bytes> pieces;
    frame_bytes was;
  };
  std::vector<kept> all;
  for (u8 i = 0; i < 12; ++i) card.to_receive.push_back(some_frame(100, i));
  while (bad.receive_with([&](const net::frame& f) {
    all.push_back({f.name, {f.pieces.begin(), f.pieces.end()}, bytes_of(f)});
    return after_look::keep;
  })) {}
  CHECK(all.size() == 12);
  CHECK(bad.counts().corrupted[1] == 8);
  // The program may copy the list of pieces, but not the byte in it.
  for (u8 i = 0; i < 12; ++i) {
    frame_bytes now;
    for (const const_bytes& piece : all[i].pieces) now.insert(now.end(), piece.data(), piece.data() + piece.size());
    CHECK(now == all[i].was);
    CHECK(differences(now, some_frame(100, i)) == (i < 8 ? 1u : 0u));
    CHECK(bad.give_back(all[i].name));
  }
  card.to_receive.push_back(some_frame(100));
  CHECK(bad.receive_with([](const net::frame&) { return after_look::done; }));
  CHECK(bad.counts().corrupted[1] == 9);
}

TEST_CASE("net filters: corrupted frames that were kept before a restart of the link take no place of later ones",
          "[net]") {
  loopback_link card;
  net::faulty bad{card, {.corrupt = 1000}};
  const auto keep_eight = [&] {
    for (u8 i = 0; i < 8; ++i) card.to_receive.push_back(some_frame(100, i));
    while (bad.receive_with([](const net::frame&) { return after_look::keep; })) {}
  };
  for (u32 round = 1; round <= 3; ++round) {
    keep_eight();
    CHECK(bad.counts().corrupted[1] == 8 * round);
    card.forget_kept();
  }
}

TEST_CASE("net filters: a frame that would not stay valid is not corrupted", "[net]") {
  loopback_link card;
  net::faulty bad{card, {.corrupt = 1000}};
  CHECK(!bad.facts().does.has(net::offload::checksum));
  CHECK(bad.facts().most_pieces == 14);
  const auto f = some_frame(64);
  const const_bytes one[] = {const_bytes{f}};
  CHECK(bad.try_send(one, {34, 6}).error() == errc::invalid_argument);
  CHECK(send(bad, some_frame(64), 4).error() == errc::too_many_pieces);
  CHECK(send(bad, some_frame(13)).error() == errc::invalid_argument);
  CHECK(send(bad, some_frame(1515)).error() == errc::too_long);
  CHECK(send(bad, some_frame(56), 4));  // as many pieces as it accepts
  CHECK(differences(card.sent.back(), some_frame(56)) == 1);
  CHECK(send(bad, some_frame(14)));  // no bytes after its header
  CHECK(card.sent.back() == some_frame(14));
  card.sum = net::checksum::missing;
  card.to_receive.push_back(some_frame(64));
  CHECK(bad.receive_with([&](const net::frame& got) {
    CHECK(bytes_of(got) == some_frame(64));
    return after_look::done;
  }));
  card.sum = net::checksum::right;
  card.piece = 1;
  card.to_receive.push_back(some_frame(64));
  CHECK(bad.receive_with([&](const net::frame& got) {
    CHECK(bytes_of(got) == some_frame(64));
    return after_look::done;
  }));
}

TEST_CASE("net filters: a link that loses everything ends its search for a frame", "[net]") {
  loopback_link card;
  net::faulty bad{card, {.drop = 1000}};
  for (int i = 0; i < 200; ++i) card.to_receive.push_back(some_frame(60));
  const auto look = [](const net::frame&) { return after_look::done; };
  CHECK(bad.receive_with(look).error() == errc::not_ready);
  CHECK(card.to_receive.size() == 136);
  for (int i = 0; i < 3; ++i) CHECK(bad.receive_with(look).error() == errc::not_ready);
  CHECK(bad.counts().lost[1] == 200);
}
