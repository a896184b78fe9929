// SPDX-License-Identifier: MIT
// A full ring: reported before a driver prepares a request.
#include <catch2/catch_template_test_macros.hpp>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

TEMPLATE_TEST_CASE("virtqueue: a full ring reserves no slot, and a slot comes back with each release",
                   "[queue][contract]", tiny, small, in_order, packed_tiny, packed_odd, packed_in_order,
                   either_as_split, either_as_packed) {
  const std::unique_ptr<subject> r = untyped<TestType>();
  feature_set f{feature::version_1};
  if (r->in_order) f.set(static_cast<u8>(feature::in_order));
  r->attach(r->slots, f);
  for (u32 i = 0; i < r->room(); ++i) {
    REQUIRE(r->ring.reserve());
    REQUIRE(r->submit(1, 0, i));
  }
  for (u32 i = 0; i < 3u * r->slots; ++i) {
    CHECK(r->ring.reserve().error() == errc::queue_full);
    (void)r->kick();
    r->serve();
    const auto done = r->ring.next_completion();
    REQUIRE(done);
    CHECK(r->ring.reserve().error() == errc::queue_full);  // not released yet
    r->ring.release(done->which);
    REQUIRE(r->ring.reserve());
    REQUIRE(r->submit(1, 0, i));
  }
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("virtqueue: a ring that is attached again has nothing in flight", "[queue][contract]", tiny, small,
                   in_order, packed_tiny, packed_odd, packed_in_order, either_as_split, either_as_packed) {
  const std::unique_ptr<subject> r = untyped<TestType>();
  for (int life = 0; life < 4; ++life) {
    r->attach(r->slots, feature_set{feature::version_1});
    CHECK(r->ring.in_flight() == 0);
    CHECK_FALSE(r->ring.publish());
    CHECK(r->ring.reclaim().error() == errc::not_ready);
    for (u32 i = 0; i < r->room(); ++i) REQUIRE(r->submit(1, 0, i));
    CHECK(r->ring.in_flight() == 0);
    if (life == 1) continue;  // staged chains are gone, too
    (void)r->kick();
    CHECK(r->ring.in_flight() == r->room());
    r->device.reset();
  }
}

TEMPLATE_TEST_CASE("virtqueue: a limited ring has no room beyond its limit, until it is attached again",
                   "[queue][contract]", tiny, small, in_order, packed_tiny, packed_odd, packed_in_order,
                   either_as_split, either_as_packed) {
  const std::unique_ptr<subject> r = untyped<TestType>();
  feature_set f{feature::version_1};
  if (r->in_order) f.set(static_cast<u8>(feature::in_order));
  r->attach(r->slots, f);
  const u16 longest = r->ring.longest_chain();
  r->ring.limit(0xffff);  // no more than its entries
  CHECK(r->ring.longest_chain() == longest);
  for (u32 i = 0; i < r->room(); ++i) REQUIRE(r->submit(1, 0, i));
  CHECK(r->ring.reserve().error() == errc::queue_full);

  for (const u16 most : {u16{1}, u16{2}}) {
    r->attach(r->slots, f);
    if (most > r->room()) continue;
    r->ring.limit(most);
    CHECK(r->ring.longest_chain() == most);
    for (u32 turn = 0; turn < 3u * r->slots; ++turn) {
      for (u32 i = 0; i < most; ++i) REQUIRE(r->submit(1, 0, i));
      CHECK(r->ring.reserve().error() == errc::queue_full);
      (void)r->kick();
      for (u32 i = 0; i < most; ++i) {
        r->serve();
        const auto done = r->ring.next_completion();
        REQUIRE(done);
        if (i == 0) CHECK(r->ring.reserve().error() == errc::queue_full);
        r->ring.release(done->which);
        CHECK(r->ring.reserve());
      }
    }
    // Chains in flight are returned.
    for (u32 i = 0; i < most; ++i) REQUIRE(r->submit(1, 0, i));
    (void)r->kick();
    for (u32 i = 0; i < most; ++i) REQUIRE(r->ring.reclaim());
    CHECK(r->ring.reclaim().error() == errc::not_ready);
  }
  r->attach(r->slots, f);
  CHECK(r->ring.longest_chain() == longest);
}
