// SPDX-License-Identifier: MIT
// Free page hinting: the start and the end of a round, and the owner of the memory.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "balloon.hpp"

using namespace virtio;
using balloon::hinting;
using rig::balloon_model;
using rig::free_pages;
using offers = rig::balloon_offers;
using commands = std::vector<u32>;

namespace {

// Names the free pages in stretches of `size` pages, until `left` is 0.
struct stretches {
  u32 left;
  u32 size = 4;
  u32 next = 0;
  bool operator()(bytes& out) {
    if (left == 0) return false;
    --left;
    out = free_pages::stretch(next, size);
    next += size;
    return true;
  }
};

constexpr u32 page = balloon::page_bytes;

struct started {
  rig::machine m{};
  balloon_model& model = m.add<balloon_model>(seat::modern, 4, offers{0, 1, 3, 5});
  rig::balloon_in_place<> d{};

  started() {
    REQUIRE(d.start(m));
    free_pages::fill(0x11);
  }
  auto* operator->() { return &*d; }
};

}  // namespace

TEST_CASE(
    "balloon hints: a round has the command id, the memory, and an end, and DONE returns all memory "
    "[BALLOON-24][BALLOON-25][BALLOON-27][BALLOON-29][BALLOON-31][BALLOON-33]",
    "[balloon]") {
  started s;
  s.model.hides_round = GENERATE(false, true);
  CHECK(*s->hints() == hinting::idle);
  CHECK(*s->hint(stretches{3}) == 0);  // the host has not opened a round
  s.model.open_round();
  const u32 round = s.model.round();
  CHECK(*s->hints() == hinting::wanted);
  CHECK(*s->hint(stretches{3}) == 3);
  CHECK(s.model.commands() == commands{round, 0});
  CHECK(s.model.hinted() == 12 * page);
  CHECK(free_pages::all_are(0, 12, 0xdddddddd));  // as the host left it: the driver restores nothing
  CHECK(free_pages::all_are(12, 8, 0x11111111));
  CHECK(*s->hints() == hinting::kept);
  s.model.finish_rounds();
  CHECK(*s->hints() == hinting::done);
  CHECK(*s->hints() == hinting::idle);  // `done` was returned before
  CHECK(s.m.objections().empty());
}

TEST_CASE("balloon hints: a round is begun once, and the next one after the host opens it [BALLOON-26]", "[balloon]") {
  started s;
  s.model.open_round();
  const u32 first = s.model.round();
  REQUIRE(*s->hint(stretches{1}) == 1);
  CHECK(*s->hints() == hinting::kept);
  CHECK(*s->hint(stretches{1}) == 0);
  s.model.stop_round();
  CHECK(*s->hints() == hinting::kept);
  s.model.open_round();
  const u32 second = s.model.round();
  CHECK(*s->hints() == hinting::wanted);
  REQUIRE(*s->hint(stretches{2, 4, 4}) == 2);
  CHECK(s.model.commands() == commands{first, 0, second, 0});
  CHECK(s.m.objections().empty());
}

TEST_CASE("balloon hints: no stretch is sent after the host has ended the round [BALLOON-28]", "[balloon]") {
  started s;
  const int end = GENERATE(0, 1, 2);
  s.model.hides_round = GENERATE(false, true);
  int given = 0;
  s.model.on_hint = [&] {
    if (++given != 2) return;
    if (end == 0) s.model.stop_round();
    if (end == 1) s.model.finish_rounds();
    if (end == 2) s.model.open_round();
  };
  s.model.open_round();
  const u32 round = s.model.round();
  CHECK(*s->hint(stretches{10}) == 2);
  CHECK(s.model.hinted_late() == 0);
  CHECK(s.model.commands() == commands{round, 0});
  CHECK(*s->hints() == (end == 0 ? hinting::kept : end == 1 ? hinting::done : hinting::wanted));
  CHECK(s.m.objections().empty());
}

TEST_CASE(
    "balloon hints: without generations, DONE and the next round end a round, and STOP if the field had the round "
    "[BALLOON-28]",
    "[balloon][legacy]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::legacy, 4, offers{0, 3});
  rig::balloon_driver<rig::legacy_queue> d;
  REQUIRE(start(d, m));
  const int end = GENERATE(0, 1, 2);
  model.hides_round = GENERATE(false, true);
  int given = 0;
  model.on_hint = [&] {
    if (++given != 2) return;
    if (end == 0) model.stop_round();
    if (end == 1) model.finish_rounds();
    if (end == 2) model.open_round();
  };
  model.open_round();
  const bool seen = end != 0 || !model.hides_round;  // QEMU's STOP is already the field's value; it ignores late hints
  CHECK(*d->hint(stretches{10}) == (seen ? 2 : 10));
  CHECK((model.hinted_late() == 0) == seen);
  CHECK(m.objections().empty());
}

TEST_CASE("balloon hints: another change of the configuration does not end a round", "[balloon]") {
  started s;
  s.model.on_hint = [&] { s.model.want(5); };
  s.model.open_round();
  CHECK(*s->hint(stretches{5}) == 5);
  CHECK(*s->target() == 5);
  CHECK(s.m.objections().empty());
}

TEST_CASE(
    "balloon hints: memory that is needed before DONE is written completely, with the poison if there is one "
    "[BALLOON-30][BALLOON-32]",
    "[balloon]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 3, 4});
  const bool poisoned = GENERATE(false, true);
  rig::balloon_in_place<> d;
  REQUIRE(d.start(m, {}, {0x12345678, poisoned ? free_pages::page : nullptr}));
  free_pages::fill(0x11);
  model.open_round();
  REQUIRE(*d->hint(stretches{2}) == 2);
  d->initialize(free_pages::stretch(2, 1));
  CHECK(free_pages::all_are(2, 1, poisoned ? 0x12345678 : 0));
  CHECK(free_pages::all_are(3, 5, 0xdddddddd));
  CHECK(*d->hints() == hinting::kept);
  u8 odd[7] = {9, 9, 9, 9, 9, 9, 9};
  d->initialize({odd, 6});
  CHECK(odd[5] == (!poisoned ? 0 : native_order == byte_order::little ? 0x56 : 0x34));
  CHECK(odd[6] == 9);
}

TEST_CASE("balloon hints: a stretch with too many pieces is rejected, and the round is ended", "[balloon]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 3});
  rig::balloon_driver<> d;
  REQUIRE(start(d, m));
  m.memory.largest_piece = page;
  model.open_round();
  const u32 round = model.round();
  CHECK(*d->hint(stretches{2}) == 2);  // four pieces each
  model.open_round();
  CHECK(d->hint(stretches{2, 5}).error() == errc::too_many_pieces);
  CHECK(model.commands() == commands{round, 0, round + 1, 0});
  CHECK(*d->hints() == hinting::kept);
  model.open_round();
  CHECK(d->hint([](bytes& out) { return out = bytes{}, true; }).error() == errc::invalid_argument);
  CHECK(model.commands().back() == 0);
  CHECK(m.objections().empty());
}

TEST_CASE("balloon hints: a device that stops answering is reset, and keeps no memory", "[balloon][hostile]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 3});
  rig::balloon_driver<> d;
  REQUIRE(start(d, m));
  model.open_round();
  REQUIRE(*d->hint(stretches{1}) == 1);
  model.open_round();
  const u32 when = GENERATE(0u, 1u, 3u);  // at the command id, at memory, later
  u32 taken = 0;
  m.memory.on_wait = [&](waiting, u64) {
    if (taken == when) model.hold();
    taken += static_cast<u32>(model.step());
  };
  CHECK(d->hint(stretches{6}).error() == errc::timed_out);
  CHECK(model.status() == 0);
  CHECK(m.memory.live() == 0);
  CHECK(d->hints().error() == errc::not_started);
  CHECK(d->hint(stretches{1}).error() == errc::not_started);
  model.release();
  model.stop_round();
  m.memory.on_wait = [&](waiting, u64) { (void)model.step(); };
  REQUIRE(start(d, m));
  CHECK(*d->hints() == hinting::idle);  // the reset returned everything
  CHECK(m.objections().empty());
}

TEST_CASE(
    "balloon hints: a device that does not reset ends the call with device_broken, and its memory stays mapped until a reset",
    "[balloon][hostile]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 3, 5});
  rig::balloon_driver<> d;
  REQUIRE(start(d, m));
  model.open_round();
  model.on_hint = [&] { model.hold(); };
  model.reset_reads = rig::device_model::forever;
  const bool hints = GENERATE(false, true);
  if (!hints) model.hold();
  CHECK((hints ? d->hint(stretches{6}).error() : d->report_free(free_pages::stretch(0, 3)).error()) ==
        errc::device_broken);
  CHECK(m.memory.live() == 1);
  CHECK(d->report_free(free_pages::stretch(5, 3)).error() == errc::not_started);
  CHECK(m.memory.live() == 1);
  model.reset_reads = 0;
  if (GENERATE(false, true)) REQUIRE(d->reset());
  else REQUIRE(start(d, m));
  CHECK(m.memory.live() == 0);
  CHECK(m.objections().empty());
}

TEST_CASE("balloon hints: without FREE_PAGE_HINT the calls return unsupported", "[balloon]") {
  rig::machine m;
  m.add<balloon_model>(seat::modern, 4, offers{0, 5});
  rig::balloon_driver<> d;
  CHECK(d->hints().error() == errc::not_started);
  REQUIRE(start(d, m));
  CHECK(d->hints().error() == errc::unsupported);
  CHECK(d->hint(stretches{1}).error() == errc::unsupported);
}

TEMPLATE_TEST_CASE("balloon hints: every ring format works", "[balloon]", split_queue<4>, packed_queue<8>) {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 1, 3, 5, 34});
  rig::balloon_driver<TestType> d;
  REQUIRE(start(d, m, rig::two_samples));
  m.memory.largest_piece = page;
  for (int round = 0; round < 5; ++round) {
    model.open_round();
    CHECK(*d->hint(stretches{16}) == 16);
  }
  CHECK(model.hinted() == 5 * 64 * page);
  model.finish_rounds();
  CHECK(*d->hints() == hinting::done);
  CHECK(m.objections().empty());
}
