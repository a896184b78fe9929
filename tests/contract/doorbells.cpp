// SPDX-License-Identifier: MIT
// How long a driver may publish without asking whether to ring: as long as it likes. The answer is for everything since it last asked.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

#define RINGS tiny, small, in_order, packed_tiny, packed_odd, packed_small, packed_in_order, either_as_split, either_as_packed

feature_set features_for(const subject& r, bool event_idx) {
  feature_set f{feature::version_1};
  if (r.in_order) f.set(static_cast<u8>(feature::in_order));
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  return f;
}

// A device that polls takes and answers everything without a doorbell, and falls asleep before the last request.
void silence(subject& r) {
  const u32 published = GENERATE(as<u32>{}, 65'535, 65'536, 65'537, 131'072);
  const bool event_idx = GENERATE(false, true);
  CAPTURE(published, event_idx);
  r.attach(r.slots, features_for(r, event_idx));
  r.device.set_no_notify(true);
  REQUIRE(r.submit(1, 0, 0));
  for (u32 i = 1; i < published; ++i) {
    r.ring.publish();
    r.serve();
    if (r.collect().cookie != i - 1) FAIL("request " << i - 1);
    if (!r.submit(1, 0, i)) FAIL("request " << i);
  }
  REQUIRE_FALSE(r.device.pop());
  r.device.set_no_notify(false);  // wants to hear of the next
  r.ring.publish();
  CHECK(r.ring.needs_kick());
  CHECK_FALSE(r.ring.needs_kick());  // and once only
  r.require_no_violations();
}
TEMPLATE_TEST_CASE("virtqueue: the doorbell is not lost after 65,536 requests without a question [SPLIT-22][SPLIT-24][PACKED-15]",
                   "[queue][contract]", RINGS) {
  silence(*std::make_unique<pair<TestType>>());
}

// Whatever the position asked for, it is among the last 65,536.
void any_position(subject& r) {
  const u32 published = GENERATE(as<u32>{}, 65'536, 70'000);
  CAPTURE(published);
  r.attach(r.slots, features_for(r, true));
  std::mt19937 random{published};
  for (int round = 0; round < 4; ++round) {
    for (u32 i = 0; i < published; ++i) {
      if (!r.submit(1, 0, i)) FAIL("request " << i);
      r.ring.publish();
      r.serve();
      (void)r.collect();
    }
    r.ask(r.moved(r.device.shown(), -1 - static_cast<int>(random() % 60'000)), 2);
    if (!r.ring.needs_kick()) FAIL("round " << round);
  }
}
TEMPLATE_TEST_CASE("virtqueue: after 65,536 requests without a question every event was passed [SPLIT-24]", "[queue][contract]", small,
                   packed_small) {
  any_position(*std::make_unique<pair<TestType>>());
}

TEST_CASE("suppression: from 65,536 steps on every event was passed, and never becomes one that was not", "[queue]") {
  for (const s64 steps : {s64{0x10000}, s64{0x10001}, s64{0x20000}, s64{1} << 32, (s64{1} << 32) + 1, s64{1} << 62})
    for (const u16 event : {u16{0}, u16{99}, u16{100}, u16{101}, u16{65535}}) CHECK(need_event(event, 100, steps));
  CHECK_FALSE(need_event(100, 100, 0xffff));
}

}  // namespace
