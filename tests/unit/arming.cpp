// SPDX-License-Identifier: MIT
// A packed ring's event words: a superfluous event would have no other effect, so that no other test detects it.
#include <catch2/catch_test_macros.hpp>

#include <cstring>

#include <virtio/testing/hooked_barriers.hpp>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

u32 asked(subject& r) {
  u32 word;
  std::memcpy(&word, r.shared()[1].data(), sizeof word);
  return word;
}

constexpr u32 on = 0, off = 1u << 16, at = 2u << 16, first_lap = 0x8000;
constexpr feature_set plain{feature::version_1}, events{feature::event_idx};

}  // namespace

TEST_CASE("packed ring: arm requests an interrupt at the place of the next answer, and disarm none [PACKED-17]",
          "[queue][packed]") {
  const std::unique_ptr<subject> r = untyped<packed_odd>();
  r->attach(5, plain | events);
  CHECK(asked(*r) == off);
  for (u32 i = 0; i < 23; ++i) {
    REQUIRE(r->submit(1, 0, i));
    (void)r->kick();
    CHECK_FALSE(r->ring.arm());
    CHECK(asked(*r) == (at | (i / 5 % 2 == 0 ? first_lap : 0) | i % 5));
    r->serve();
    CHECK(r->ring.arm());
    r->collect();
    r->ring.disarm();
    CHECK(asked(*r) == off);
  }
  r->require_no_violations();
}

TEST_CASE("packed ring: without EVENT_IDX, or in the middle of a batch, arm requests every interrupt [PACKED-17]",
          "[queue][packed]") {
  const std::unique_ptr<subject> r = untyped<packed_in_order>();
  r->attach(5, plain);
  CHECK_FALSE(r->ring.arm());
  CHECK(asked(*r) == on);
  r->attach(5, plain | events | feature_set{feature::in_order});
  REQUIRE(r->submit(1, 0, 0));
  REQUIRE(r->submit(1, 0, 1));
  (void)r->kick();
  REQUIRE(r->device.pop());
  r->device.push_batch(r->device.pop()->head, 0);
  r->device.publish();
  r->collect();
  CHECK(r->ring.arm());
  CHECK(asked(*r) == on);
  r->collect();
  CHECK_FALSE(r->ring.arm());
  CHECK(asked(*r) == (at | first_lap | 2));
}

TEST_CASE("packed ring: an event word that is not a position requests a doorbell, also at position 0 [PACKED-15]",
          "[queue][packed]") {
  const std::unique_ptr<subject> r = untyped<packed_odd>();
  for (const bool event_idx : {false, true}) {
    CAPTURE(event_idx);
    r->attach(5, event_idx ? plain | events : plain);
    for (u32 i = 0; i < 11; ++i) {
      REQUIRE(r->submit(1, 0, i));
      r->ring.publish();
      r->ask(0, event_idx ? 3 : 2);  // a reserved mode, and one that was not negotiated
      CHECK(r->ring.needs_kick());
      CHECK_FALSE(r->ring.needs_kick());
      r->serve();
      r->collect();
    }
  }
}

TEST_CASE("split ring: one read of the used index serves all completions that it covers", "[queue][split]") {
  using virtio::testing::barrier_hooks;
  const auto r = std::make_unique<pair<split_ring<8, ring_options{}, virtio::testing::hooked_barriers>>>();
  r->attach(8, plain);
  for (u32 i = 0; i < 8; ++i) REQUIRE(r->submit(1, 0, i));
  (void)r->kick();
  for (u32 i = 0; i < 8; ++i) r->serve();
  barrier_hooks::clear();
  for (u32 i = 0; i < 8; ++i) r->collect();
  CHECK(barrier_hooks::mine().acquires == 1);
  CHECK(r->ring.next_completion().error() == errc::not_ready);
  CHECK(barrier_hooks::mine().acquires == 2);
}
