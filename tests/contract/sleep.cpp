// SPDX-License-Identifier: MIT
// When a driver may sleep. Random traffic with every operation of every ring, with and without IN_ORDER, served one by
// one and in batches, polled in part and completely. The rule: after arm() has returned false, no completion can be
// taken until the device adds one, and then the device interrupts. VIRTIO_TEST_SEED replays a run.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <random>
#include <vector>

#include "random_traffic.hpp"
#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

#define IN_ORDER_RINGS                                                                                           \
  in_order, split_one_in_order, split_tables_in_order, split_256_in_order, packed_in_order, packed_one_in_order, \
      packed_8_in_order, packed_tables_in_order, packed_256_in_order, either_split_in_order, either_packed_in_order
#define RINGS                                                                                              \
  tiny, small, indirect, usual, largest, hardware, packed_tiny, packed_odd, packed_small, packed_indirect, \
      packed_usual, packed_largest, packed_hardware, either_as_split, either_as_packed, IN_ORDER_RINGS

TEMPLATE_TEST_CASE(
    "sleep: after arm() returns false, no completion can be taken before the device interrupts "
    "[SPLIT-13][SPLIT-15][PACKED-17]",
    "[queue][contract]", RINGS) {
  random_traffic(*untyped<TestType>(), 30'000, 5'000);
}

// Driver and device take turns at random. Each sleeps when it has no work, and wakes when it is notified.
void both_asleep(subject& r, u32 seed) {
  std::mt19937 random{seed};
  const bool event_idx = random() % 2 != 0, in_order = r.in_order && random() % 4 != 0;
  feature_set f{feature::version_1};
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  if (in_order) f.set(static_cast<u8>(feature::in_order));
  r.attach(r.slots, f);
  constexpr u32 requests = 3'000;
  u32 sent = 0, back = 0;
  bool driver_asleep = false, device_asleep = false, rang = false, interrupted = false;
  std::vector<u16> heads;
  while (back < requests) {
    if (driver_asleep && interrupted) driver_asleep = interrupted = false;
    if (device_asleep && rang) device_asleep = rang = false;
    if (driver_asleep && device_asleep) FAIL("both sleep, with " << sent - back << " requests outstanding");
    if (!driver_asleep && (device_asleep || random() % 2 != 0)) {
      for (auto n = random() % 5; n != 0 && sent < requests && r.submit(1, 0, sent); --n) ++sent;
      r.ring.publish();
      if (r.ring.needs_kick()) rang = true;
      for (auto budget = 1 + random() % 4; budget != 0; --budget) {
        const auto one = r.ring.next_completion();
        if (!one) break;
        r.ring.release(one->which);
        ++back;
      }
      if (random() % 3 == 0) r.ring.disarm();
      if (r.ring.in_flight() != 0 && !r.ring.arm()) driver_asleep = true;
    } else if (!device_asleep) {
      auto one = r.device.pop();
      device_asleep = !one;
      if (one) heads.push_back(one->head);
      if (heads.empty() || (one && random() % 3 != 0)) continue;
      if (in_order && random() % 2 != 0) r.device.push_batch(heads.back(), 0);
      else
        for (const u16 head : heads) r.device.push(head, 0);
      heads.clear();
      r.device.publish();
      if (r.device.should_interrupt()) interrupted = true;
    }
  }
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "sleep: a driver that polls a few at a time and a device that batches never both sleep [SPLIT-22][SPLIT-24][PACKED-15]",
    "[queue][contract]", RINGS) {
  const u32 start = seed();
  INFO("VIRTIO_TEST_SEED=" << start);
  for (u32 i = 0; i < 8; ++i) both_asleep(*untyped<TestType>(), start + i);
}

// A batch of three, of which one has been taken.
void in_the_middle(subject& r) {
  const bool event_idx = GENERATE(false, true);
  const u32 taken = GENERATE(as<u32>{}, 1, 2);
  CAPTURE(event_idx, taken);
  feature_set f{feature::version_1, feature::in_order};
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  r.attach(r.slots, f);
  for (u64 i = 0; i < 3; ++i) REQUIRE(r.submit(1, 0, i));
  r.kick();
  u16 last = 0;
  while (const auto one = r.device.pop()) last = one->head;
  r.device.push_batch(last, 0);
  r.device.publish();
  (void)r.device.should_interrupt();
  for (u32 i = 0; i < taken; ++i) (void)r.collect();
  CHECK(r.ring.arm());
  for (u32 i = taken; i < 3; ++i) (void)r.collect();
  CHECK_FALSE(r.ring.arm());
  CHECK_FALSE(r.ring.next_completion());
  // The next completion interrupts.
  REQUIRE(r.submit(1, 0, 3));
  r.kick();
  r.serve();
  CHECK(r.device.should_interrupt());
  CHECK(r.collect().cookie == 3);
  r.require_no_violations();
}
TEMPLATE_TEST_CASE(
    "sleep: arm() inside a batch reports more completions, and after it requests an interrupt for the next one [FACT-18]",
    "[queue][contract]", in_order, split_tables_in_order, packed_in_order, packed_8_in_order, packed_tables_in_order,
    either_split_in_order, either_packed_in_order) {
  in_the_middle(*untyped<TestType>());
}

// A sleeping driver would miss it.
void after_a_lie(subject& r) {
  r.attach(r.slots, feature_set{feature::version_1, feature::event_idx});
  REQUIRE(r.submit(1, 0, 0));
  r.kick();
  r.claim(r.slots - 1u, 0);
  REQUIRE(r.ring.next_completion().error() == errc::device_misbehaved);
  CHECK(r.ring.arm());
  const auto areas = r.shared();
  for (u8& one : areas[2]) one = 0;  // now the device clears its area
  CHECK(r.ring.arm());
  CHECK(r.ring.next_completion().error() == errc::device_misbehaved);
}
TEMPLATE_TEST_CASE("sleep: no driver sleeps on a ring after its device broke the protocol",
                   "[queue][contract][hostile]", small, packed_small, packed_odd, either_as_split, either_as_packed) {
  after_a_lie(*untyped<TestType>());
}

}  // namespace
