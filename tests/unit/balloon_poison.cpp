// SPDX-License-Identifier: MIT
// Page poison: programs that depend on the contents of free pages, and hosts with and without PAGE_POISON.
#include <catch2/generators/catch_generators.hpp>

#include "balloon.hpp"

using namespace virtio;
using rig::balloon_model;
using rig::free_pages;
using rig::pages_from;
using offers = rig::balloon_offers;

namespace {

constexpr u32 word = 0xa5b6c7d8;
constexpr balloon::poison held{word, free_pages::page};
using driver = rig::balloon_in_place<>;

}  // namespace

TEST_CASE(
    "balloon: pages that the host returns contain the program's poison, and the host has the poison before the first page "
    "[BALLOON-02][BALLOON-34][BALLOON-35][BALLOON-36]",
    "[balloon]") {
  rig::machine m;
  const bool known = GENERATE(false, true);  // without PAGE_POISON the driver writes the same pages
  auto& model =
      known ? m.add<balloon_model>(seat::modern, 4, offers{0, 4}) : m.add<balloon_model>(seat::modern, 4, offers{0});
  driver d;
  REQUIRE(d.start(m, {}, held));
  CHECK(d->features().has(balloon::feature::page_poison) == known);
  if (known) CHECK(model.poison() == word);
  free_pages::fill(0x11);
  model.want(free_pages::count);
  REQUIRE(*d->inflate(free_pages::count, pages_from{free_pages::first}) == free_pages::count);
  model.want(0);
  free_pages::fill(0x22);  // written by the host
  bool waited = false;
  m.memory.on_wait = [&](waiting, u64) {
    // Not written before the host has used the request.
    if (!waited) CHECK(free_pages::all_are(0, free_pages::count, 0x22222222));
    waited = true;
    (void)model.step();
  };
  REQUIRE(*d->deflate(3, pages_from{free_pages::first + 5}) == 3);
  CHECK(waited);
  CHECK(free_pages::all_are(5, 3, word));
  CHECK(free_pages::all_are(0, 5, 0x22222222));  // still in the balloon
  CHECK(free_pages::all_are(8, free_pages::count - 8, 0x22222222));
  if (known) CHECK(model.poison() == word);
  REQUIRE(d->reset());
  d->initialize(free_pages::stretch(20, 2));  // a page that the reset returned
  CHECK(free_pages::all_are(20, 2, word));
  CHECK(m.objections().empty());
}

TEST_CASE("balloon: the legacy interface has the poison, too, before DRIVER_OK [BALLOON-35][BALLOON-36]",
          "[balloon][legacy]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(GENERATE(seat::legacy, seat::transitional), 4, offers{0, 4});
  rig::balloon_driver<rig::legacy_queue> d;
  REQUIRE(d->start(m.platform(), m.where(4), d.storage(), {}, {}, held));
  CHECK(model.poison() == word);
  REQUIRE(d->inflate(4, pages_from{1}));
  CHECK(m.objections().empty());
}

TEST_CASE("balloon: without a poison no page is written, and the host receives no poison [BALLOON-02][BALLOON-37]",
          "[balloon]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 4, 5});
  driver d;
  REQUIRE(d.start(m));
  CHECK_FALSE(d->features().has(balloon::feature::page_poison));
  CHECK_FALSE(model.poison());
  REQUIRE(d->inflate(4, pages_from{free_pages::first}));
  free_pages::fill(0x22);
  REQUIRE(*d->deflate(4, pages_from{free_pages::first}) == 4);
  CHECK(free_pages::all_are(0, 4, 0x22222222));
  REQUIRE(d->report_free(free_pages::stretch(8, 2)));
  CHECK(free_pages::all_are(8, 2, 0xeeeeeeee));  // as the host left it
  d->initialize(free_pages::stretch(8, 1));
  CHECK(free_pages::all_are(8, 1, 0));
  CHECK(m.objections().empty());
}

TEST_CASE(
    "balloon: free memory is reported with its poison in it, and not reported to a host without PAGE_POISON "
    "[BALLOON-03][BALLOON-38]",
    "[balloon]") {
  rig::machine m;
  const bool known = GENERATE(false, true);
  auto& model = known ? m.add<balloon_model>(seat::modern, 4, offers{0, 4, 5})
                      : m.add<balloon_model>(seat::modern, 4, offers{0, 5});
  model.in_place = true;
  driver d;
  REQUIRE(d.start(m, {}, held));
  free_pages::fill(0x33);
  const auto told = d->report_free(free_pages::stretch(10, 20));
  CHECK(d->features().has(balloon::feature::page_reporting) == known);
  CHECK(told.error() == (known ? errc::ok : errc::unsupported));
  CHECK(free_pages::all_are(10, 20, known ? word : 0x33333333));
  CHECK(model.reported() == (known ? 20 * balloon::page_bytes : 0));
  CHECK(m.objections().empty());
}

TEST_CASE(
    "balloon: a configuration that ends before the poison is reported as unreadable, and the device has no memory",
    "[balloon]") {
  rig::machine m;
  auto& model = m.add<balloon_model>(seat::modern, 4, offers{0, 4});
  auto& f = m.function(4);
  f.poke(f.capability(0x09, 4) + 12u, 8, 4);
  f.attach(model);
  driver d;
  CHECK(d.start(m, {}, held).error() == errc::out_of_range);
  CHECK(d->why().why == verdict::config_unreadable);
  CHECK(model.status() == 0);
}
