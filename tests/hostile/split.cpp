// SPDX-License-Identifier: MIT
// A device that lies through the split ring: every rule of docs/hostile-device.md that concerns the ring has one test here that
// breaks without it. Whatever the device writes, nothing is read or written out of bounds (a sanitizer watches), no request comes
// back twice, and every call ends.
#include <catch2/generators/catch_generators.hpp>

#include <cstdlib>
#include <map>
#include <random>

#include <virtio/testing/hooked_barriers.hpp>

#include "ring_rig.hpp"

using namespace virtio;
using virtio::testing::barrier_hooks;
using virtio::testing::hooked_barriers;

namespace {

using ring8 = split_ring<8>;
using hooked8 = split_ring<8, ring_options{}, hooked_barriers>;

template <class Ring>
std::unique_ptr<rig::pair<Ring>> attached(u16 entries = Ring::slots, feature_set f = feature_set{feature::event_idx}) {
  auto r = std::make_unique<rig::pair<Ring>>();
  r->attach(entries, f);
  return r;
}

}  // namespace

TEST_CASE("split queue: a used index that jumps past what is in flight breaks the device", "[queue][split][hostile]") {
  auto r = attached<ring8>();
  REQUIRE(r->submit(1, 1, 1));
  REQUIRE(r->submit(1, 1, 2));
  r->kick();
  const u16 lie = GENERATE(u16{3}, u16{9}, u16{0x8000}, u16{0xffff});  // 0xffff: backwards
  r->device.raw_used_element(0, 0, 0);
  r->device.raw_used_idx(lie);
  CHECK(r->ring.next_completion().error() == errc::device_misbehaved);
  r->device.raw_used_idx(1);  // too late to be honest: the first lie is final
  CHECK(r->ring.next_completion().error() == errc::device_misbehaved);
  CHECK(r->ring.in_flight() == 2);
}

TEST_CASE("split queue: staged requests that were never published cannot complete", "[queue][split][hostile]") {
  auto r = attached<ring8>();
  const auto t = r->submit(1, 1, 1);
  REQUIRE(t);
  r->device.raw_used_element(0, t->slot, 4);
  r->device.raw_used_idx(1);
  CHECK(r->ring.next_completion().error() == errc::device_misbehaved);
}

TEST_CASE("split queue: a staged request cannot complete while another is in flight", "[queue][split][hostile]") {
  auto r = attached<ring8>();
  const auto shown = r->submit(1, 1, 1);
  r->kick();
  const auto staged = r->submit(1, 1, 2);
  REQUIRE(staged);
  r->device.raw_used_element(0, staged->slot, 4);
  r->device.raw_used_idx(1);
  CHECK(r->ring.next_completion().error() == errc::device_misbehaved);
  CHECK(r->ring.is_live(*shown));
  CHECK(r->ring.is_live(*staged));  // both come back by reclaim, after a reset
  CHECK(r->ring.reclaim());
  CHECK(r->ring.reclaim());
}

TEST_CASE("split queue: an id outside the ring breaks the device", "[queue][split][hostile]") {
  auto r = attached<ring8>(8);
  REQUIRE(r->submit(1, 1, 1));
  r->kick();
  const u32 id = GENERATE(u32{8}, u32{9}, u32{0xffff}, u32{0x10000}, u32{0xffffffff});  // 0x10000 is 0 when cut to 16 bits
  r->device.raw_used_element(0, id, 0);
  r->device.raw_used_idx(1);
  CHECK(r->ring.next_completion().error() == errc::device_misbehaved);
}

TEST_CASE("split queue: an id inside the capacity and outside the smaller ring breaks the device", "[queue][split][hostile]") {
  auto r = attached<ring8>(4);
  REQUIRE(r->submit(1, 1, 1));
  r->kick();
  r->device.raw_used_element(0, 5, 0);
  r->device.raw_used_idx(1);
  CHECK(r->ring.next_completion().error() == errc::device_misbehaved);
}

TEST_CASE("split queue: a completion for a slot that is not in flight breaks the device", "[queue][split][hostile]") {
  auto r = attached<ring8>();
  const auto first = r->submit(1, 1, 1);
  REQUIRE(r->submit(1, 1, 2));
  r->kick();
  SECTION("never submitted") { r->device.raw_used_element(0, 7, 0); }
  SECTION("the second descriptor of a chain") { r->device.raw_used_element(0, first->slot + 1u, 0); }
  SECTION("twice the same") {
    r->device.raw_used_element(0, first->slot, 0);
    r->device.raw_used_element(1, first->slot, 0);
    r->device.raw_used_idx(2);
    REQUIRE(r->ring.next_completion());
  }
  r->device.raw_used_idx(2);
  CHECK(r->ring.next_completion().error() == errc::device_misbehaved);
}

TEST_CASE("split queue: a released slot completed once more breaks the device", "[queue][split][hostile]") {
  auto r = attached<ring8>();
  const auto t = r->submit(1, 1, 1);
  REQUIRE(r->submit(1, 1, 2));
  r->kick();
  r->device.raw_used_element(0, t->slot, 0);
  r->device.raw_used_element(1, t->slot, 0);
  r->device.raw_used_idx(1);
  const auto done = r->ring.next_completion();
  REQUIRE(done);
  r->ring.release(done->which);
  r->device.raw_used_idx(2);
  CHECK(r->ring.next_completion().error() == errc::device_misbehaved);
}

TEST_CASE("split queue: a used length beyond the writable part is cut to it, and never breaks the device [SPLIT-17]", "[queue][split][hostile]") {
  auto r = attached<ring8>();
  const auto t = r->submit(1, 2, 1);
  r->kick();
  const u32 claim = GENERATE(u32{129}, u32{0x8000'0000}, u32{0xffffffff});
  r->device.raw_used_element(0, t->slot, claim);
  r->device.raw_used_idx(1);
  const auto done = r->ring.next_completion();
  REQUIRE(done);
  CHECK(done->length == 128);
  r->ring.release(done->which);
  REQUIRE(r->submit(1, 0, 2));  // and a request without a writable part has length 0
  r->kick();
  r->device.raw_used_element(1, r->device.raw_available_entry(1), claim);
  r->device.raw_used_idx(2);
  CHECK(r->ring.next_completion()->length == 0);
}

TEST_CASE("hostile: element changes between reads; each word is read once", "[queue][split][hostile]") {
  auto r = attached<hooked8>();
  const auto t = r->submit(1, 1, 1);
  r->kick();
  r->device.raw_used_element(0, t->slot, 10);
  r->device.raw_used_idx(1);
  barrier_hooks::clear();
  std::map<const volatile void*, int> reads;
  barrier_hooks::mine().after_load = [&](const volatile void* at, usize width) {
    ++reads[at];
    // As soon as a word was read, the device changes it to the worst.
    auto* word = const_cast<u8*>(static_cast<const volatile u8*>(at));
    for (usize i = 0; i < width; ++i) word[i] = 0xff;
  };
  const auto done = r->ring.next_completion();
  barrier_hooks::clear();
  REQUIRE(done);
  CHECK(done->which == *t);
  CHECK(done->length == 10);
  CHECK(reads.size() == 3);  // index, id, length
  for (const auto& [at, times] : reads) CHECK(times == 1);
}

TEST_CASE("split queue: what the device does to the descriptor table and the available ring changes nothing", "[queue][split][hostile]") {
  auto r = attached<ring8>();
  std::map<u64, token> mine;
  for (u64 i = 0; i < 2; ++i) mine[i] = *r->submit(2, 1, i);
  r->kick();
  std::vector<virtio::testing::chain> got;
  while (auto one = r->device.pop()) got.push_back(*one);
  for (u8& b : r->device.descriptor_area()) b = 0xff;  // next pointers and all
  for (u8& b : r->device.available_area()) b = 0xff;
  r->device.raw_used_element(0, got[1].head, 64);
  r->device.raw_used_element(1, got[0].head, 64);
  r->device.raw_used_idx(2);
  for (int i = 0; i < 2; ++i) {
    const auto done = r->ring.next_completion();
    REQUIRE(done);
    CHECK(mine.at(done->cookie) == done->which);
    r->ring.release(done->which);
  }
  // All descriptors are back and in order: as many requests fit as before.
  for (int i = 0; i < 8; ++i) REQUIRE(r->submit(1, 0, 9));
}

TEST_CASE("split queue: one full fence between publishing and reading the device's wish, and one in arm [SPLIT-26][SPLIT-27]", "[queue][split]") {
  const bool event_idx = GENERATE(false, true);
  auto r = attached<hooked8>(8, event_idx ? feature_set{feature::event_idx} : feature_set{});
  REQUIRE(r->submit(1, 1, 1));
  REQUIRE(r->submit(1, 1, 2));
  barrier_hooks::clear();
  std::string order;
  auto& hooks = barrier_hooks::mine();
  hooks.after_store = [&](auto, auto) { order += "s" + std::to_string(hooks.fulls); };
  hooks.before_load = [&](auto, auto) { order += "l" + std::to_string(hooks.fulls); };
  r->kick();
  CHECK(order == "s0l1");       // index store, fence, load of the wish
  CHECK(hooks.releases == 1);   // the index is the release that covers descriptors and ring entries
  order.clear();
  hooks.fulls = 0;
  (void)r->ring.arm();
  CHECK(order == "s0l1");       // our wish, fence, second look at the index
  barrier_hooks::clear();
}

TEST_CASE("split queue: random corruption of everything the device can write", "[queue][split][hostile]") {
  const char* given = std::getenv("VIRTIO_TEST_SEED");
  const u32 seed = given != nullptr ? static_cast<u32>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  INFO("VIRTIO_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  u32 lies_told = 0, lies_caught = 0, completions = 0;
  auto r = std::make_unique<rig::pair<ring8>>();
  for (u32 life = 0; life < 20'000; ++life) {
    if (r->entries != 0) {
      r->device.reset();
      while (const auto back = r->ring.reclaim()) r->ring.release(back->which);
    }
    r->attach(8, random() % 2 != 0 ? feature_set{feature::event_idx} : feature_set{});
    std::map<u64, token> mine;
    u64 cookie = 0;
    for (u32 step = 0; step < 30; ++step) {
      switch (random() % 6) {
        case 0:
          if (const auto t = r->submit(1, static_cast<u16>(random() % 3), cookie)) mine[cookie++] = *t;
          break;
        case 1: r->kick(); break;
        case 2:
          if (auto one = r->device.pop()) {
            r->device.push(one->head, 5);
            r->device.publish();
          }
          break;
        case 3: {
          auto area = r->device.used_area();
          area[random() % (random() % 2 != 0 ? 12 : area.size())] = static_cast<u8>(random());
          ++lies_told;
          break;
        }
        default: {
          const auto done = r->ring.next_completion();
          if (!done) {
            lies_caught += done.error() == errc::device_misbehaved;
            break;
          }
          // Whatever the lie was, this is a request of ours that was in flight, and now it is not.
          REQUIRE(mine.contains(done->cookie));
          REQUIRE(mine[done->cookie] == done->which);
          REQUIRE(done->length <= 128);
          mine.erase(done->cookie);
          r->ring.release(done->which);
          ++completions;
        }
      }
      if (r->device.is_broken()) break;
    }
    // Everything that did not complete comes back by reclaim, once.
    r->ring.publish();
    while (const auto back = r->ring.reclaim()) {
      REQUIRE(mine.at(back->cookie) == back->which);
      mine.erase(back->cookie);
      r->ring.release(back->which);
    }
    REQUIRE(mine.empty());
  }
  CHECK(lies_told > 10'000);
  CHECK(lies_caught > 1'000);
  CHECK(completions > 10'000);
}
