// SPDX-License-Identifier: MIT
// Hostile devices against the balloon driver: every call ends, no page of the device counts as the program's, no page
// is written that the program did not name, and a start after the reset succeeds.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <random>
#include <set>

#include "balloon.hpp"
#include "lies.hpp"
#include "ring_rig.hpp"

using namespace virtio;
using balloon::hinting;
using rig::balloon_model;
using rig::free_pages;
using rig::pages_from;
using rig::start;
using offers = rig::balloon_offers;

namespace {

enum : u16 { inflate_queue, deflate_queue, stats_queue, hint_queue, reporting_queue };

template <class Driver>
errc call(Driver& d, u16 queue) {
  u32 left = 2;
  switch (queue) {
    case inflate_queue: return d->inflate(5, pages_from{100}).error();
    case deflate_queue: return d->deflate(5, pages_from{0}).error();
    case stats_queue: return d->answer_statistics(rig::two_samples).error();
    case hint_queue: return d->hint([&](bytes& out) { return out = free_pages::stretch(0, 4), left-- != 0; }).error();
    case reporting_queue:
    default: return d->report_free(free_pages::stretch(4, 4)).error();
  }
}

}  // namespace

TEST_CASE("hostile: an invalid entry in a balloon's ring takes the device down in any call, and a later start succeeds",
          "[balloon][hostile]") {
  const u16 lying = GENERATE(u16{0}, u16{1}, u16{2}, u16{3}, u16{4}),
            calling = GENERATE(u16{0}, u16{1}, u16{2}, u16{3}, u16{4});
  const int which = GENERATE(0, 1, 2, 3);
  CAPTURE(lying, calling, which);
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 1, 2, 3, 5});
  rig::balloon_driver<> d;
  REQUIRE(start(d, m, rig::two_samples));
  REQUIRE(*d->inflate(10, pages_from{0}) == 10);
  model.open_round();
  m.expect_objections = true;  // the model's positions differ from those in its ring
  rig::lie(model.ring(lying), which, 6);
  CHECK(call(d, calling) == errc::device_misbehaved);
  CHECK(model.status() == 0);
  CHECK(d->actual() == 0);
  CHECK(m.memory.live() == 0);
  CHECK(call(d, calling) == errc::not_started);
  REQUIRE(start(d, m, rig::two_samples));
  CHECK(*d->inflate(10, pages_from{0}) == 10);
  CHECK(model.actual() == 10);
}

TEST_CASE("hostile: page numbers that the device overwrites are never used", "[balloon][hostile]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 1, 3, 4});
  model.in_place = true;
  rig::balloon_in_place<> d;
  using device = virtio::detail::bare<decltype(*d)>;
  REQUIRE(d.start(m, rig::two_samples, {0x12121212, free_pages::page}));
  REQUIRE(*d->inflate(20, pages_from{free_pages::first}) == 20);
  model.want(0);
  free_pages::fill(0x77);
  constexpr usize list_bytes = 4 * 256, behind = 16 * 10 + 4;  // statistics and the command id
  u8* const list = d.storage().data + device::dma_bytes - behind - list_bytes;
  m.memory.on_wait = [&](waiting, u64) {
    (void)model.step();
    for (usize at = 0; at < list_bytes; at += 4) virtio::testing::wire::put32(list + at, free_pages::first + 40);
  };
  REQUIRE(virtio::testing::wire::get32(list) == free_pages::first);  // the list is here
  REQUIRE(*d->deflate(10, pages_from{free_pages::first}) == 10);
  CHECK(free_pages::all_are(0, 10, 0x12121212));
  CHECK(free_pages::all_are(10, free_pages::count - 10, 0x77777777));
}

TEST_CASE("hostile: a balloon's configuration that always changes delays no call beyond its pages",
          "[balloon][hostile]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(GENERATE(seat::modern, seat::legacy), 4, offers{0, 3});
  rig::balloon_driver<rig::legacy_queue> d;
  REQUIRE(start(d, m));
  std::mt19937 random{5};
  const u32 among = GENERATE(2u, 5u, 0xffffffffu);
  model.before_config_read = [&](u32 offset, u32) {
    if (offset == 0 || offset == 8) model.put_config(offset, random() % among, 4);
    if (random() % 2 == 0) model.bump_generation();
  };
  m.expect_objections = true;  // rounds that the model has not opened
  u32 in = 0;
  for (int i = 0; i < 300; ++i) {
    u32 left = 7;
    const auto hinted = d->hint([&](bytes& out) { return out = free_pages::stretch(0, 1), left-- != 0; });
    REQUIRE(hinted);
    REQUIRE(*hinted <= 7);
    REQUIRE(d->hints());
    const auto now = d->follow(pages_from{in, in + 300}, [&](u32& page) { return in != 0 && (page = --in, true); });
    if (!now) REQUIRE(now.error() == errc::out_of_range);  // the host requests more again
    in = d->actual();
    REQUIRE(model.actual() == in);
    REQUIRE(model.pages().size() == in);
  }
}

TEST_CASE("hostile: every call ends after a balloon was removed", "[balloon][hostile]") {
  rig::machine m;
  m.add<balloon_model>(seat::modern, 4, offers{0, 1, 3, 5});
  rig::balloon_driver<> d;
  REQUIRE(start(d, m, rig::two_samples));
  REQUIRE(d->inflate(10, pages_from{0}));
  const u16 calling = GENERATE(u16{0}, u16{1}, u16{2}, u16{3}, u16{4});
  m.bus.unplug({0, 0, 4, 0});
  m.running = false;
  CHECK(*d->target() == ~u32{0});
  CHECK(*d->hints() == hinting::wanted);  // all ones
  const errc how = call(d, calling);
  if (calling == deflate_queue) CHECK(how == errc::out_of_range);  // the target is all ones
  else if (calling == stats_queue) CHECK(how == errc::ok);         // nothing is requested
  else CHECK(how == errc::device_broken);
  CHECK(d->check().error() == errc::device_broken);
  CHECK(d->actual() == 10);  // the device keeps them
  CHECK(d->hand_off().error() == errc::device_broken);
  m.expect_objections = true;
}

namespace {

/// A balloon with random calls, on a device that acts at random.
template <class Queue>
struct trial {
  rig::machine m{};
  balloon_model& model;
  rig::balloon_driver<Queue> d{};
  std::mt19937 random;
  std::set<u32> lent{};  // in the balloon, as the program records it
  u32 next = 0;
  u64 worked = 0;
  bool is_broken = false;

  explicit trial(u32 seed) : model{m.add<balloon_model>(seat::modern, 4, offers{0, 1, 2, 3, 5, 34})}, random{seed} {
    m.expect_objections = true;  // the device acts at random
    for (auto& limit : m.memory.wait_limit) limit = 20;
    m.memory.on_wait = [this](waiting, u64) {
      if (any(40) == 0) misbehave();
      if (m.running) (void)model.step();
    };
  }
  u32 any(u32 below) { return static_cast<u32>(random() % below); }

  void misbehave() {
    switch (any(12)) {
      case 0: model.hold(); break;
      case 1: model.release(); break;
      case 2: model.complete_all(); break;
      case 3: model.set_needs_reset(); break;
      case 4: model.want(any(2) == 0 ? any(600) : static_cast<u32>(random())); break;
      case 5: model.open_round(); break;
      case 6: model.stop_round(); break;
      case 7: model.finish_rounds(); break;
      case 8: model.ask(); break;
      case 9: model.spurious_interrupt(3); break;
      case 10: model.drop_requests = 1; break;
      default:
        if (any(4) == 0) lie_about(static_cast<u16>(any(5)));
    }
  }
  void lie_about(u16 queue) {
    if (!model.at(queue).enabled) return;
    if (model.accepted(34))
      model.packed_ring(queue).push(static_cast<u16>(any(9)), 0), model.packed_ring(queue).publish();
    else rig::lie(model.ring(queue), static_cast<int>(any(4)), 6);
  }

  // Each call has succeeded, or has reset the device, or has reported that the device keeps everything.
  void after(errc how, u32 resets) {
    if (how == errc::timed_out || how == errc::needs_reset || how == errc::device_misbehaved) {
      REQUIRE(!model.at(0).enabled);
      REQUIRE(d->actual() == 0);
      REQUIRE(m.memory.live() == 0);
    } else {
      REQUIRE((how == errc::ok || how == errc::out_of_range || how == errc::not_started || how == errc::device_broken));
    }
    if (how == errc::device_broken) is_broken = true;
    if (model.resets() != resets) {
      lent.clear();
      is_broken = false;
    }
    if (is_broken) REQUIRE(d->actual() <= lent.size());
    else REQUIRE(d->actual() == lent.size());
    REQUIRE(m.memory.live() <= 1);  // a stretch that the device keeps
    worked += how == errc::ok;
  }
  void step() {
    const u32 resets = model.resets();
    model.reset_reads = any(20) == 0 ? rig::device_model::forever : 0;
    m.running = any(10) != 0;
    if (any(3) == 0) misbehave();
    std::vector<u32> given, taken;
    u32 left = any(6);
    errc how = errc::ok;
    const auto give = [&](u32& page) { return given.size() < 700 && (given.push_back(page = next++), true); };
    const auto take = [&](u32& page) {
      return !lent.empty() && (taken.push_back(page = *lent.begin()), lent.erase(page), true);
    };
    const auto stretch = [&](bytes& out) { return left != 0 && (out = free_pages::stretch(left, 2), --left, true); };
    switch (any(12)) {
      case 0: how = start(d, m, rig::two_samples).error(); break;
      case 1:
      case 2: how = d->inflate(any(700), give).error(); break;
      case 3: how = d->deflate(any(700), take).error(); break;
      case 4: how = d->follow(give, take).error(); break;
      case 5: how = d->answer_statistics(rig::two_samples).error(); break;
      case 6: how = d->report_free(free_pages::stretch(any(8), 1 + any(8))).error(); break;
      case 7: how = d->hint(stretch).error(); break;
      case 8: how = d->hints().error(); break;
      case 9: how = d->check().error(); break;
      case 10:
        (void)d->arm();
        (void)d->acknowledge_interrupt();
        break;
      default:
        if (any(4) == 0) how = (any(2) == 0 ? d->reset() : d->hand_off()).error();
    }
    if (how == errc::ok || how == errc::device_broken) lent.insert(given.begin(), given.end());
    // the device may not have read their numbers
    if (how == errc::device_broken) lent.insert(taken.begin(), taken.end());
    after(how, resets);
  }
};

}  // namespace

TEMPLATE_TEST_CASE(
    "hostile: on a device that acts at random every balloon call ends by success, a reset, or device_broken",
    "[balloon][hostile]", split_queue<8>, packed_queue<8>) {
  const u32 seed = rig::seed();
  CAPTURE(seed);
  u64 worked = 0;
  for (u32 round = 0; round < 100; ++round) {
    CAPTURE(round);
    trial<TestType> t{seed + round};
    for (int i = 0; i < 200; ++i) t.step();
    worked += t.worked;
    t.model.reset_reads = 0;
    t.model.release();
    t.model.drop_requests = 0;
    t.m.running = true;
    t.m.memory.on_wait = [&](waiting, u64) { (void)t.model.step(); };
    REQUIRE(start(t.d, t.m));
    REQUIRE(t.m.memory.live() == 0);
    REQUIRE(*t.d->inflate(300, pages_from{0}) == 300);
    REQUIRE(t.model.pages().size() == 300);
  }
  CHECK(worked > 5000);
}
