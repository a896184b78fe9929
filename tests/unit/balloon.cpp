// SPDX-License-Identifier: MIT
// The balloon: its pages, the reports to the host, and the numbers of its queues.
#include <catch2/generators/catch_generators.hpp>

#include "balloon.hpp"

using namespace virtio;
using rig::balloon_driver;
using rig::balloon_model;
using rig::pages_from;
using rig::start;
using balloon::statistic;
using offers = rig::balloon_offers;

namespace {

constexpr auto& two = rig::two_samples;

}  // namespace

TEST_CASE(
    "balloon: pages go in and come out, and the host receives their number "
    "[BALLOON-04][BALLOON-05][BALLOON-09][BALLOON-14][BALLOON-15][BALLOONL-01][BALLOONL-02][BALLOONL-03]",
    "[balloon]") {
  rig::machine m;
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy);
  auto& model = m.add<balloon_model>(where, 4, offers{0, 1});
  balloon_driver<rig::legacy_queue> d;
  REQUIRE(start(d, m));
  model.want(1000);
  CHECK(*d->target() == 1000);
  const auto in = d->follow(pages_from{5000}, pages_from{0, 0});
  REQUIRE(in);
  CHECK(*in == 1000);
  CHECK(model.pages().size() == 1000);
  CHECK(model.actual() == 1000);
  CHECK(model.largest_request() == 256);
  model.want(300);
  REQUIRE(d->follow(pages_from{0, 0}, pages_from{5100}));
  CHECK(model.pages().size() == 300);
  CHECK(model.pages().count(5100) == 0);
  CHECK(model.actual() == 300);
  CHECK(*d->follow(pages_from{0, 0}, pages_from{0, 0}) == 300);  // nothing to do
  CHECK(m.objections().empty());
}

TEST_CASE("balloon: the program may have fewer pages than the host requests [BALLOON-06]", "[balloon]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0});
  balloon_driver<> d;
  REQUIRE(start(d, m));
  model.want(0xffffffff);
  CHECK(*d->follow(pages_from{1, 301}, pages_from{0, 0}) == 300);
  CHECK(model.actual() == 300);
  CHECK(*d->inflate(10, pages_from{0, 0}) == 0);
}

TEST_CASE(
    "balloon: pages are taken out down to the host's target, unless DEFLATE_ON_OOM allows more [BALLOON-07][BALLOON-08]",
    "[balloon]") {
  rig::machine m;
  const bool oom = GENERATE(false, true);
  auto& model = m.add<balloon_model>(seat::modern, 4, oom ? offers{0, 2} : offers{0});
  balloon_driver<> d;
  REQUIRE(start(d, m));
  model.want(100);
  REQUIRE(d->follow(pages_from{0}, pages_from{0, 0}));
  const auto back = d->deflate(50, pages_from{0});
  if (oom) CHECK(*back == 50);
  else CHECK(back.error() == errc::out_of_range);
  CHECK(model.actual() == (oom ? 50 : 100));
  if (!oom) {
    model.want(90);
    CHECK(*d->deflate(50, pages_from{0}) == 10);
  }
  CHECK(m.objections().empty());
}

TEST_CASE("balloon: the number of pages is written at each start, and a reset empties the balloon", "[balloon]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0});
  model.put_config(4, 77, 4);
  balloon_driver<> d;
  REQUIRE(start(d, m));
  CHECK(model.actual() == 0);
  REQUIRE(d->inflate(10, pages_from{0}));
  REQUIRE(d->reset());
  CHECK(d->actual() == 0);
  CHECK(d->inflate(1, pages_from{0}).error() == errc::not_started);
  CHECK(d->target().error() == errc::not_started);
  REQUIRE(start(d, m));
  CHECK(model.actual() == 0);
  REQUIRE(d->hand_off());
  CHECK(m.objections().empty());
}

TEST_CASE(
    "balloon: statistics are staged before the device is live, and sent at each request of the host "
    "[BALLOON-16][BALLOON-17][BALLOON-18][BALLOON-19][BALLOON-21][BALLOON-22][BALLOON-23][BALLOONL-04]",
    "[balloon]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(GENERATE(seat::modern, seat::legacy), 4, offers{0, 1});
  balloon_driver<rig::legacy_queue> d;
  REQUIRE(start(d, m, two));
  CHECK_FALSE(*d->answer_statistics(two));  // not requested
  model.ask();
  (void)model.step();
  CHECK(model.statistics().at(5) == 1 << 30);
  const balloon::sample later[] = {{statistic::total_memory, 1 << 30}, {statistic::free_memory, 4096}};
  CHECK(*d->answer_statistics(later));
  CHECK_FALSE(*d->answer_statistics(later));
  model.ask();
  (void)model.step();
  CHECK(model.statistics().at(4) == 4096);
  CHECK(model.statistics().size() == 2);

  const balloon::sample fewer[] = {{statistic::total_memory, 1}};
  CHECK(d->answer_statistics(fewer).error() == errc::invalid_argument);
  const balloon::sample others[] = {{statistic::total_memory, 1}, {statistic::disk_caches, 1}};
  CHECK(d->answer_statistics(others).error() == errc::invalid_argument);
  CHECK(m.objections().empty());
}

TEST_CASE("balloon: a request for statistics during an inflation is kept for later", "[balloon]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 1});
  balloon_driver<> d;
  REQUIRE(start(d, m, two));
  model.ask();
  REQUIRE(d->inflate(600, pages_from{0}));
  CHECK(*d->answer_statistics(two));
  CHECK(m.objections().empty());
}

TEST_CASE(
    "balloon: optional queues are numbered by the offered features, accepted or not "
    "[BALLOON-01][BALLOON-02][BALLOON-39][BALLOON-40]",
    "[balloon]") {
  rig::machine m;
  const bool hints = GENERATE(false, true), wants_statistics = GENERATE(false, true),
             offers_statistics = GENERATE(false, true);
  auto& model = !hints && !offers_statistics ? m.add<balloon_model>(seat::modern, 4, offers{0, 5})
                : !hints                     ? m.add<balloon_model>(seat::modern, 4, offers{0, 1, 5})
                : !offers_statistics         ? m.add<balloon_model>(seat::modern, 4, offers{0, 3, 5})
                                             : m.add<balloon_model>(seat::modern, 4, offers{0, 1, 3, 4, 5});
  balloon_driver<> d;
  REQUIRE(start(d, m, wants_statistics ? balloon::samples{two} : balloon::samples{}));
  std::vector<u8> free_memory(4096, 1);
  REQUIRE(d->report_free(free_memory));
  CHECK(model.reported() == 4096);
  CHECK(d->features().has(balloon::feature::stats_vq) == (wants_statistics && offers_statistics));
  CHECK(d->features().has(balloon::feature::must_tell_host));
  CHECK(d->features().has(balloon::feature::free_page_hint) == hints);
  CHECK_FALSE(d->features().has(balloon::feature::page_poison));
  CHECK(bool{d->answer_statistics(two)} == (wants_statistics && offers_statistics));
  CHECK(m.objections().empty());
}

TEST_CASE("balloon: calls without their feature return unsupported", "[balloon]") {
  rig::machine m;
  m.add<balloon_model>(seat::modern, 4, offers{});
  balloon_driver<> d;
  REQUIRE(start(d, m, two));
  std::vector<u8> page(4096);
  CHECK(d->report_free(page).error() == errc::unsupported);
  CHECK(d->answer_statistics(two).error() == errc::unsupported);
  CHECK(*d->inflate(3, pages_from{7}) == 3);
  balloon::sample many[17]{};
  CHECK(start(d, m, many).error() == errc::invalid_argument);
}

TEST_CASE(
    "balloon: a device that does not answer or misbehaves is reset, which empties the balloon, and a later start succeeds "
    "[BALLOON-10][BALLOON-12][BALLOON-13]",
    "[balloon][hostile]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 1});
  balloon_driver<> d;
  REQUIRE(start(d, m));
  REQUIRE(d->inflate(5, pages_from{0}));
  SECTION("no answer") {
    model.hold();
    CHECK(d->inflate(5, pages_from{10}).error() == errc::timed_out);
    model.release();
  }
  SECTION("NEEDS_RESET") {
    model.hold();
    model.set_needs_reset();
    CHECK(d->inflate(5, pages_from{10}).error() == errc::needs_reset);
    model.release();
  }
  SECTION("an id that is not in flight") {
    model.ring(1).push(7, 0), model.ring(1).publish();
    CHECK(d->inflate(5, pages_from{10}).error() == errc::device_misbehaved);
  }
  CHECK(d->actual() == 0);
  CHECK(d->inflate(1, pages_from{0}).error() == errc::not_started);
  REQUIRE(start(d, m));
  CHECK(*d->inflate(5, pages_from{0}) == 5);
}

TEST_CASE("balloon: packed rings work", "[balloon][packed]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 1, 5, 34});
  balloon_driver<packed_queue<8>> d;
  REQUIRE(start(d, m, two));
  CHECK(*d->inflate(3000, pages_from{0}) == 3000);
  model.want(0);
  CHECK(*d->deflate(3000, pages_from{0}) == 3000);
  CHECK(model.pages().empty());
  CHECK(m.objections().empty());
}

TEST_CASE("balloon: if the host's target changes during a call, the next call follows it", "[balloon][hostile]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4);
  rig::balloon_driver<> d;
  REQUIRE(rig::start(d, m));
  REQUIRE(d->inflate(10, rig::pages_from{100}));
  u32 reads = 0;
  model.before_config_read = [&](std::uint32_t offset, std::uint32_t) {
    if (offset == 0) model.put_config(0, reads++ == 0 ? 4 : 12, 4);
  };
  rig::pages_from back{100};
  const auto now = d->follow(rig::pages_from{200}, back);
  REQUIRE(now);
  CHECK(*now == 10);
}

TEST_CASE("balloon: a start that fails leaves no page in the balloon", "[balloon]") {
  rig::machine m;
  m.add<balloon_model>(seat::modern, 4);
  rig::balloon_driver<> d;
  REQUIRE(rig::start(d, m));
  REQUIRE(d->inflate(5, rig::pages_from{10}));
  CHECK(d->actual() == 5);
  CHECK(d->start(m.platform(), m.where(4), {d.storage().data, 4096}).error() == errc::no_space);
  CHECK(d->actual() == 0);
}
