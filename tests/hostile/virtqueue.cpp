// SPDX-License-Identifier: MIT
// A hostile device on a ring: every rule of docs/hostile-device.md about rings has a test here that fails without it.
// Whatever the device writes, no access is out of bounds (a sanitizer checks), no request completes twice or before it
// was published, and every call ends. Both formats have the same tests, except for values that exist in only one of
// them.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <map>

#include <virtio/testing/hooked_barriers.hpp>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;
using virtio::testing::barrier_hooks;
using virtio::testing::hooked_barriers;

namespace {

#define RINGS small, packed_small, packed_odd

using hooked = split_ring<8, ring_options{}, hooked_barriers>;
using packed_hooked = packed_ring<8, packed_options{}, hooked_barriers>;

const feature_set with_events{feature::event_idx};

template <class Ring>
std::unique_ptr<pair<Ring>> attached(u16 entries = Ring::slots, feature_set f = with_events) {
  auto r = std::make_unique<pair<Ring>>();
  r->attach(entries, f);
  return r;
}

// The device takes all available requests.
std::vector<virtio::testing::chain> take_all(subject& r) {
  std::vector<virtio::testing::chain> got;
  while (auto one = r.device.pop()) got.push_back(*one);
  return got;
}

errc next(subject& r) { return r.ring.next_completion().error(); }

}  // namespace

// --- impossible completions ---

TEMPLATE_TEST_CASE("queue: the first invalid entry is final, and reclaim returns each request in flight once",
                   "[queue][hostile]", RINGS) {
  auto r = attached<TestType>();
  std::map<u64, token> mine;
  for (u64 i = 0; i < 3; ++i) mine[i] = *r->submit(1, 0, i);
  r->kick();
  const auto staged = r->submit(1, 0, 3);
  mine[3] = *staged;
  (void)take_all(*r);
  r->claim(static_cast<u16>(r->slots - 1), 0);
  CHECK(next(*r) == errc::device_misbehaved);
  for (u16 slot = 0; slot < 3; ++slot) r->claim(slot, 0);  // valid, but too late
  for (int i = 0; i < 5; ++i) CHECK(next(*r) == errc::device_misbehaved);
  CHECK(r->ring.in_flight() == 3);
  CHECK(r->ring.arm());  // something is ready
  for (const auto& [cookie, t] : mine) CHECK(r->ring.is_live(t));
  r->device.reset();
  while (const auto back = r->ring.reclaim()) {
    REQUIRE(mine.at(back->cookie) == back->which);
    mine.erase(back->cookie);
    r->ring.release(back->which);
  }
  CHECK(mine.empty());
  r->attach(r->slots, with_events);
  REQUIRE(r->submit(1, 0, 9));
  r->kick();
  r->serve();
  CHECK(r->collect().cookie == 9);
}

TEMPLATE_TEST_CASE("queue: a completion while nothing is in flight breaks the device", "[queue][hostile]", RINGS) {
  auto r = attached<TestType>();
  const u16 served = GENERATE(as<u16>{}, 0, 1, 5, 13);
  for (u16 i = 0; i < served; ++i) {
    REQUIRE(r->submit(1, 0, i));
    r->kick();
    r->serve();
    r->collect();
  }
  r->claim(0, 0);
  CHECK(next(*r) == errc::device_misbehaved);
}

TEMPLATE_TEST_CASE("queue: staged requests that were never published cannot complete", "[queue][hostile]", RINGS) {
  auto r = attached<TestType>();
  const auto t = r->submit(1, 1, 1);
  REQUIRE(t);
  r->claim(t->slot, 4);
  CHECK(next(*r) == errc::device_misbehaved);
  CHECK(r->ring.is_live(*t));
}

TEMPLATE_TEST_CASE("queue: a staged request cannot complete while another is in flight", "[queue][hostile]", RINGS) {
  auto r = attached<TestType>();
  const auto shown = r->submit(1, 1, 1);
  r->kick();
  const auto staged = r->submit(1, 1, 2);
  REQUIRE(staged);
  r->claim(staged->slot, 4);
  CHECK(next(*r) == errc::device_misbehaved);
  CHECK(r->ring.is_live(*shown));
  CHECK(r->ring.is_live(*staged));  // reclaim returns both after a reset
  CHECK(r->ring.reclaim());
  CHECK(r->ring.reclaim());
}

TEMPLATE_TEST_CASE("queue: an id outside the ring breaks the device", "[queue][hostile]", RINGS) {
  auto r = attached<TestType>();
  REQUIRE(r->submit(1, 1, 1));
  r->kick();
  u32 id = GENERATE(as<u32>{}, 0, 1, 0x7ff8, 0xfff7, 0xfff8, 0xffff'fff7);  // the second last is 0 in its low 16 bits
  id += r->slots;
  if (r->packed) id = std::max<u32>(id & 0xffff, r->slots);
  r->claim(id, 0);
  CHECK(next(*r) == errc::device_misbehaved);
}

TEMPLATE_TEST_CASE("queue: an id inside the capacity and outside the smaller ring breaks the device",
                   "[queue][hostile]", RINGS) {
  auto r = attached<TestType>(4);
  REQUIRE(r->submit(1, 1, 1));
  r->kick();
  r->claim(GENERATE(as<u32>{}, 4, 7), 0);
  CHECK(next(*r) == errc::device_misbehaved);
}

TEMPLATE_TEST_CASE("queue: a completion for a slot that is not in flight breaks the device", "[queue][hostile]",
                   RINGS) {
  auto r = attached<TestType>();
  const auto first = r->submit(1, 1, 1);
  REQUIRE(r->submit(1, 1, 2));
  r->kick();
  (void)take_all(*r);
  SECTION("never submitted") { r->claim(4, 0); }
  SECTION("the same one twice") {
    r->claim(first->slot, 0);
    r->claim(first->slot, 0);
    REQUIRE(r->ring.next_completion());
  }
  SECTION("the same one twice, released in between") {
    r->claim(first->slot, 0);
    r->collect();
    r->claim(first->slot, 0);
  }
  if (!r->packed) SECTION("the second descriptor of a chain") {
      r->claim(first->slot + 1u, 0);
    }
  CHECK(next(*r) == errc::device_misbehaved);
}

TEST_CASE("queue: a used index beyond the requests in flight breaks the device", "[queue][split][hostile]") {
  auto r = attached<small>();
  REQUIRE(r->submit(1, 1, 1));
  REQUIRE(r->submit(1, 1, 2));
  r->kick();
  const u16 lie = GENERATE(u16{3}, u16{9}, u16{0x8000}, u16{0xffff});  // 0xffff: backwards
  r->device.raw_used_element(0, 0, 0);
  r->device.raw_used_idx(lie);
  CHECK(next(*r) == errc::device_misbehaved);
  r->device.raw_used_idx(1);  // valid, but too late: the first invalid index is final
  CHECK(next(*r) == errc::device_misbehaved);
  CHECK(r->ring.in_flight() == 2);
}

TEMPLATE_TEST_CASE(
    "queue: flags of another lap or of neither side complete nothing, and other flag bits are ignored [FACT-21]",
    "[queue][packed][hostile]", packed_small, packed_odd) {
  auto r = attached<TestType>();
  u32 right = 0;
  for (u32 laps = 0; laps < 4; ++laps) {
    for (u32 flags = 0; flags < 0x10000; flags += 0x77) {
      const auto t = r->submit(1, 1, flags);
      r->kick();
      (void)r->device.pop();
      auto lie = r->device.honest(t->slot, 7);
      const u32 both = 0x8080, honest = lie.flags & both;
      lie.flags = static_cast<u16>(flags);
      r->device.raw_used(lie);
      if ((flags & both) == honest) ++right;
      else if (next(*r) != errc::not_ready) FAIL("flags " << flags << " complete a request");
      lie.flags = static_cast<u16>((flags & ~both) | honest);
      r->device.push(t->slot, 7);
      r->device.publish();
      r->device.raw_used(lie);
      if (const auto done = r->collect(); done.which != *t || done.length != 7) FAIL("flags " << lie.flags);
    }
  }
  CHECK(right > 100);
}

// --- other values of the device ---

TEMPLATE_TEST_CASE(
    "queue: a used length beyond the writable part is cut to that part, and never breaks the device [SPLIT-17]",
    "[queue][hostile]", RINGS) {
  auto r = attached<TestType>();
  const u32 claim = GENERATE(u32{129}, u32{0x8000'0000}, u32{0xffffffff});
  const auto t = r->submit(1, 2, 1);
  r->kick();
  (void)take_all(*r);
  r->claim(t->slot, claim);
  CHECK(r->collect().length == 128);
  const auto bare = r->submit(1, 0, 2);  // and a request without a writable part has length 0
  r->kick();
  (void)take_all(*r);
  r->claim(bare->slot, claim);
  CHECK(r->collect().length == 0);
}

TEMPLATE_TEST_CASE("hostile: a used element that changes between reads has no effect, since each word is read once",
                   "[queue][hostile]", hooked, packed_hooked) {
  auto r = attached<TestType>();
  const auto t = r->submit(1, 1, 1);
  r->kick();
  r->claim(t->slot, 10);
  barrier_hooks::clear();
  std::map<const volatile void*, int> reads;
  barrier_hooks::mine().after_load = [&](const volatile void* at, usize width) {
    ++reads[at];
    // After each read of a word, the device changes it to the worst value.
    auto* word = const_cast<u8*>(static_cast<const volatile u8*>(at));
    for (usize i = 0; i < width; ++i) word[i] = 0xff;
  };
  const auto done = r->ring.next_completion();
  barrier_hooks::clear();
  REQUIRE(done);
  CHECK(done->which == *t);
  CHECK(done->length == 10);
  CHECK(reads.size() == (r->packed ? 2 : 3));  // index, id, length; or id with flags, length
  for (const auto& [at, times] : reads) CHECK(times == 1);
}

TEMPLATE_TEST_CASE("queue: writes of the device to descriptors and to the driver's areas have no effect",
                   "[queue][hostile]", RINGS) {
  auto r = attached<TestType>();
  std::mt19937 random{5};
  u64 cookie = 0;
  for (int round = 0; round < 300; ++round) {
    std::map<u64, token> mine;
    while (const auto t = r->submit(1, static_cast<u16>(cookie % 2), cookie)) mine[cookie++] = *t;
    r->kick();
    auto got = take_all(*r);
    REQUIRE(got.size() == mine.size());
    for (usize i = 0; i < got.size(); ++i) {
      const u64 expected = mine.begin()->first + i;
      if (!r->is_chain(got[i], 1, static_cast<u16>(expected % 2), expected))
        FAIL("round " << round << ": not what was submitted");
    }
    // All of it, but the flags that state a descriptor's owner stay valid: other tests change those.
    r->scribble(random);
    std::shuffle(got.begin(), got.end(), random);
    for (const auto& one : got) r->device.push(one.head, static_cast<u32>(one.writable()));
    r->device.publish();
    for (const auto& one : got) {
      const auto done = r->collect();
      if (!r->is_chain(one, 1, static_cast<u16>(done.cookie % 2), done.cookie) || mine.at(done.cookie) != done.which)
        FAIL("round " << round << ": completion of " << done.cookie);
      mine.erase(done.cookie);
    }
    r->device.clear_violations();  // it attributes its own writes to the driver
  }
}

TEST_CASE("queue: the device's event words may hold anything [SPLIT-20][SPLIT-23]", "[queue][hostile]") {
  const bool event_idx = GENERATE(false, true);
  const auto every_value = [&](subject& r) {
    r.attach(r.slots, event_idx ? with_events : feature_set{});
    std::mt19937 random{6};
    for (u32 word = 0; word < (r.packed ? 1u << 18 : 1u << 17); ++word) {
      const auto t = r.submit(1, 0, word);
      const u16 before = r.ring.position();
      r.ask(static_cast<u16>(word), static_cast<u16>(word >> 16 | (random() & 0xfffcu)));
      r.ring.publish();
      const bool kicked = r.ring.needs_kick();
      // An offset beyond the descriptors: either result is right.
      const bool nonsense = r.packed && (word & 0x7fff) >= r.entries;
      if (!nonsense && kicked != r.wants_kick(before, 1)) FAIL("event words " << word << ": kicked " << kicked);
      r.device.push(t->slot, 0);
      r.device.publish();
      r.collect();
    }
  };
  every_value(*untyped<small>());
  every_value(*untyped<packed_small>());
  every_value(*untyped<packed_odd>());
}

// --- order ---

TEMPLATE_TEST_CASE(
    "queue: one full fence separates publishing from reading the device's suppression word, and arm has one "
    "[SPLIT-26][SPLIT-27][PACKED-14][PACKED-15]",
    "[queue]", hooked, packed_hooked) {
  const bool event_idx = GENERATE(false, true);
  auto r = attached<TestType>(8, event_idx ? with_events : feature_set{});
  REQUIRE(r->submit(1, 1, 1));
  REQUIRE(r->submit(1, 1, 2));
  barrier_hooks::clear();
  std::string order;
  auto& hooks = barrier_hooks::mine();
  hooks.after_store = [&](auto, auto) { order += "s" + std::to_string(hooks.fulls); };
  hooks.before_load = [&](auto, auto) { order += "l" + std::to_string(hooks.fulls); };
  r->kick();
  CHECK(order == "s0l1");      // index or flags, fence, load of the suppression word
  CHECK(hooks.releases == 1);  // the store is the release for all staged chains
  order.clear();
  hooks.fulls = 0;
  (void)r->ring.arm();
  CHECK(order == "s0l1");  // request for an interrupt, fence, second load
  barrier_hooks::clear();
}

// --- random corruption ---

namespace {

struct request {
  token which;
  u16 writable;
  bool published;
};

// Runs of a ring whose device writes random bytes all over the shared memory, and random completions.
void corrupted(subject& r, u32 seed) {
  INFO("VIRTIO_TEST_SEED=" << seed);
  std::mt19937 random{seed};
  u32 lies_told = 0, lies_caught = 0, completions = 0;
  for (u32 life = 0; life < 10'000; ++life) {
    r.attach(static_cast<u16>(life % 3 != 0 ? r.slots : 4), random() % 2 != 0 ? with_events : feature_set{});
    std::map<u64, request> mine;
    u64 cookie = 0;
    bool caught = false;
    for (u32 step = 0; step < 40; ++step) {
      switch (random() % 8) {
        case 0:
        case 1: {
          const u16 writable = static_cast<u16>(random() % 3);
          if (const auto t = r.submit(1, writable, cookie)) mine[cookie++] = {*t, writable, false};
          break;
        }
        case 2:
          r.kick();
          for (auto& [which, one] : mine) one.published = true;
          break;
        case 3:
          if (auto one = r.device.pop()) {
            r.device.push(one->head, 5);
            r.device.publish();
          }
          break;
        case 4: {
          auto areas = r.shared();
          auto& area = areas[random() % 4 != 0 ? (r.packed ? 0 : 2) : random() % areas.size()];
          area[random() % (random() % 2 != 0 ? std::min<usize>(area.size(), 16) : area.size())] =
              static_cast<u8>(random());
          ++lies_told;
          break;
        }
        case 5:
          if (random() % 4 != 0) break;
          r.claim(random() % 4 != 0 ? static_cast<u32>(random() % r.slots) : static_cast<u32>(random()),
                  static_cast<u32>(random()));
          ++lies_told;
          break;
        default: {
          const auto done = r.ring.next_completion();
          if (!done) {
            const bool misbehaved = done.error() == errc::device_misbehaved;
            if (caught && !misbehaved) FAIL("a call succeeded after an invalid entry");
            lies_caught += misbehaved && !caught;
            caught = misbehaved;
            (void)(random() % 2 != 0 ? r.ring.arm() : false);
            break;
          }
          // In any case this is a published request, and it is no longer in flight.
          const auto found = mine.find(done->cookie);
          if (caught || found == mine.end() || !found->second.published) FAIL("not to be completed: " << done->cookie);
          if (found->second.which != done->which || done->length > 64u * found->second.writable)
            FAIL("token or length");
          mine.erase(found);
          r.ring.release(done->which);
          ++completions;
        }
      }
    }
    // Reclaim returns each request that did not complete, once.
    r.device.reset();
    while (const auto back = r.ring.reclaim()) {
      if (!mine.contains(back->cookie) || mine[back->cookie].which != back->which) FAIL("reclaimed: " << back->cookie);
      mine.erase(back->cookie);
      r.ring.release(back->which);
    }
    if (!mine.empty()) FAIL(mine.size() << " requests lost");
    r.device.clear_violations();
  }
  CHECK(lies_told > 50'000);
  CHECK(lies_caught > 1'000);
  CHECK(completions > 5'000);
}

}  // namespace

TEMPLATE_TEST_CASE("queue: random corruption of all memory that the device can write has no harmful effect",
                   "[queue][hostile]", RINGS) {
  corrupted(*untyped<TestType>(), seed());
}
