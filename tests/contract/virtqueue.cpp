// SPDX-License-Identifier: MIT
// The contract of a virtqueue, the same text over every ring: what virtio/queue/concepts.hpp promises, against a device side
// that shares nothing with the library.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include <cstdlib>
#include <map>
#include <random>
#include <vector>

#include "ring_rig.hpp"

using namespace virtio;

namespace {

using tiny = split_ring<1>;
using small = split_ring<8>;
using indirect = split_ring<8, ring_options{.indirect = 8}>;
using usual = split_ring<256>;
using largest = split_ring<32768>;
using hardware = split_ring<16, ring_options{}, dma_barriers>;

feature_set features_for(bool event_idx, bool use_indirect) {
  feature_set f{feature::version_1};
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  if (use_indirect) f.set(static_cast<u8>(feature::indirect_desc));
  return f;
}

template <class Ring>
constexpr u16 writable_pieces = Ring::slots >= 3 ? 2 : 0;

}  // namespace

#define RINGS tiny, small, indirect, usual, largest, hardware

TEMPLATE_TEST_CASE("virtqueue: an all-zero object in constant-initialised storage", "[queue][contract]", RINGS) {
  static_assert(virtqueue<TestType>);
  static_assert(detail::trivially_destructible<TestType>);
  static constinit TestType ring{};
  const auto* bytes_of = reinterpret_cast<const u8*>(&ring);
  bool zero = true;
  for (usize i = 0; i < sizeof ring; ++i) zero = zero && bytes_of[i] == 0;
  CHECK(zero);
}

TEMPLATE_TEST_CASE("virtqueue: requests round trip in any order of completion [SPLIT-02][SPLIT-04][SPLIT-08][SPLIT-29]",
                   "[queue][contract]", RINGS) {
  const bool event_idx = GENERATE(false, true);
  auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(TestType::slots, features_for(event_idx, TestType::wanted.has(feature::indirect_desc)));
  constexpr u16 writable = writable_pieces<TestType>;
  std::mt19937 random{7};
  std::map<u64, token> mine;
  u64 cookie = 0;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 200; ++i) {
      const auto t = r->submit(1, writable, cookie);
      if (!t) {
        REQUIRE(t.error() == errc::queue_full);
        break;
      }
      REQUIRE(!mine.contains(cookie));
      mine[cookie++] = *t;
    }
    REQUIRE(!mine.empty());
    r->kick();
    std::vector<virtio::testing::chain> got;
    while (auto one = r->device.pop()) got.push_back(*one);
    REQUIRE(got.size() == mine.size());
    std::shuffle(got.begin(), got.end(), random);
    for (const auto& one : got) r->device.push(one.head, 64u * writable);
    r->device.publish();
    for (usize left = got.size(); left != 0; --left) {
      const auto done = r->ring.next_completion();
      REQUIRE(done);
      REQUIRE(mine.at(done->cookie) == done->which);
      REQUIRE(done->length == 64u * writable);
      REQUIRE(r->ring.is_live(done->which));
      mine.erase(done->cookie);
      r->ring.release(done->which);
      REQUIRE(!r->ring.is_live(done->which));
    }
    REQUIRE(r->ring.next_completion().error() == errc::not_ready);
    REQUIRE(r->ring.in_flight() == 0);
  }
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("virtqueue: nothing is visible before publish, all of it after one store [SPLIT-28][SPLIT-11]", "[queue][contract]",
                   small, indirect, usual, largest, hardware) {
  auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(TestType::slots, features_for(true, false));
  REQUIRE(r->submit(1, 0, 1));
  REQUIRE(r->submit(1, 0, 2));
  REQUIRE(r->submit(1, 0, 3));
  CHECK(r->device.raw_available_idx() == 0);
  CHECK(r->ring.in_flight() == 0);
  r->ring.publish();
  CHECK(r->device.raw_available_idx() == 3);
  CHECK(r->ring.in_flight() == 3);
  CHECK(r->device.pending() == 3);
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("virtqueue: a full queue says so, loses nothing and goes on [SPLIT-08]", "[queue][contract]", RINGS) {
  auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(TestType::slots, features_for(false, false));
  for (u32 i = 0; i < TestType::slots; ++i) REQUIRE(r->submit(1, 0, i));
  CHECK(r->submit(1, 0, 99).error() == errc::queue_full);
  r->kick();
  for (u32 i = 0; i < TestType::slots; ++i) {
    const auto one = r->device.pop();
    REQUIRE(one);
    r->device.push(one->head, 0);
  }
  r->device.publish();
  const auto done = r->ring.next_completion();
  REQUIRE(done);
  CHECK(r->submit(1, 0, 99).error() == errc::queue_full);  // a slot is free when it is released, not when it is seen
  r->ring.release(done->which);
  CHECK(r->submit(1, 0, 99));
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("virtqueue: chains that make no sense are refused without effect [SPLIT-02][SPLIT-04][SPLIT-08]",
                   "[queue][contract]", small, indirect, usual, hardware) {
  auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(TestType::slots, features_for(false, TestType::wanted.has(feature::indirect_desc)));
  const u16 slot = *r->ring.reserve();
  segment_list<300> chain;
  CHECK(r->ring.stage(slot, chain, 0).error() == errc::invalid_argument);
  REQUIRE(chain.push(dma_addr{rig::buffers_at}, 8, direction::from_device));
  REQUIRE(chain.push(dma_addr{rig::buffers_at}, 8, direction::to_device));
  CHECK(r->ring.stage(slot, chain, 0).error() == errc::invalid_argument);
  segment_list<300> huge;
  REQUIRE(huge.push(dma_addr{rig::buffers_at}, 0x8000'0000, direction::to_device));
  REQUIRE(huge.push(dma_addr{rig::buffers_at}, 0x8000'0001, direction::to_device));
  CHECK(r->ring.stage(slot, huge, 0).error() == errc::out_of_range);
  segment_list<300> endless;
  for (int i = 0; i <= r->ring.longest_chain(); ++i) REQUIRE(endless.push(dma_addr{rig::buffers_at}, 1, direction::to_device));
  CHECK(r->ring.stage(slot, endless, 0).error() == errc::out_of_range);
  CHECK(*r->ring.reserve() == slot);
  REQUIRE(r->submit(1, 1, 5));
  r->kick();
  CHECK(r->device.pop());
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("virtqueue: a kick is asked for exactly when the device wants one, past two index wraps "
                   "[SPLIT-21][SPLIT-22][SPLIT-24][SPLIT-25][SPLIT-20][SPLIT-23]",
                   "[queue][contract]", tiny, small, indirect, usual, hardware) {
  const bool event_idx = GENERATE(false, true);
  auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(TestType::slots, features_for(event_idx, false));
  std::mt19937 random{event_idx ? 1u : 2u};
  u32 kicks = 0, silent = 0;
  u16 index = 0;
  for (u32 total = 0; total < 2 * 65536 + 500;) {
    const u32 batch = 1 + random() % std::min<u32>(TestType::slots, 32);
    const bool muted = random() % 3 == 0;
    r->device.set_no_notify(muted);
    // Without EVENT_IDX the event word means nothing, and with it the flags mean nothing: fill them with lies.
    if (event_idx) r->device.raw_used_flags(static_cast<u16>(random() % 2));
    else r->device.raw_avail_event(static_cast<u16>(random()));
    for (u32 i = 0; i < batch; ++i) REQUIRE(r->submit(1, 0, total + i));
    const u16 before = index;
    index = static_cast<u16>(index + batch);
    const bool expected = r->device.expects_kick(before, index);
    const bool kicked = r->kick();
    if (kicked != expected) FAIL("at request " << total << ": kicked " << kicked << ", wanted " << expected);
    ++(kicked ? kicks : silent);
    REQUIRE(!r->ring.needs_kick());  // the same batch is never announced twice
    for (u32 i = 0; i < batch; ++i) r->device.push(r->device.pop().value().head, 0);
    r->device.publish();
    for (u32 i = 0; i < batch; ++i) r->ring.release(r->ring.next_completion()->which);
    total += batch;
  }
  CHECK(kicks > 100);
  CHECK(silent > 100);
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("virtqueue: arm and disarm, and nothing that arrives meanwhile is slept through "
                   "[SPLIT-12][SPLIT-13][SPLIT-14][SPLIT-15][SPLIT-16][SPLIT-30]",
                   "[queue][contract]", RINGS) {
  const bool event_idx = GENERATE(false, true);
  auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(TestType::slots, features_for(event_idx, false));
  const auto one_request = [&] {
    REQUIRE(r->submit(1, 0, 0));
    r->kick();
    r->device.push(r->device.pop().value().head, 0);
    r->device.publish();
  };
  for (u32 i = 0; i < 66000; i += i > 65000 || i < 100 ? 1 : 50) {
    // Attached, or disarmed: the device is asked for none.
    one_request();
    REQUIRE(!r->device.should_interrupt());
    REQUIRE(r->ring.arm());  // true: it is there already
    r->ring.release(r->ring.next_completion()->which);
    REQUIRE(!r->ring.arm());
    one_request();
    REQUIRE(r->device.should_interrupt());
    r->ring.release(r->ring.next_completion()->which);
    REQUIRE(r->ring.next_completion().error() == errc::not_ready);  // an interrupt with nothing behind it is harmless
    r->ring.disarm();
    for (u32 more = 0; i > 200 && i < 65000 && more < 48; ++more) {
      one_request();
      r->ring.release(r->ring.next_completion()->which);
      (void)r->device.should_interrupt();
    }
    r->ring.disarm();
  }
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("virtqueue: reclaim hands back what is in flight, once each, and attach starts afresh [SHUTDOWN-01]",
                   "[queue][contract]", RINGS) {
  auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(TestType::slots, features_for(true, false));
  std::map<u64, token> mine;
  for (u32 i = 0; i < TestType::slots && i < 40; ++i) mine[i] = *r->submit(1, 0, i);
  r->kick();
  if (TestType::slots > 1) {
    r->device.push(r->device.pop().value().head, 0);
    r->device.publish();
    const auto done = r->ring.next_completion();
    mine.erase(done->cookie);
    r->ring.release(done->which);
  }
  r->device.reset();
  while (const auto back = r->ring.reclaim()) {
    REQUIRE(mine.at(back->cookie) == back->which);
    mine.erase(back->cookie);
    r->ring.release(back->which);
  }
  CHECK(mine.empty());
  CHECK(r->ring.in_flight() == 0);
  const token old{0, 0};
  r->attach(TestType::slots, features_for(true, false));
  const auto fresh = r->submit(1, 0, 77);
  REQUIRE(fresh);
  CHECK(fresh->generation != old.generation);  // a token from before the reset stays stale
  CHECK(!r->ring.is_live(old));
  r->kick();
  CHECK(r->device.pop());
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("virtqueue: attach refuses what it cannot use", "[queue][contract]", RINGS) {
  auto r = std::make_unique<rig::pair<TestType>>();
  const dma_area whole{r->storage.memory, r->storage.size, dma_addr{rig::storage_at}};
  CHECK(r->ring.attach({whole.data, TestType::dma_bytes - 1, whole.at}, TestType::slots, {}).error() == errc::no_space);
  CHECK(r->ring.attach({whole.data + 16, whole.size, whole.at}, TestType::slots, {}).error() == errc::misaligned);
  CHECK(r->ring.attach({whole.data, whole.size, whole.at + 8}, TestType::slots, {}).error() == errc::misaligned);
  CHECK(r->ring.attach(whole, 3, {}).error() == errc::unsupported);
  CHECK(r->ring.attach(whole, 0, {}).error() == errc::unsupported);
}

TEMPLATE_TEST_CASE("virtqueue: random traffic against the independent device [SPLIT-07][SPLIT-09]", "[queue][contract]", small, indirect, usual, hardware) {
  const char* given = std::getenv("VIRTIO_TEST_SEED");
  const u32 seed = given != nullptr ? static_cast<u32>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  INFO("VIRTIO_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(TestType::slots, features_for(random() % 2 != 0, TestType::wanted.has(feature::indirect_desc)));
  std::map<u64, std::pair<token, u32>> mine;  // cookie to token and writable bytes
  std::vector<virtio::testing::chain> at_device;
  u64 cookie = 0;
  for (u32 operation = 0; operation < 250'000; ++operation) {
    switch (random() % 6) {
      case 0:
      case 1: {
        const u16 readable = static_cast<u16>(random() % 3);
        const u16 writable = static_cast<u16>(random() % 4 + (readable == 0));
        const auto t = r->submit(readable, writable, cookie);
        if (t) mine[cookie++] = {*t, 64u * writable};
        else REQUIRE(t.error() == errc::queue_full);
        break;
      }
      case 2:
        r->kick();
        break;
      case 3:
        if (auto one = r->device.pop()) at_device.push_back(*one);
        break;
      case 4:
        if (!at_device.empty()) {
          const usize which = random() % at_device.size();
          r->device.push(at_device[which].head, static_cast<u32>(random() % 3 == 0 ? 0xffff'ffff : at_device[which].writable()));
          at_device.erase(at_device.begin() + static_cast<std::ptrdiff_t>(which));
          if (random() % 2 != 0) r->device.publish();
        }
        break;
      default: {
        const auto done = r->ring.next_completion();
        if (!done) {
          REQUIRE(done.error() == errc::not_ready);
          break;
        }
        const auto found = mine.find(done->cookie);
        REQUIRE(found != mine.end());
        REQUIRE(found->second.first == done->which);
        REQUIRE(done->length == found->second.second);  // a claim beyond the buffer is cut to it
        mine.erase(found);
        r->ring.release(done->which);
      }
    }
    if (r->device.is_broken()) break;
  }
  r->require_no_violations();
}
