// SPDX-License-Identifier: MIT
// Devices that lie to the console driver: rings, lengths, ports and messages that no honest device has. Every call
// ends, no memory but a buffer's is read, and after a reset everything works.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include <random>

#include "console.hpp"
#include "lies.hpp"

using namespace virtio;
using rig::console_driver;
using rig::console_model;
using rig::ports_driver;
using rig::settle;
using rig::with_ports;
using offers = rig::console_offers;

namespace {

template <class Driver>
errc call(Driver& d, int which, u16 port) {
  char some[20];
  switch (which) {
    case 0: return d->receive(bytes{some, sizeof some}, port).error();
    case 1: return d->send(text("twenty characters..."), port).error();
    case 2: return d->flush(port).error();
    case 3: return d->poll().error();
    case 4: return d->wait_until(waiting::request, [] { return false; });
    default: return d->receive_with([](const_bytes here) { return here.size() + 5; }, port).error();
  }
}

// That it is well.
template <class Driver>
void check_works(rig::machine& m, Driver& d, console_model& model) {
  model.falsify = nullptr;
  model.used_length.reset();
  for (auto& one : model.ports) {
    one.says.clear();
    one.heard.clear();
    one.listens = true;
    one.piece = ~std::size_t{0};
  }
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  CHECK(*d->find_named(text("agent.1")) == 1);
  CHECK(*d->send(text("well")) == 4);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == "well");
  model.say(0, "it is");
  CHECK(rig::received(d) == "it is");
}

}  // namespace

TEST_CASE(
    "hostile: a console's ring that lies takes the device down, in whatever call it is seen, and a start mends it",
    "[console][hostile]") {
  const u16 lying = GENERATE(u16{0}, u16{1}, u16{2}, u16{3}, u16{4}, u16{5});
  const int which = GENERATE(0, 1, 2), calling = GENERATE(0, 1, 2, 3, 4, 5);
  CAPTURE(lying, which, calling);
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  m.expect_objections = true;  // the device remembers other positions than it showed
  rig::lie(model.ring(lying), which, 0);
  (void)call(d, calling, 1);
  CHECK(call(d, 4, 1) != errc::ok);
  CHECK(model.status() == 0);
  CHECK(m.memory.live() == 0);
  CHECK(call(d, calling, 1) == errc::not_started);
  check_works(m, d, model);
}

TEMPLATE_TEST_CASE("hostile: random messages, lengths, bytes and pauses leave a console driver in one piece",
                   "[console][hostile]", split_queue<8>, packed_queue<8>) {
  const u32 seed = GENERATE(Catch::Generators::range(1u, 25u));
  CAPTURE(seed);
  std::mt19937 random{seed};
  const auto below = [&](u32 bound) { return static_cast<u32>(random() % bound); };
  rig::machine m;
  m.expect_objections = true;
  auto& model = m.add<console_model>(seat::modern, 4, offers{0, 1, 2, 29, 34}, usize{3}, u16{16});
  model.ports[0].is_console = true;
  model.ports[1].name = "agent.1";
  ports_driver<TestType> d;
  model.falsify = [&](u16, std::vector<u8>& data) {
    switch (below(8)) {
      case 0: data.resize(below(40)); break;
      case 1:
        if (!data.empty()) data[below(static_cast<u32>(data.size()))] = static_cast<u8>(random());
        break;
      case 2:
        for (u8& one : data) one = static_cast<u8>(random());
        break;
      default: break;
    }
  };
  for (u32 turn = 0; turn < 400; ++turn) {
    if (d->check().error() == errc::not_started) REQUIRE(d.start(m, m.where(4)));
    const u16 port = static_cast<u16>(below(4));  // one of them does not exist
    switch (below(16)) {
      case 0: model.control(below(5), below(10), below(3), std::string(below(30), 'n')); break;
      case 1: model.control(below(3), console_model::port_add); break;
      case 2:
        model.control(below(3), console_model::port_name, 1, std::string(below(30), static_cast<char>(random())));
        break;
      case 3: model.control(static_cast<u32>(random()), below(8), below(2)); break;
      case 4: model.say(below(3), rig::letters(below(60))); break;
      case 5: model.ports[below(3)].listens = below(2) != 0; break;
      case 6: model.ports[below(3)].piece = below(20); break;
      case 7:
        if (below(2) != 0) model.used_length = static_cast<u32>(random()) >> below(32);
        else model.used_length.reset();
        break;
      case 8: (void)d->open(port); break;
      case 9: (void)d->close(port); break;
      case 10: (void)(below(20) == 0 ? d->reset() : result<void>{}); break;
      default: {
        const int which = static_cast<int>(below(6));
        (void)call(d, which == 4 ? 3 : which, port);
      }
    }
    if (below(2) != 0) (void)model.step();
    for (u16 i = 0; i < 3; ++i) REQUIRE(d->facts(i).name_size <= 7);
    REQUIRE(d->port_count() <= 3);
  }
  model.clear_violations();
  check_works(m, d, model);
}

TEST_CASE("hostile: a flood of control messages ends no call late, and bytes flow beside it", "[console][hostile]") {
  rig::machine m;
  auto& model = with_ports(m);
  model.mode = console_model::run::at_doorbell;
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(d->poll());
  REQUIRE(d->poll());
  u32 sent = 0;
  model.falsify = [&](u16 queue, std::vector<u8>&) {
    if (queue == 2 && ++sent < 1'000'000) model.queue_control(0, console_model::port_open, 1);
  };
  model.control(0, console_model::port_open, 1);
  REQUIRE(d->poll());
  REQUIRE(sent < 100);
  char some[8];
  CHECK(d->receive(bytes{some, 8}).error() == errc::peer_silent);  // the flood counts as no answer
  CHECK(*d->send(text("x")) == 1);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == "x");
  CHECK(m.objections().empty());
}

TEST_CASE("hostile: the number of ports that a console claims is bounded by the driver and by its queues",
          "[console][hostile]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  SECTION("none") {
    model.put_config(4, 0, 4);
    REQUIRE(d.start(m, m.where(4)));
    CHECK(d->port_count() == 1);
  }
  SECTION("four thousand million") {
    model.put_config(4, 0xffffffff, 4);
    REQUIRE(d.start(m, m.where(4)));
    CHECK(d->port_count() == 3);
  }
  SECTION("more than it has queues") {
    console_driver<split_queue<8>, console::limits{.ports = 5}> greedy;
    model.put_config(4, 5, 4);
    CHECK(greedy.start(m, m.where(4)).error() == errc::not_found);
    CHECK(greedy->why().why == verdict::queue_missing);
    CHECK(greedy->why().queue == 8);
    CHECK(m.memory.live() == 0);
    m.expect_objections = true;
  }
}

TEST_CASE("hostile: a console's size that never holds still is no size", "[console][hostile]") {
  rig::machine m;
  auto& model = m.add<console_model>(seat::modern, 4, offers{0});
  console_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.generation_every = 1;
  CHECK(d->size().error() == errc::device_misbehaved);
  model.generation_every = 0;
  CHECK(d->size());
}

TEST_CASE("hostile: a console that never confirms its reset keeps the driver's storage and nothing else",
          "[console][hostile]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  model.reset_reads = console_model::forever;
  model.set_needs_reset();
  char some[8];
  CHECK(d->receive(bytes{some, 8}, 1).error() == errc::device_broken);
  CHECK(d->send(text("x")).error() == errc::not_started);
  CHECK(d->check().error() == errc::device_broken);
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  model.reset_reads = 0;
  check_works(m, d, model);
}
