// SPDX-License-Identifier: MIT
// The contract of a virtqueue from virtio/queue/concepts.hpp, the same tests over every ring, against a device side
// that shares no code with the library. Split rings show a test's SPLIT requirements, packed rings the PACKED ones.
// Random traffic is in traffic.cpp, and IN_ORDER in in_order.cpp.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <map>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

#define SPLIT_BUT_SMALLEST small, indirect, usual, largest, hardware
#define PACKED_BUT_SMALLEST packed_odd, packed_small, packed_indirect, packed_usual, packed_largest, packed_hardware
#define ONE_FORMAT tiny, packed_tiny, SPLIT_BUT_SMALLEST, PACKED_BUT_SMALLEST, in_order, packed_in_order
#define ROOMY_RINGS \
  SPLIT_BUT_SMALLEST, PACKED_BUT_SMALLEST, in_order, packed_in_order, either_as_split, either_as_packed
#define RINGS tiny, packed_tiny, ROOMY_RINGS

// The code of a test does not depend on a ring's type, and is compiled once.
template <class Ring>
void over(void (*text)(rig::subject&)) {
  text(*rig::untyped<Ring>());
}

// Two requests before all indices wrap, which is near the end of a lap too.
constexpr u32 near_wrap = 65534;

feature_set features_for(const rig::subject& r, bool event_idx, bool tables = false) {
  feature_set f{feature::version_1};
  if (r.in_order) f.set(static_cast<u8>(feature::in_order));
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  if (tables) f.set(static_cast<u8>(feature::indirect_desc));
  return f;
}

// --- the beginning ---

template <class Ring>
bool is_zero(const Ring& ring) {
  const auto* bytes_of = reinterpret_cast<const u8*>(&ring);
  return std::all_of(bytes_of, bytes_of + sizeof ring, [](u8 one) { return one == 0; });
}

TEMPLATE_TEST_CASE("virtqueue: an all-zero object in constant-initialised storage", "[queue][contract]", RINGS) {
  static_assert(virtqueue<TestType>);
  static_assert(detail::trivially_destructible<TestType>);
  static constinit TestType ring{};
  CHECK(is_zero(ring));
}

void refuses_what_it_cannot_use(rig::subject& r) {
  const dma_area whole{r.storage.data, r.storage.size, dma_addr{rig::storage_at}};
  const auto refusal = [&](const dma_area& storage, int n, feature_set f) {
    return r.ring.attach(storage, static_cast<u16>(n), f).error();
  };
  const feature_set f = r.packed ? feature_set{feature::ring_packed} : feature_set{};
  CHECK(refusal({whole.data, whole.size - 1, whole.at}, r.slots, f) == errc::no_space);
  CHECK(refusal({whole.data + 16, whole.size, whole.at}, r.slots, f) == errc::misaligned);
  CHECK(refusal({whole.data, whole.size, whole.at + 8}, r.slots, f) == errc::misaligned);
  CHECK(refusal(whole, 0, f) == errc::unsupported);
  CHECK(refusal(whole, r.slots + 1, f) == errc::unsupported);
  if (r.packed) CHECK(refusal(whole, r.slots, {}) == errc::unsupported);
  else CHECK(refusal(whole, 3, f) == errc::unsupported);
}
TEMPLATE_TEST_CASE("virtqueue: attach rejects what it cannot use", "[queue][contract]", ONE_FORMAT) {
  over<TestType>(refuses_what_it_cannot_use);
}

void every_size(rig::subject& r) {
  for (u16 maximum = 1; maximum <= r.slots + 3; ++maximum) {
    const u16 n = r.ring.fit(maximum, false);
    CAPTURE(maximum, n);
    REQUIRE(n != 0);
    REQUIRE(n <= std::min(maximum, r.slots));
    if (r.packed) REQUIRE(n == std::min(maximum, r.slots));
    r.attach(n, features_for(r, true, r.has_tables), near_wrap);
    REQUIRE(r.ring.longest_chain() == r.room());
    for (u32 i = 0; i < 40; ++i) {
      const u16 writable = static_cast<u16>(i % r.room());
      REQUIRE(r.submit(1, writable, i));
      r.kick();
      r.serve(64u * writable);
      REQUIRE(r.collect().length == 64u * writable);
    }
    r.device.reset();
  }
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "virtqueue: every queue size that a device may have works, lap after lap [PACKED-01][FACT-14][FACT-20]",
    "[queue][contract]", tiny, small, indirect, in_order, packed_tiny, packed_odd, packed_small, packed_indirect,
    packed_hardware, packed_in_order) {
  over<TestType>(every_size);
}

// --- round trips ---

void round_trips(rig::subject& r) {
  const auto [event_idx, tables, before] = GENERATE(
      table<bool, bool, u32>({{false, false, 0}, {true, true, 0}, {false, true, near_wrap}, {true, false, near_wrap}}));
  CAPTURE(event_idx, tables, before);
  r.attach(r.slots, features_for(r, event_idx, tables && r.has_tables), before);
  const u16 writable = r.slots >= 3 ? 2 : 0;
  std::mt19937 random{7};
  std::map<u64, token> mine;
  u64 cookie = 0;
  for (int round = 0; round < 50; ++round) {
    const u64 first = cookie;
    for (int i = 0; i < 200; ++i) {
      const auto t = r.submit(1, writable, cookie);
      if (!t) {
        REQUIRE(t.error() == errc::queue_full);
        break;
      }
      REQUIRE(!mine.contains(cookie));
      mine[cookie++] = *t;
    }
    REQUIRE(!mine.empty());
    r.kick();
    std::vector<virtio::testing::chain> got;
    while (auto one = r.device.pop()) {
      REQUIRE(r.is_chain(*one, 1, writable, first + got.size()));
      got.push_back(*one);
    }
    REQUIRE(got.size() == mine.size());
    if (!r.in_order) std::shuffle(got.begin(), got.end(), random);
    for (const auto& one : got) r.device.push(one.head, 64u * writable);
    r.device.publish();
    for (const auto& one : got) {
      const auto done = r.ring.next_completion();
      REQUIRE(done);
      REQUIRE(r.is_chain(one, 1, writable, done->cookie));  // in the device's order
      REQUIRE(mine.at(done->cookie) == done->which);
      REQUIRE(done->length == 64u * writable);
      REQUIRE(done->length_known);
      REQUIRE(r.ring.is_live(done->which));
      mine.erase(done->cookie);
      r.ring.release(done->which);
      REQUIRE(!r.ring.is_live(done->which));
    }
    REQUIRE(r.ring.next_completion().error() == errc::not_ready);
    REQUIRE(r.ring.in_flight() == 0);
  }
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "virtqueue: requests round trip, in any order of completion but where IN_ORDER forbids it "
    "[SPLIT-02][SPLIT-04][SPLIT-06][SPLIT-08][SPLIT-29][PACKED-06][PACKED-10][PACKED-16][FACT-21][FACT-22][FACT-23]",
    "[queue][contract]", RINGS) {
  over<TestType>(round_trips);
}

void visible_at_once(rig::subject& r) {
  r.attach(r.slots, features_for(r, true), near_wrap);
  const u16 start = r.device.next_available();
  REQUIRE(r.submit(1, 0, 1));
  REQUIRE(r.submit(1, 0, 2));
  REQUIRE(r.submit(1, 1, 3));
  CHECK(r.device.shown() == start);
  CHECK(r.device.pending() == 0);
  CHECK(r.ring.in_flight() == 0);
  CHECK(!r.ring.needs_kick());
  CHECK(!r.device.pop());
  r.ring.publish();
  CHECK(r.device.shown() == r.device.advance(start, r.packed ? 4 : 3));
  CHECK(r.device.pending() == 3);
  CHECK(r.ring.in_flight() == 3);
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "virtqueue: nothing is visible before publish, all of it after one store "
    "[SPLIT-28][SPLIT-11][PACKED-09][PACKED-16]",
    "[queue][contract]", ROOMY_RINGS) {
  over<TestType>(visible_at_once);
}

// --- chains that do not fit, and invalid chains ---

void full(rig::subject& r) {
  r.attach(r.slots, features_for(r, false), near_wrap);
  for (u32 i = 0; i < r.room(); ++i)
    if (!r.submit(1, 0, i)) FAIL("no room for " << i);
  CHECK(r.submit(1, 0, 99).error() == errc::queue_full);
  r.kick();
  CHECK(r.device.pending() == r.room());
  CHECK(r.submit(1, 0, 99).error() == errc::queue_full);
  for (u32 i = 0; i < r.room(); ++i) {
    const auto one = r.device.pop();
    if (!one || !r.is_chain(*one, 1, 0, i)) FAIL("at the device: " << i);
    r.device.push(one->head, 0);
  }
  r.device.publish();
  const auto done = r.ring.next_completion();
  REQUIRE(done);
  // A slot is free when it is released, not when its completion is returned; in order there is one slot more than
  // entries in use.
  if (!r.in_order) CHECK(r.submit(1, 0, 99).error() == errc::queue_full);
  r.ring.release(done->which);
  CHECK(r.submit(1, 0, 99));
  CHECK(r.submit(1, 0, 99).error() == errc::queue_full);
  r.require_no_violations();
}
TEMPLATE_TEST_CASE("virtqueue: a full queue reports it, loses nothing and continues [SPLIT-08][PACKED-02][PACKED-08]",
                   "[queue][contract]", RINGS) {
  over<TestType>(full);
}

void no_room_now(rig::subject& r) {
  r.attach(r.slots, features_for(r, true), near_wrap);
  for (u16 i = 0; i + 2 < r.room(); ++i) REQUIRE(r.submit(1, 0, i));
  r.kick();
  CHECK(r.submit(1, 2, 77).error() == errc::queue_full);
  REQUIRE(r.submit(1, 1, 78));
  CHECK(r.submit(1, 0, 79).error() == errc::queue_full);
  r.kick();
  r.serve();
  r.serve();
  r.collect();
  CHECK(r.submit(1, 1, 77).error() == errc::queue_full);
  r.collect();
  REQUIRE(r.submit(1, 1, 79));
  r.kick();
  for (u16 i = 2; i + 2 < r.room(); ++i) r.serve();
  const auto one = r.device.pop(), two = r.device.pop();
  REQUIRE((one && two));
  CHECK(r.is_chain(*one, 1, 1, 78));
  CHECK(r.is_chain(*two, 1, 1, 79));
  CHECK(!r.device.pop());
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "virtqueue: a chain without room is rejected without effect, and fits later "
    "[PACKED-02][PACKED-07][PACKED-08]",
    "[queue][contract]", small, usual, in_order, packed_odd, packed_small, packed_usual, packed_in_order) {
  over<TestType>(no_room_now);
}

void senseless_chains(rig::subject& r) {
  const u16 maximum = GENERATE(as<u16>{}, 5, 0xffff);
  r.attach(r.ring.fit(maximum, false), features_for(r, false, r.has_tables), near_wrap);
  REQUIRE(r.ring.longest_chain() == (r.has_tables ? std::min<u16>(r.entries, 8) : r.room()));
  const u16 slot = *r.ring.reserve();
  segment_list<300> chain;
  CHECK(r.ring.stage(slot, chain, 0).error() == errc::invalid_argument);
  REQUIRE(chain.push(dma_addr{rig::buffers_at}, 8, direction::from_device));
  CHECK(chain.push(dma_addr{rig::buffers_at}, 8, direction::to_device).error() == errc::invalid_argument);
  CHECK(chain.size() == 1);
  segment_list<300> huge;
  huge.append(dma_addr{rig::buffers_at}, 0x8000'0000, direction::to_device);
  huge.append(dma_addr{rig::buffers_at}, 0x8000'0000, direction::to_device);
  CHECK(r.ring.stage(slot, huge, 0).error() == errc::out_of_range);
  segment_list<300> large;  // more than hosts accept
  large.append(dma_addr{rig::buffers_at}, largest_transfer, direction::to_device);
  large.append(dma_addr{rig::buffers_at}, dma_page + 1, direction::to_device);
  CHECK(r.ring.stage(slot, large, 0).error() == errc::out_of_range);
  segment_list<300> endless;
  for (int i = 0; i <= r.ring.longest_chain(); ++i) endless.append(dma_addr{rig::buffers_at}, 1, direction::to_device);
  CHECK(r.ring.stage(slot, endless, 0).error() == errc::out_of_range);
  CHECK(*r.ring.reserve() == slot);
  r.kick();
  CHECK(!r.device.pop());
  // Remains of rejected chains are harmless, whether the next chain overwrites them or not.
  for (u64 cookie = 0; cookie < 40; ++cookie) {
    const u16 writable = static_cast<u16>(cookie % 2);
    REQUIRE(r.submit(1, writable, cookie));
    if (cookie % 3 == 0) CHECK(!r.ring.stage(*r.ring.reserve(), huge, 0));
    r.kick();
    const auto one = r.device.pop();
    REQUIRE(one);
    CHECK(r.is_chain(*one, 1, writable, cookie));
    CHECK(!r.device.pop());
    r.device.push(one->head, 0);
    r.device.publish();
    CHECK(r.collect().cookie == cookie);
  }
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "virtqueue: invalid chains are rejected without effect "
    "[SPLIT-02][SPLIT-04][SPLIT-08][PACKED-05][PACKED-06][PACKED-08]",
    "[queue][contract]", small, indirect, usual, hardware, in_order, packed_odd, packed_small, packed_indirect,
    packed_usual, packed_hardware, packed_in_order) {
  over<TestType>(senseless_chains);
}

// --- notifications ---

void doorbells(rig::subject& r) {
  const bool event_idx = GENERATE(false, true);
  r.attach(r.slots, features_for(r, event_idx));
  std::mt19937 random{event_idx ? 1u : 2u};
  u32 kicks = 0, silent = 0;
  u64 sent = 0, back = 0;
  u16 before = r.device.shown(), places = 0;
  while (back < 2 * 65536 + 500) {
    const u64 batch = 1 + random() % 32;  // or as many as fit
    for (; sent < back + batch; ++sent) {
      const u16 writable = r.slots >= 3 && random() % 4 == 0 ? 2 : 0;
      if (!r.submit(1, writable, sent)) break;
      places = static_cast<u16>(places + r.places(static_cast<u16>(1 + writable)));
    }
    r.ask(random);
    const u64 published = sent;
    r.ring.publish();
    const u16 after = r.device.shown();
    if (after != r.device.advance(before, places) || r.ring.position() != after)
      FAIL("at request " << sent << ": position " << r.ring.position() << ", shown up to " << after);
    // Chains staged from here on belong to another batch.
    const u16 more = random() % 8 == 0 && r.submit(1, 0, sent) ? 1 : 0;
    sent += more;
    const bool kicked = r.ring.needs_kick();
    if (kicked != r.wants_kick(before, places)) FAIL("at request " << sent << ": kicked " << kicked);
    if (r.ring.needs_kick()) FAIL("at request " << sent << ": the same batch announced twice");
    ++(kicked ? kicks : silent);
    before = after;
    places = more;
    for (u64 i = back; i < published; ++i) r.serve();
    for (; back < published; ++back)
      if (const auto one = r.collect(); one.cookie != back) FAIL("request " << one.cookie << " for " << back);
  }
  CHECK(kicks > 100);
  CHECK(silent > 100);
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "virtqueue: a kick is required exactly if the device requests one, across two index wraps "
    "[SPLIT-21][SPLIT-22][SPLIT-24][SPLIT-25][SPLIT-20][SPLIT-23][NOTIFY-07]",
    "[queue][contract][laps]", RINGS) {
  over<TestType>(doorbells);
}

void interrupts(rig::subject& r) {
  const bool event_idx = GENERATE(false, true);
  r.attach(r.slots, features_for(r, event_idx), near_wrap - 400);
  std::mt19937 random{3};
  const auto one_request = [&] {
    REQUIRE(r.submit(1, r.slots >= 3 ? static_cast<u16>(random() % 3) : u16{0}, 0));
    r.kick();
    r.serve();
  };
  for (u32 i = 0; i < 300; ++i) {
    // Attached or disarmed: no interrupt is requested.
    one_request();
    REQUIRE(!r.device.should_interrupt());
    REQUIRE(r.ring.arm());  // true: it has already arrived
    r.collect();
    REQUIRE(!r.ring.arm());
    one_request();
    REQUIRE(r.device.should_interrupt());
    r.collect();
    REQUIRE(r.ring.next_completion().error() == errc::not_ready);  // an interrupt without a completion is harmless
    r.ring.disarm();
  }
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "virtqueue: no completion that arrives between arm and disarm is missed "
    "[SPLIT-12][SPLIT-13][SPLIT-14][SPLIT-15][SPLIT-16][SPLIT-30][PACKED-17]",
    "[queue][contract]", RINGS) {
  over<TestType>(interrupts);
}

// --- the end ---

void reclaims(rig::subject& r) {
  r.attach(r.slots, features_for(r, true), near_wrap);
  std::map<u64, token> mine;
  for (u32 i = 0; i < r.room() && i < 40; ++i) mine[i] = *r.submit(1, 0, i);
  r.kick();
  if (r.room() > 1) {
    r.serve();
    mine.erase(r.collect().cookie);
  }
  const token old = mine.begin()->second;
  r.device.reset();
  while (const auto back = r.ring.reclaim()) {
    REQUIRE(mine.at(back->cookie) == back->which);
    mine.erase(back->cookie);
    r.ring.release(back->which);
  }
  CHECK(mine.empty());
  CHECK(r.ring.in_flight() == 0);
  r.attach(r.slots, features_for(r, true));
  for (u32 i = 0; i < r.room(); ++i)
    if (*r.submit(1, 0, i) == old) FAIL("a token from before the reset names another request");
  CHECK(!r.ring.is_live(old));
  r.kick();
  CHECK(r.device.pop());
  r.require_no_violations();
}
TEMPLATE_TEST_CASE("virtqueue: reclaim returns each chain in flight once, and attach starts anew [SHUTDOWN-01]",
                   "[queue][contract]", RINGS) {
  over<TestType>(reclaims);
}

}  // namespace
