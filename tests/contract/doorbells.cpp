// SPDX-License-Identifier: MIT
// A driver may publish any number of chains before it checks for a doorbell. The check covers all chains since the
// previous check.
#include <catch2/catch_template_test_macros.hpp>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

#define RINGS small, in_order, packed_odd, packed_in_order

feature_set features_for(const subject& r, bool event_idx) {
  feature_set f{feature::version_1};
  if (r.in_order) f.set(static_cast<u8>(feature::in_order));
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  return f;
}

// A polling device completes all requests without a doorbell, and requests one only for the last request.
TEMPLATE_TEST_CASE("virtqueue: no doorbell is lost after 65,536 requests without a check [SPLIT-22][PACKED-15]",
                   "[queue][contract]", RINGS) {
  const std::unique_ptr<subject> r = untyped<TestType>();
  r->attach(r->slots, features_for(*r, false));
  r->device.set_no_notify(true);
  r->go_on(65'535);
  REQUIRE(r->submit(1, 0, 0));
  r->device.set_no_notify(false);
  r->ring.publish();
  CHECK(r->ring.needs_kick());
  CHECK_FALSE(r->ring.needs_kick());  // only once
  r->serve();
  r->collect();
  r->require_no_violations();
}

// Any requested position is among the last 65,536.
TEMPLATE_TEST_CASE("virtqueue: after 65,536 requests without a check every event index is passed [SPLIT-24][PACKED-15]",
                   "[queue][contract]", RINGS) {
  const u32 start = seed();
  INFO("VIRTIO_TEST_SEED=" << start);
  std::mt19937 random{start};
  const std::unique_ptr<subject> r = untyped<TestType>();
  r->attach(r->slots, features_for(*r, true));
  for (const u32 requests : {65'536u, 70'000u}) {
    r->go_on(requests);
    r->ask(r->moved(r->device.shown(), -1 - static_cast<int>(random() % 65'536)), 2);
    CHECK(r->ring.needs_kick());
    CHECK_FALSE(r->ring.needs_kick());
  }
  r->require_no_violations();
}

TEST_CASE("suppression: after 65,536 steps every event index counts as passed, permanently", "[queue]") {
  for (const s64 steps : {s64{0x10000}, s64{0x10001}, s64{0x20000}, s64{1} << 32, (s64{1} << 32) + 1, s64{1} << 62})
    for (const u16 event : {u16{0}, u16{99}, u16{100}, u16{101}, u16{65535}}) CHECK(need_event(event, 100, steps));
  CHECK_FALSE(need_event(100, 100, 0xffff));
}

}  // namespace
