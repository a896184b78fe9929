// SPDX-License-Identifier: MIT
// The console on every host that has one.
#include <catch2/catch_test_macros.hpp>

#include "console.hpp"
#include "hosts.hpp"

using namespace virtio;
using rig::console_model;
using rig::letters;
using rig::on_each_host;

namespace {

template <class Board>
using console_on = rig::driver<
    console::device<rig::platform_type, typename Board::transport, rig::host_queue, rig::three_small_ports>>;

}  // namespace

TEST_CASE(
    "hosts: a console carries bytes both ways, with one port and with several [CONSOLE-01][CONSOLE-02][CONSOLE-03]",
    "[hosts][console]") {
  on_each_host(device_type::console, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    auto& model = m.template as<console_model>(device_type::console);
    console_on<board> d;
    const auto up = rig::bring_up(*d, m.platform(), m.where(device_type::console), d.storage());
    INFO(describe(d->why().why));
    REQUIRE(up);
    rig::settle(d, model);
    for (u16 port = 0; port < model.ports.size(); ++port) {
      CAPTURE(port);
      if (d->features().has(console::feature::multiport)) REQUIRE(d->open(port));
      rig::settle(d, model);
      CHECK(*d->send(text("hello"), port) == 5);
      REQUIRE(d->flush(port));
      CHECK(model.ports[port].heard == "hello");
      model.say(port, letters(40));
      CHECK(rig::received(d, port) == letters(40));
    }
    REQUIRE(d->hand_off());
  });
}
