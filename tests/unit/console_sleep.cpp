// SPDX-License-Identifier: MIT
// A console on a platform that sleeps until an interrupt: whatever comes, and whenever, no sleep begins that nothing will end.
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>

#include "console.hpp"

using namespace virtio;
using rig::console_model;

namespace {

struct sleeper : virtio::testing::strict_platform<virtio::testing::hooked_barriers> {
  static constexpr bool sleeps = true;
};

constexpr console::limits two_ports{.ports = 2, .receive_bytes = 16, .send_bytes = 16, .name_bytes = 8};
using sleeping_console = rig::driver<console::device<sleeper, rig::any_pci, split_queue<4>, two_ports>>;

/// What a device does at the n-th moment of a wait: a moment is each access to memory that is shared, each fence and each sleep.
struct happening {
  u32 moment;
  enum what { byte_for_0, nothing_for_0, byte_for_1, sent, told, message } what;
};

struct asleep {
  rig::machine m{};
  console_model& model = m.add<console_model>(rig::seat::modern, 4, rig::console_offers{1, 29}, usize{2}, u16{4});
  sleeping_console d{};
  std::vector<happening> script{};
  u32 moments = 0, woken_by = 0;
  bool in_device = false, for_ever = false;

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
    m.memory.on_wait = [this](waiting why, u64) {
      if (why != waiting::reset) sleep();
    };
  }
  ~asleep() { barrier_hooks::clear(); }

  void happen(int what) {
    in_device = true;
    switch (what) {
      case happening::byte_for_0: model.say(0, "x"); break;
      case happening::nothing_for_0:
        model.ports[0].piece = 0;
        model.ports[0].says.push_back('y');
        model.serve_one(0);
        model.ports[0].says.clear();
        model.ports[0].piece = ~std::size_t{0};
        break;
      case happening::byte_for_1: model.say(1, "x"); break;
      case happening::sent:
        model.ports[0].listens = true;
        (void)model.serve(1);
        break;
      case happening::told: (void)model.serve(3); break;
      case happening::message: model.control(1, console_model::port_open, 0); break;
      default: break;
    }
    in_device = false;
  }
  void moment() {
    if (in_device) return;
    ++moments;
    while (!script.empty() && script.front().moment <= moments) {
      const int what = script.front().what;
      script.erase(script.begin());
      happen(what);
    }
  }
  // As `sti; hlt`: an interrupt that came since the last one ended a sleep ends this one at once.
  void sleep() {
    moment();
    while (model.interrupts() == woken_by && !script.empty()) {
      const int what = script.front().what;
      script.erase(script.begin());
      happen(what);
    }
    for_ever = for_ever || model.interrupts() == woken_by;
    woken_by = model.interrupts();
  }
  template <class Wait>
  void during(std::vector<happening> happens, Wait&& wait) {
    script = std::move(happens);
    moments = 0;
    auto& hooks = barrier_hooks::mine();
    hooks.before_load = hooks.after_load = hooks.before_store = hooks.after_store = [this](const volatile void*, usize) { moment(); };
    hooks.before_full = [this] { moment(); };
    wait();
    barrier_hooks::clear();
    CHECK_FALSE(for_ever);
  }
};

constexpr u32 most_moments = 60;

}  // namespace

TEST_CASE("console: whatever comes before a byte, be it a buffer without one, the byte ends the sleep", "[console][console-interrupt]") {
  const auto first = GENERATE(happening::nothing_for_0, happening::byte_for_1, happening::sent, happening::told, happening::message);
  for (u32 early = 1; early < most_moments; early += 2)
    for (u32 late = early; late < most_moments; late += 5) {
      asleep a;
      CAPTURE(first, early, late);
      a.model.ports[0].listens = false;
      REQUIRE(a.d->try_send(text("x")));
      REQUIRE(a.d->open(1));
      char byte[1];
      a.during({{early, first}, {late, happening::byte_for_0}}, [&] { CHECK(*a.d->receive(bytes{byte, 1}) == 1); });
      if (a.for_ever) return;
    }
}

TEST_CASE("console: whatever comes before room to send, the room ends the sleep", "[console]") {
  const auto first = GENERATE(happening::nothing_for_0, happening::byte_for_0, happening::byte_for_1, happening::message);
  for (u32 early = 1; early < most_moments; early += 2)
    for (u32 late = early; late < most_moments; late += 5) {
      asleep a;
      CAPTURE(first, early, late);
      a.model.ports[0].listens = false;
      REQUIRE(a.d->try_send(const_bytes(rig::letters(64).data(), 64)));
      a.during({{early, first}, {late, happening::sent}}, [&] { CHECK(*a.d->send(text("x")) == 1); });
      if (a.for_ever) return;
    }
}
