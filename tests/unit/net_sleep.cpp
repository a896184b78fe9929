// SPDX-License-Identifier: MIT
// A network device on a platform that sleeps until an interrupt: no sleep begins that nothing will end, whatever
// arrives and when.
#include <catch2/generators/catch_generators.hpp>

#include "asleep.hpp"
#include "net.hpp"

using namespace virtio;
using rig::frame_of;
using rig::net_model;

namespace {

constexpr net::options few{.mtu = 200, .receive_buffers = 4, .receive_bytes = 150, .send_buffers = 2};
using sleeping_card = rig::driver<net::device<rig::sleeper, rig::any_pci, split_queue<4>, few>>;

struct deed {
  enum what { frame, runt, half, other_half, sent, link_down, link_up };
};

struct asleep : rig::asleep<asleep> {
  net_model& model = m.add<net_model>(rig::seat::modern, 4, rig::net_offers{5, 15, 16, 29}, u16{4});
  sleeping_card d{};

  asleep() {
    REQUIRE(d->start({{&m.memory}}, m.where(4), d.storage()));
    (void)model.step();
    begin();
  }

  void happen(int what) {
    switch (what) {
      case deed::frame: model.arrive(frame_of(60)); break;
      case deed::runt: model.arrive(frame_of(5)); break;
      case deed::half:
        model.hold();
        model.arrive(frame_of(200));
        model.complete(0);
        model.release();
        break;
      case deed::other_half: model.complete_all(); break;
      case deed::sent:
        model.listens = true;
        (void)model.serve(1);
        break;
      case deed::link_down: model.set_link(false); break;
      default: model.set_link(true);
    }
  }
};

constexpr u32 most_moments = 50;

}  // namespace

TEST_CASE("net: a frame ends the sleep, whatever arrives before it, even a dropped frame or half of one",
          "[net][net-interrupt]") {
  const auto first = GENERATE(deed::runt, deed::half, deed::sent, deed::link_down);
  for (u32 early = 1; early < most_moments; ++early)
    for (u32 late = early; late < most_moments; late += 3) {
      asleep a;
      CAPTURE(first, early, late);
      a.model.listens = false;
      REQUIRE(rig::send(a.d, frame_of(60)));
      const auto last = first == deed::half ? deed::other_half : deed::frame;
      bool came = false;
      const auto done = [&] {
        return came = came || a.d->receive_with([](const net::frame&) { return net::after_look::done; }).has_value();
      };
      a.during({{early, first}, {late, last}}, [&] { CHECK(a.d->wait_until(waiting::peer, done) == errc::ok); });
      if (a.for_ever) return;
    }
}

TEST_CASE("net: room to send ends the sleep, whatever arrives before it, even a frame that stays in the queue",
          "[net][net-interrupt]") {
  const auto first = GENERATE(deed::runt, deed::half, deed::frame);
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
      a.during({{early, first}, {late, deed::sent}}, [&] { CHECK(a.d->wait_until(waiting::peer, done) == errc::ok); });
      if (a.for_ever) return;
    }
}

TEST_CASE("net: a change of the link ends the sleep, whatever arrives before it", "[net][net-interrupt]") {
  const auto first = GENERATE(deed::runt, deed::frame, deed::sent);
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
      a.during({{early, first}, {late, deed::link_down}},
               [&] { CHECK(a.d->wait_until(waiting::peer, done) == errc::ok); });
      if (a.for_ever) return;
    }
}
