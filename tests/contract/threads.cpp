// SPDX-License-Identifier: MIT
// The driver and the device on two threads, both asleep whenever they have no work: after a lost notification one of
// them sleeps for ever. hostile/virtqueue.cpp checks the place of fences by the order of accesses; here a missing fence
// causes a failure only by chance.
#include <catch2/catch_template_test_macros.hpp>

#include <atomic>
#include <thread>

#include "ring_rig.hpp"

using namespace virtio;

namespace {

constexpr u32 requests = 70'000;         // past an index wrap
constexpr u64 too_long = 2'000'000'000;  // steps, not time: the bound on the wait for a lost notification

// Waits until `flag` is set, and clears it. False: it was not set in time.
bool slept(std::atomic<bool>& flag, const std::atomic<bool>& stop) {
  for (u64 i = 0; i < too_long; ++i) {
    if (flag.exchange(false)) return true;
    if (stop) return false;
    if (i % 64 == 63) std::this_thread::yield();
  }
  return false;
}

template <class Ring>
void sleep_on_both_sides(feature_set features) {
  auto r = std::make_unique<rig::pair<Ring>>();
  r->attach(Ring::slots, features);
  std::atomic<bool> doorbell = false, interrupt = false, stop = false;
  std::atomic<u32> lost = 0;

  std::thread device{[&] {
    while (!stop) {
      bool any = false;
      while (auto one = r->device.pop()) {  // empty: requests a doorbell, checks again, and sleeps
        any = true;
        r->device.push(one->head, 0);
        r->device.publish();
        if (r->device.should_interrupt()) interrupt = true;
      }
      if (any) continue;
      if (!slept(doorbell, stop) && !stop) {
        ++lost;
        return;
      }
    }
  }};

  u32 sent = 0, back = 0;
  while (back < requests && lost == 0) {
    while (sent < requests && r->submit(1, sent % 3 == 0 && Ring::slots >= 4 ? 2 : 0, sent)) ++sent;
    r->ring.publish();
    if (r->ring.needs_kick()) doorbell = true;
    for (;;) {
      const auto done = r->ring.next_completion();
      if (!done) break;
      r->ring.release(done->which);
      ++back;
    }
    if (back == requests || r->ring.in_flight() == 0 || r->ring.arm()) continue;
    if (!slept(interrupt, stop)) ++lost;
  }
  stop = true;
  device.join();
  CHECK(lost == 0);
  CHECK(back == requests);
  r->require_no_violations();
}

}  // namespace

TEMPLATE_TEST_CASE(
    "threads: no doorbell and no interrupt is ever lost, with EVENT_IDX and with flags [SPLIT-22][SPLIT-24]",
    "[queue][contract]", split_ring<4>, split_ring<64>, packed_ring<1>, packed_ring<5>, packed_ring<64>) {
  sleep_on_both_sides<TestType>({});
  sleep_on_both_sides<TestType>(feature_set{feature::event_idx});
}
