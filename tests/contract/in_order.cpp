// SPDX-License-Identifier: MIT
// IN_ORDER on both rings, with a used entry per buffer and per batch, and the ring with both formats. Tests for every
// ring are in virtqueue.cpp.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <deque>
#include <map>

#include <virtio/queue/either.hpp>

#include "ring_rig.hpp"

using namespace virtio;

namespace {

using split_8 = split_ring<8, ring_options{.in_order = true}>;
using split_tables = split_ring<8, ring_options{.indirect = 4, .in_order = true}>;
using split_256 = split_ring<256, ring_options{.in_order = true}>;
using packed_5 = packed_ring<5, packed_options{.in_order = true}>;
using packed_8 = packed_ring<8, packed_options{.in_order = true}>;
using packed_tables = packed_ring<8, packed_options{.indirect = 4, .in_order = true}>;
using packed_256 = packed_ring<256, packed_options{.in_order = true}>;

struct either_split : either_ring<8, ring_options{.indirect = 4, .in_order = true}> {};
struct either_packed : either_ring<8, ring_options{.indirect = 4, .in_order = true}> {};

feature_set features(bool in_order, bool event_idx = true) {
  feature_set f{feature::version_1, feature::indirect_desc};
  if (in_order) f.set(static_cast<u8>(feature::in_order));
  if (event_idx) f.set(static_cast<u8>(feature::event_idx));
  return f;
}

// Random traffic: chains of all lengths that fit, served in order, returned one by one or in batches, and held for a
// while by the driver. `batches`: one used entry may cover several buffers.
void traffic(rig::subject& r, bool in_order, bool batches, u32 rounds) {
  const u32 seed = rig::seed();
  INFO("VIRTIO_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  r.attach(r.slots, features(in_order, random() % 2 != 0));
  struct request {
    token which;
    u16 writable;
  };
  std::map<u64, request> mine;
  std::deque<u64> order;  // cookies, as they were published
  std::deque<virtio::testing::chain> at_device;
  std::vector<token> kept;  // completions whose slots the driver holds
  u64 cookie = 0, next = 0;
  u32 unknown = 0;
  for (u32 round = 0; round < rounds; ++round) {
    for (auto n = random() % 6; n != 0; --n) {
      const u16 readable = static_cast<u16>(random() % 3), writable = static_cast<u16>(random() % 3 + (readable == 0));
      if (readable + writable > r.ring.longest_chain()) continue;
      const auto sent = r.submit(readable, writable, cookie);
      if (!sent) {
        REQUIRE(sent.error() == errc::queue_full);
        break;
      }
      mine[cookie] = {*sent, writable};
      order.push_back(cookie++);
    }
    if (random() % 2 != 0) r.kick();
    while (random() % 4 != 0) {
      auto one = r.device.pop();
      if (!one) break;
      at_device.push_back(*one);
    }
    while (!at_device.empty() && random() % 4 != 0) {
      const usize count = batches ? random() % at_device.size() : 0;
      const auto& last = at_device[count];
      if (batches) r.device.push_batch(last.head, static_cast<u32>(last.writable()));
      else r.device.push(last.head, static_cast<u32>(last.writable()));
      at_device.erase(at_device.begin(), at_device.begin() + static_cast<std::ptrdiff_t>(count) + 1);
      r.device.publish();
    }
    for (auto n = random() % 8; n != 0; --n) {
      const auto done = r.ring.next_completion();
      if (!done) {
        REQUIRE(done.error() == errc::not_ready);
        break;
      }
      if (in_order) REQUIRE(done->cookie == next);
      ++next;
      const auto found = mine.find(done->cookie);
      REQUIRE(found != mine.end());
      REQUIRE(found->second.which == done->which);
      REQUIRE(done->length == (done->length_known ? 64u * found->second.writable : 0u));
      if (!done->length_known) ++unknown;
      REQUIRE(r.ring.is_live(done->which));
      mine.erase(found);
      // A slot that the caller holds does not block the ring.
      if (random() % 8 == 0 && kept.size() + 3 < r.slots) kept.push_back(done->which);
      else r.ring.release(done->which);
    }
    if (!kept.empty() && random() % 40 == 0) {
      const usize which = random() % kept.size();
      REQUIRE(r.ring.is_live(kept[which]));
      r.ring.release(kept[which]);
      kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(which));
    }
  }
  if (batches) CHECK(unknown > 0);
  else CHECK(unknown == 0);
  r.require_no_violations();
}

}  // namespace

template <>
inline constexpr bool rig::is_packed<either_packed> = true;

#define RINGS \
  split_8, split_tables, split_256, packed_5, packed_8, packed_tables, packed_256, either_split, either_packed

TEMPLATE_TEST_CASE(
    "in order: buffers come back as they were made available, one by one and in batches, at all lengths "
    "[SPLIT-05][SPLIT-10][FACT-18][FACT-26]",
    "[queue][contract]", RINGS) {
  const bool batches = GENERATE(false, true);
  const auto r = std::make_unique<rig::pair<TestType>>();
  traffic(*r, true, batches, 20'000);
}

TEMPLATE_TEST_CASE("in order: a ring with IN_ORDER works on a device without it", "[queue][contract]", RINGS) {
  const auto r = std::make_unique<rig::pair<TestType>>();
  traffic(*r, false, false, 10'000);
}

TEMPLATE_TEST_CASE("in order: a slot that is still held is passed over, and the queue is full when all are but one",
                   "[queue][contract]", RINGS) {
  const auto r = std::make_unique<rig::pair<TestType>>();
  constexpr usize most = TestType::slots - 1u;
  r->attach(TestType::slots, features(true));
  std::vector<token> held;
  // One slot of each lap is held, until none is left.
  while (held.size() < most) {
    for (u32 i = 0; i < TestType::slots; ++i) {
      REQUIRE(static_cast<rig::subject&>(*r).submit(1, 0, i));
      r->kick();
      r->serve();
      const auto done = static_cast<rig::subject&>(*r).ring.next_completion();
      REQUIRE(done);
      REQUIRE(done->cookie == i);
      for (const token& one : held) REQUIRE(one.slot != done->which.slot);
      if (i == held.size() % TestType::slots) {
        held.push_back(done->which);
        if (held.size() == most) break;
      } else {
        static_cast<rig::subject&>(*r).ring.release(done->which);
      }
    }
  }
  rig::any_ring& ring = static_cast<rig::subject&>(*r).ring;
  CHECK(static_cast<rig::subject&>(*r).submit(1, 0, 99).error() == errc::queue_full);
  CHECK(ring.in_flight() == 0);
  for (const token& one : held) REQUIRE(ring.is_live(one));
  ring.release(held[TestType::slots / 2]);
  const auto again = static_cast<rig::subject&>(*r).submit(1, 0, 100);
  REQUIRE(again);
  CHECK(!ring.is_live(held[TestType::slots / 2]));
  r->require_no_violations();
}

TEMPLATE_TEST_CASE("in order: a batch that ends at an unpublished buffer is an error, and returns no buffer",
                   "[queue][hostile]", split_8, split_tables, packed_5, packed_8, packed_tables) {
  const int lie = GENERATE(0, 1, 2, 3);
  CAPTURE(lie);
  const auto whole = std::make_unique<rig::pair<TestType>>();
  rig::subject& r = *whole;
  r.attach(TestType::slots, features(true));
  for (u64 i = 0; i < 3; ++i) REQUIRE(r.submit(1, 0, i));
  r.kick();
  std::vector<u16> heads;
  while (const auto one = r.device.pop()) heads.push_back(one->head);
  REQUIRE(heads.size() == 3);
  const auto staged = r.submit(1, 0, 3);  // the device must not complete this one
  REQUIRE(staged);
  switch (lie) {
    case 0: r.claim(r.packed ? staged->slot : 3u, 0); break;  // what is only staged
    case 1: r.claim(TestType::slots - 1u, 0); break;          // what was never used
    case 2: r.claim(0xffff, 0); break;
    default: r.claim(0xffff'ffff, 0);
  }
  CHECK(r.ring.next_completion().error() == errc::device_misbehaved);
  CHECK(r.ring.next_completion().error() == errc::device_misbehaved);
  r.device.reset();
  u32 back = 0;
  while (const auto one = r.ring.reclaim()) {
    r.ring.release(one->which);
    ++back;
  }
  CHECK(back == 4);
  r.attach(TestType::slots, features(true));
  REQUIRE(r.submit(1, 0, 5));
  r.kick();
  r.serve();
  CHECK(r.collect().cookie == 5);
}

TEST_CASE("in order: a batch longer than the index allows is an error", "[queue][hostile]") {
  const auto whole = std::make_unique<rig::pair<split_8>>();
  rig::subject& r = *whole;
  r.attach(8, features(true));
  for (u64 i = 0; i < 4; ++i) REQUIRE(r.submit(1, 0, i));
  r.kick();
  while (r.device.pop()) {}
  r.claim(3, 0);  // one entry, an index of one, but the id of the fourth buffer
  const auto first = r.ring.next_completion();
  if (first) r.ring.release(first->which);
  CHECK(r.ring.next_completion().error() == errc::device_misbehaved);
  CHECK(r.ring.in_flight() >= 3);
}

TEMPLATE_TEST_CASE("in order: reclaim returns the rest of a batch once, and nothing after it", "[queue][hostile]",
                   split_8, packed_5, either_split, either_packed) {
  const auto whole = std::make_unique<rig::pair<TestType>>();
  rig::subject& r = *whole;
  r.attach(TestType::slots, features(true));
  for (u64 i = 0; i < 3; ++i) REQUIRE(r.submit(1, 0, i));
  r.kick();
  u16 last = 0;
  while (const auto one = r.device.pop()) last = one->head;
  r.device.push_batch(last, 0);
  r.device.publish();
  CHECK(r.collect().cookie == 0);
  REQUIRE(r.submit(1, 0, 3));  // staged, but never published
  r.device.reset();
  u32 back = 0;
  while (const auto one = r.ring.reclaim()) {
    r.ring.release(one->which);
    ++back;
  }
  CHECK(back == 3);
  CHECK_FALSE(r.ring.next_completion());
  CHECK_FALSE(r.ring.publish());
}

TEST_CASE("either: a token of one format is stale on the other", "[queue][contract]") {
  using ring_type = either_ring<8>;
  const auto as_split = std::make_unique<rig::pair<ring_type>>();
  rig::subject& r = *as_split;
  std::vector<token> stale;
  for (int lap = 0; lap < 6; ++lap) {
    CAPTURE(lap);
    feature_set f = features(false);
    if (lap % 2 != 0) f.set(static_cast<u8>(feature::ring_packed));
    REQUIRE(r.ring.attach({r.storage.data, r.storage.size, dma_addr{rig::storage_at}}, 8, f));
    CHECK(as_split->ring.is_packed() == (lap % 2 != 0));
    for (int i = 0; i <= lap; ++i) {
      const auto one = r.submit(1, 0, 0);
      REQUIRE(one);
      for (const token& other : stale) REQUIRE(other != *one);
      stale.push_back(*one);
    }
    for (usize i = 0; i + static_cast<usize>(lap) + 1 < stale.size(); ++i) CHECK(!r.ring.is_live(stale[i]));
  }
}
