// SPDX-License-Identifier: MIT
// The balloon on every host that has one, and the numbers of its optional queues there.
#include <catch2/catch_test_macros.hpp>

#include "balloon.hpp"
#include "hosts.hpp"

using namespace virtio;
using rig::balloon_model;
using rig::on_each_host;
using rig::pages_from;

namespace {

template <class Board>
using balloon_on = rig::driver<balloon::device<rig::platform_type, typename Board::transport, rig::host_queue>>;

}  // namespace

TEST_CASE(
    "hosts: a balloon inflates and deflates, and reports what the host requests, on every queue by its number "
    "there "
    "[BALLOON-04][BALLOON-09][BALLOON-14]",
    "[hosts][balloon]") {
  on_each_host(device_type::balloon, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    auto& model = m.template as<balloon_model>(device_type::balloon);
    balloon_on<board> d;
    const auto up = d->start(m.platform(), m.where(device_type::balloon), d.storage(), {}, rig::two_samples);
    INFO(describe(d->why().why));
    REQUIRE(up);
    model.want(1000);
    REQUIRE(d->follow(pages_from{5000}, pages_from{0, 0}));
    CHECK(model.pages().size() == 1000);
    CHECK(model.actual() == 1000);
    model.want(300);
    REQUIRE(d->follow(pages_from{0, 0}, pages_from{5000}));
    CHECK(model.pages().size() == 300);
    if (model.offers(balloon_model::stats_vq)) {
      model.ask();
      (void)model.serve(2);
      CHECK(model.statistics().size() == 2);
    }
    alignas(4096) static u8 free_memory[2 * balloon::page_bytes];
    const auto told = d->report_free({free_memory, sizeof free_memory});
    CHECK(bool{told} == model.offers(balloon_model::page_reporting));
    if (told) CHECK(model.reported() == sizeof free_memory);
    REQUIRE(d->hand_off());
  });
}

TEST_CASE(
    "hosts: a program without statistics has the balloon's other queues, if offered features determine queue numbers",
    "[hosts][balloon][host-balloon-numbers][host-balloon-queues]") {
  on_each_host(device_type::balloon, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    if (m.host.balloon_numbers_by_choice) return;  // Alioth: statistics must be accepted with the others
    auto& model = m.template as<balloon_model>(device_type::balloon);
    balloon_on<board> d;
    REQUIRE(d->start(m.platform(), m.where(device_type::balloon), d.storage()));
    CHECK_FALSE(model.accepted(balloon_model::stats_vq));
    alignas(4096) static u8 free_memory[balloon::page_bytes];
    REQUIRE(d->report_free({free_memory, sizeof free_memory}));
    CHECK(model.reported() == sizeof free_memory);
    REQUIRE(d->hand_off());
  });
}
