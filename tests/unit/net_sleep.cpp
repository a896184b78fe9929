// SPDX-License-Identifier: MIT
// A network device on a platform that sleeps until an interrupt: whatever comes, and whenever, no sleep begins that nothing will end.
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>

#include <virtio/testing/hooked_barriers.hpp>

#include "net.hpp"

using namespace virtio;
using rig::frame_of;
using rig::net_model;

namespace {

struct sleeper : virtio::testing::strict_platform<virtio::testing::hooked_barriers> {
  static constexpr bool sleeps = true;
};

constexpr net::options few{.mtu = 200, .receive_buffers = 4, .receive_bytes = 150, .send_buffers = 2};
using sleeping_card = rig::driver<net::device<sleeper, rig::any_pci, split_queue<4>, few>>;

/// What a device does at the n-th moment of a wait: a moment is each access to memory that is shared, each fence and each sleep.
struct happening {
  u32 moment;
  enum what { frame, runt, half, other_half, sent, link_down, link_up } what;
};

struct asleep {
  rig::machine m{};
  net_model& model = m.add<net_model>(rig::seat::modern, 4, rig::net_offers{5, 15, 16, 29}, u16{4});
  sleeping_card d{};
  std::vector<happening> script{};
  u32 moments = 0, woken_by = 0;
  bool in_device = false, for_ever = false;

  asleep() {
    REQUIRE(d->start({{&m.memory}}, m.where(4), d.storage()));
    (void)model.step();
    m.memory.on_wait = [this](waiting why, u64) {
      if (why != waiting::reset) sleep();
    };
  }
  ~asleep() { barrier_hooks::clear(); }

  void happen(int what) {
    in_device = true;
    switch (what) {
      case happening::frame: model.arrive(frame_of(60)); break;
      case happening::runt: model.arrive(frame_of(5)); break;
      case happening::half:
        model.hold();
        model.arrive(frame_of(200));
        model.complete(0);
        model.release();
        break;
      case happening::other_half: model.complete_all(); break;
      case happening::sent:
        model.listens = true;
        (void)model.serve(1);
        break;
      case happening::link_down: model.set_link(false); break;
      default: model.set_link(true);
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

constexpr u32 most_moments = 50;

}  // namespace

TEST_CASE("net: whatever comes before a frame, be it one that is dropped or half of one, the frame ends the sleep", "[net][net-interrupt]") {
  const auto first = GENERATE(happening::runt, happening::half, happening::sent, happening::link_down);
  for (u32 early = 1; early < most_moments; ++early)
    for (u32 late = early; late < most_moments; late += 3) {
      asleep a;
      CAPTURE(first, early, late);
      a.model.listens = false;
      REQUIRE(rig::send(a.d, frame_of(60)));
      const auto last = first == happening::half ? happening::other_half : happening::frame;
      bool came = false;
      const auto done = [&] {
        return came = came || a.d->receive_with([](const net::frame&) { return net::after_look::done; }).has_value();
      };
      a.during({{early, first}, {late, last}}, [&] { CHECK(a.d->wait_until(waiting::peer, done) == errc::ok); });
      if (a.for_ever) return;
    }
}

TEST_CASE("net: whatever comes before room to send, be it a frame that stays where it is, the room ends the sleep", "[net][net-interrupt]") {
  const auto first = GENERATE(happening::runt, happening::half, happening::frame);
  for (u32 early = 1; early < most_moments; ++early)
    for (u32 late = early; late < most_moments; late += 3) {
      asleep a;
      CAPTURE(first, early, late);
      a.model.listens = false;
      const std::vector<u8> data = frame_of(60);
      const const_bytes one[] = {{data.data(), data.size()}};
      REQUIRE(a.d->try_send(one));
      REQUIRE(a.d->try_send(one));
      a.d->flush();
      const auto done = [&] { return a.d->try_send(one).has_value(); };
      a.during({{early, first}, {late, happening::sent}}, [&] { CHECK(a.d->wait_until(waiting::peer, done) == errc::ok); });
      if (a.for_ever) return;
    }
}

TEST_CASE("net: whatever comes before a change of the link, the change ends the sleep", "[net][net-interrupt]") {
  const auto first = GENERATE(happening::runt, happening::frame, happening::sent);
  const bool line = GENERATE(false, true);
  for (u32 early = 1; early < most_moments; early += 2)
    for (u32 late = early; late < most_moments; late += 3) {
      asleep a;
      CAPTURE(first, line, early, late);
      const auto done = [&] {
        if (line) (void)a.d->acknowledge_interrupt();
        (void)a.d->receive_with([](const net::frame&) { return net::after_look::done; });
        return a.d->state() == net::link_state::down;
      };
      a.during({{early, first}, {late, happening::link_down}}, [&] { CHECK(a.d->wait_until(waiting::peer, done) == errc::ok); });
      if (a.for_ever) return;
    }
}
