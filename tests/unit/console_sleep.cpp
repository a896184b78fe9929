// SPDX-License-Identifier: MIT
// A console on a platform that sleeps until an interrupt: no sleep begins that nothing will end, whatever arrives and
// when.
#include <catch2/generators/catch_generators.hpp>

#include "asleep.hpp"
#include "console.hpp"

using namespace virtio;
using rig::console_model;

namespace {

constexpr console::limits two_ports{.ports = 2, .receive_bytes = 16, .send_bytes = 16, .name_bytes = 8};
using sleeping_console = rig::driver<console::device<rig::sleeper, rig::any_pci, split_queue<4>, two_ports>>;

struct deed {
  enum what { byte_for_0, nothing_for_0, byte_for_1, sent, told, message };
};

struct asleep : rig::asleep<asleep> {
  console_model& model = m.add<console_model>(rig::seat::modern, 4, rig::console_offers{1, 29}, usize{2}, u16{4});
  sleeping_console d{};

  asleep() {
    REQUIRE(d->start({{&m.memory}}, m.where(4), d.storage()));
    for (int i = 0; i < 3; ++i) {
      (void)model.step();
      REQUIRE(d->poll());
    }
    REQUIRE(d->open(0));
    REQUIRE(d->open(1));
    (void)model.step();
    REQUIRE(d->poll());
    begin();
  }

  void happen(int what) {
    switch (what) {
      case deed::byte_for_0: model.say(0, "x"); break;
      case deed::nothing_for_0:
        model.ports[0].piece = 0;
        model.ports[0].says.push_back('y');
        model.serve_one(0);
        model.ports[0].says.clear();
        model.ports[0].piece = ~std::size_t{0};
        break;
      case deed::byte_for_1: model.say(1, "x"); break;
      case deed::sent:
        model.ports[0].listens = true;
        (void)model.serve(1);
        break;
      case deed::told: (void)model.serve(3); break;
      case deed::message: model.control(1, console_model::port_open, 0); break;
      default: break;
    }
  }
};

constexpr u32 most_moments = 60;

}  // namespace

TEST_CASE("console: a byte ends the sleep, whatever arrives before it, even an empty buffer",
          "[console][console-interrupt]") {
  const auto first = GENERATE(deed::nothing_for_0, deed::byte_for_1, deed::sent, deed::told, deed::message);
  for (u32 early = 1; early < most_moments; early += 2)
    for (u32 late = early; late < most_moments; late += 5) {
      asleep a;
      CAPTURE(first, early, late);
      a.model.ports[0].listens = false;
      REQUIRE(a.d->try_send(text("x")));
      REQUIRE(a.d->open(1));
      char byte[1];
      a.during({{early, first}, {late, deed::byte_for_0}}, [&] { CHECK(*a.d->receive(bytes{byte, 1}) == 1); });
      if (a.for_ever) return;
    }
}

TEST_CASE("console: room to send ends the sleep, whatever arrives before it", "[console]") {
  const auto first = GENERATE(deed::nothing_for_0, deed::byte_for_0, deed::byte_for_1, deed::message);
  for (u32 early = 1; early < most_moments; early += 2)
    for (u32 late = early; late < most_moments; late += 5) {
      asleep a;
      CAPTURE(first, early, late);
      a.model.ports[0].listens = false;
      REQUIRE(a.d->try_send(const_bytes(rig::letters(64).data(), 64)));
      a.during({{early, first}, {late, deed::sent}}, [&] { CHECK(*a.d->send(text("x")) == 1); });
      if (a.for_ever) return;
    }
}
