// SPDX-License-Identifier: MIT
// The console: what arrives is what was sent, on one port and on several named ones, at any pace of the host.
#include <catch2/generators/catch_generators.hpp>

#include "console.hpp"

using namespace virtio;
using rig::console_driver;
using rig::console_model;
using rig::letters;
using rig::ports_driver;
using rig::received;
using rig::settle;
using rig::with_ports;
using offers = rig::console_offers;

TEST_CASE("console: bytes pass in both directions through one port, in order [CONSOLE-01][CONSOLE-02][CONSOLEL-03]",
          "[console]") {
  rig::machine m;
  auto& model = m.add<console_model>(GENERATE(seat::modern, seat::transitional, seat::legacy), 4, offers{0, 2});
  console_driver<rig::legacy_queue> d;
  REQUIRE(d.start(m, m.where(4)));
  char none[4];
  CHECK(d->try_receive(bytes{none, 4}).error() == errc::not_ready);
  CHECK(*d->try_receive(bytes{}) == 0);
  CHECK(*d->send(text("hello")) == 5);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == "hello");
  model.say(0, letters(40));
  CHECK(received(d) == letters(40));
  model.say(0, letters(1000));
  std::string all;
  while (all.size() < 1000) {
    char some[100];
    const auto got = d->receive(bytes{some, sizeof some});
    REQUIRE(got);
    all.append(some, *got);
  }
  CHECK(all == letters(1000));
  CHECK(*d->send(const_bytes{all.data(), all.size()}) == 1000);
  model.used_length = 12345;  // the driver ignores it in the queues that it writes
  CHECK(*d->send(const_bytes{all.data(), all.size()}) == 1000);
  model.used_length.reset();
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == "hello" + letters(1000) + letters(1000));
  CHECK(d->try_send(text("x"), 1).error() == errc::not_found);
  CHECK(d->try_receive(bytes{none, 4}, 1).error() == errc::not_found);
  REQUIRE(d->hand_off());
  CHECK(d->try_send(text("x")).error() == errc::not_started);
  CHECK(m.objections().empty());
}

TEST_CASE("console: data that the host does not take waits in the driver, at most as long as the program allows",
          "[console]") {
  rig::machine m;
  auto& model = m.add<console_model>(seat::modern, 4);
  console_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.ports[0].listens = false;
  const std::string said = letters(100);
  CHECK(*d->try_send(const_bytes(said.data(), 100)) == 64);  // four buffers of 16 bytes
  CHECK(d->try_send(text("x")).error() == errc::queue_full);
  CHECK(*d->try_send(const_bytes{}) == 0);
  CHECK(d->send(text("x")).error() == errc::peer_silent);
  CHECK(d->flush().error() == errc::peer_silent);
  char none[1];
  CHECK(d->receive(bytes{none, 1}).error() == errc::peer_silent);
  model.ports[0].listens = true;
  (void)model.serve(1);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == letters(64));
  model.ports[0].listens = false;
  CHECK(*d->send(const_bytes(said.data(), 100)) == 64);  // as many as had room
  model.ports[0].listens = true;
  (void)model.serve(1);
  CHECK(*d->send(const_bytes(said.data(), 100)) == 100);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == letters(64) + letters(64) + letters(100));
}

TEST_CASE("console: a ring smaller than the buffers bounds the bytes in flight", "[console]") {
  rig::machine m;
  auto& model = m.add<console_model>(seat::modern, 4, offers{}, usize{1}, u16{2});
  console_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.ports[0].listens = false;
  const std::string said = letters(100);
  CHECK(*d->send(const_bytes(said.data(), 100)) == 32);
  model.ports[0].listens = true;
  (void)model.serve(1);
  CHECK(*d->send(const_bytes(said.data(), 100)) == 100);
  model.say(0, letters(90));
  CHECK(received(d).size() == 32);
  (void)model.step();
  CHECK(received(d).size() == 32);
}

TEST_CASE("console: received bytes can be inspected in place", "[console]") {
  rig::machine m;
  auto& model = m.add<console_model>(seat::modern, 4);
  console_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  const auto take = [](usize most, std::string& seen) {
    return [most, &seen](const_bytes here) {
      seen.assign(reinterpret_cast<const char*>(here.data()), here.size());
      return most;
    };
  };
  std::string seen;
  CHECK(d->receive_with(take(9, seen)).error() == errc::not_ready);
  model.say(0, "0123456789abcdefXYZ");
  CHECK(*d->receive_with(take(5, seen)) == 5);
  CHECK(seen == "0123456789abcdef");
  CHECK(*d->receive_with(take(0, seen)) == 0);
  CHECK(*d->receive_with(take(999, seen)) == 11);
  CHECK(seen == "56789abcdef");
  CHECK(*d->receive_with(take(1, seen)) == 1);
  CHECK(seen == "XYZ");
  const auto taker = [&](const_bytes) {
    char two[2];
    CHECK(*d->try_receive(bytes{two, 1}) == 1);
    return usize{1};
  };
  CHECK(d->receive_with(taker).error() == errc::in_use);
  CHECK(received(d) == "Z");
  CHECK(d->receive_with(take(1, seen), 3).error() == errc::not_found);
}

TEST_CASE("console: the screen size is the host's current one, read consistently", "[console]") {
  rig::machine m;
  auto& model = m.add<console_model>(GENERATE(seat::modern, seat::legacy), 4, offers{0});
  model.put_config(0, 80, 2);
  model.put_config(2, 25, 2);
  console_driver<rig::legacy_queue> d;
  CHECK(d->size().error() == errc::not_started);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(*d->size() == console::screen{80, 25});
  model.change_config(0, 132, 2);
  CHECK(d->acknowledge_interrupt().config);
  CHECK(*d->size() == console::screen{132, 25});
  u32 reads = 0;
  model.before_config_read = [&](u32 offset, u32) {
    if (offset != 2 || ++reads != 1) return;
    model.before_config_read = nullptr;  // between the reads of the two fields
    model.put_config(0, 40, 2);
    model.put_config(2, 20, 2);
    model.bump_generation();
  };
  CHECK(*d->size() == console::screen{40, 20});
}

TEST_CASE("console: without SIZE the screen size is unknown", "[console]") {
  rig::machine m;
  m.add<console_model>(seat::modern, 4, offers{2});
  console_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->size().error() == errc::unsupported);
  CHECK(d->size(1).error() == errc::not_found);
}

TEST_CASE("console: emergency writes need no driver, and leave the device unchanged", "[console]") {
  rig::machine m;
  auto& model = m.add<console_model>(GENERATE(seat::modern, seat::transitional, seat::legacy), 4, offers{2});
  using driver = console_driver<rig::legacy_queue>;
  driver d;
  const auto write = [&](const_bytes what) { return decltype(d.at->device)::emergency_write(m.where(4), what); };
  const auto command = [&] { return m.bus.host().config_read32({0, 0, 4, 0}, pci::config::command) & 0xffff; };
  const u32 before = command();
  REQUIRE(write(text("early")));
  CHECK(command() == before);
  CHECK(model.emergency == "early");
  CHECK(model.status() == 0);
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(write(text(" and late")));
  CHECK(model.emergency == "early and late");
  CHECK(*d->send(text("as ever")) == 7);
  REQUIRE(d->flush());
  model.set_needs_reset();
  REQUIRE(write(text("!")));
  CHECK(model.emergency == "early and late!");
  CHECK(d->check().error() == errc::needs_reset);
  model.withdraw({2});
  CHECK(write(text("!")).error() == errc::unsupported);
  CHECK(m.objections().empty());
}

TEST_CASE("console: a driver of one port does not accept MULTIPORT", "[console]") {
  rig::machine m;
  auto& model = m.add<console_model>(seat::modern, 4, offers{0, 1, 2, 35}, usize{3}, u16{16});
  console_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK_FALSE(model.accepted(1));
  CHECK_FALSE(model.accepted(35));  // nor IN_ORDER, whose batches have no lengths
  CHECK(*d->send(text("x")) == 1);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == "x");
  CHECK(d->open(0));
  CHECK(d->open(1).error() == errc::not_found);
  CHECK(d->port_count() == 1);
  CHECK(d->facts(0).host_is_open);
}

TEST_CASE(
    "console: ports appear with their names, a console is opened by the driver, others when the program opens them "
    "[CONSOLE-03][CONSOLE-04][CONSOLE-05][CONSOLE-06]",
    "[console]") {
  rig::machine m;
  auto& model = with_ports(m, GENERATE(seat::modern, seat::legacy));
  ports_driver<rig::legacy_queue> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->try_send(text("x")).error() == errc::not_found);  // no port has been added yet
  settle(d, model);
  CHECK(d->port_count() == 3);
  CHECK(d->facts(0).is_console);
  CHECK(d->facts(0).host_is_open);
  CHECK(model.ports[0].guest_open);
  CHECK_FALSE(d->facts(1).is_console);
  CHECK_FALSE(model.ports[1].guest_open);
  CHECK_FALSE(d->facts(2).is_present);
  CHECK(*d->find_named(text("agent.1")) == 1);
  CHECK(d->find_named(text("agent")).error() == errc::not_found);

  model.say(1, "early");
  CHECK(received(d, 1).empty());
  REQUIRE(d->open(1));
  (void)model.step();
  (void)model.serve(4);
  CHECK(received(d, 1) == "early");
  CHECK(*d->send(text("to the agent"), 1) == 12);
  CHECK(*d->send(text("to the user"), 0) == 11);
  REQUIRE(d->flush(1));
  REQUIRE(d->flush(0));
  CHECK(model.ports[1].heard == "to the agent");
  CHECK(model.ports[0].heard == "to the user");

  model.control(1, console_model::port_open, 0);
  REQUIRE(*d->poll());
  CHECK_FALSE(d->facts(1).host_is_open);
  model.control_resize(0, 100, 30);
  REQUIRE(*d->poll());
  CHECK(*d->size(0) == console::screen{100, 30});
  CHECK(d->size(1).error() == errc::unsupported);
  REQUIRE(d->close(1));
  (void)model.step();
  CHECK_FALSE(model.ports[1].guest_open);
  CHECK(*d->poll());  // the message has left
  CHECK_FALSE(*d->poll());
  CHECK(m.objections().empty());
}

TEST_CASE("console: a removed port loses its bytes, and may be added again", "[console]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  model.say(0, "lost");
  REQUIRE(*d->poll());
  model.control(0, console_model::port_remove);
  char none[4];
  CHECK(d->receive(bytes{none, 4}, 1).error() == errc::peer_silent);
  CHECK(d->try_receive(bytes{none, 4}).error() == errc::not_found);
  CHECK(d->flush().error() == errc::not_found);
  CHECK(d->facts(0).name_size == 0);
  model.control(0, console_model::port_add);
  settle(d, model);
  model.say(0, "found");
  CHECK(received(d) == "found");
  CHECK(m.objections().empty());
}

TEST_CASE("console: a wait for a removed port ends", "[console]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  m.memory.on_wait = [&](waiting why, u64 attempt) {
    if (why == waiting::request && attempt == 3) model.control(0, console_model::port_remove);
  };
  char some[4];
  SECTION("for bytes") { CHECK(d->receive(bytes{some, 4}).error() == errc::not_found); }
  SECTION("for room") {
    model.ports[0].listens = false;
    const std::string said = letters(100);
    CHECK(*d->send(const_bytes(said.data(), 100)) == 64);
    CHECK(d->try_send(text("x")).error() == errc::not_found);
  }
  SECTION("until sent bytes are taken") {
    model.ports[0].listens = false;
    CHECK(*d->try_send(text("x")) == 1);
    CHECK(d->flush().error() == errc::not_found);  // the host has not taken it
  }
}

TEST_CASE("console: bytes of a removed port are not delivered to the next port, and prevent no sleep",
          "[console][hostile]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  REQUIRE(d->open(1));
  (void)model.step();
  REQUIRE(d->poll());
  model.say(1, letters(40));  // three buffers
  model.control(1, console_model::port_remove);
  for (int i = 0; i < 6; ++i) {
    (void)model.step();
    REQUIRE(d->poll());
  }
  CHECK_FALSE(d->arm());
  CHECK(d->try_receive(bytes{}, 1).error() == errc::not_found);
  model.control(1, console_model::port_add);
  settle(d, model);
  CHECK(received(d, 1).empty());
  SECTION("bytes for a port that was never added") {
    model.ports[2].guest_open = true;
    model.say(2, "abc");
    REQUIRE(d->poll());
    REQUIRE(d->poll());
    CHECK_FALSE(d->arm());
  }
}

TEST_CASE("console: a port removed while its bytes are shown returns them afterwards", "[console][hostile]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  REQUIRE(d->open(1));
  (void)model.step();
  REQUIRE(d->poll());
  model.say(1, "abcdef");
  std::string shown, later;
  const auto shows = [&](const_bytes here) {
    shown.assign(reinterpret_cast<const char*>(here.data()), here.size());
    model.control(1, console_model::port_remove);
    for (int i = 0; i < 4; ++i) {
      (void)model.step();
      REQUIRE(d->poll());
    }
    model.control(1, console_model::port_add);
    settle(d, model);
    model.ports[1].guest_open = true;
    model.say(1, "ABCDEF");
    (void)model.step();
    REQUIRE(d->poll());
    later.assign(reinterpret_cast<const char*>(here.data()), here.size());
    return here.size();
  };
  CHECK(d->receive_with(shows, 1).error() == errc::not_found);
  CHECK(shown == "abcdef");
  CHECK(later == "abcdef");
  settle(d, model);
  CHECK(received(d, 1) == "ABCDEF");
}

TEST_CASE("console: find_named compares as many characters as are kept", "[console]") {
  rig::machine m;
  auto& model = with_ports(m);
  model.ports[1].name = "org.qemu.guest_agent.0";
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  CHECK(*d->find_named(text("org.qemu.guest_agent.0")) == 1);
  CHECK(d->find_named(text("org.kvm")).error() == errc::not_found);
}

TEST_CASE("console: long names are cut, short messages and unknown ones ignored, ports beyond the driver's refused",
          "[console][hostile][console-port][console-name]") {
  rig::machine m;
  auto& model = with_ports(m);
  model.ports[1].name = "a name of more than seven characters";
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  CHECK(*d->find_named(text("a name ")) == 1);
  model.control(1, console_model::port_name, 1, std::string("x\0\0", 3));  // QEMU's end
  settle(d, model);
  CHECK(*d->find_named(text("x")) == 1);
  model.control(1, console_model::port_name, 1, std::string(5, '\0'));
  model.control(1, console_model::resize, 0, "abc");
  model.control(1, 4711, 1);
  model.control(2, console_model::port_open, 1);  // not present
  model.control(0xffffffff, console_model::port_name, 1, "nobody");
  settle(d, model);
  CHECK(d->facts(1).name_size == 0);
  CHECK(d->facts(1).size == console::screen{});
  CHECK_FALSE(d->facts(2).host_is_open);
  CHECK(m.objections().empty());
  model.control(7, console_model::port_add);
  settle(d, model);
  CHECK(model.told.back().port == 7);
  CHECK(model.told.back().event == console_model::port_ready);
  CHECK(model.told.back().value == 0);
  m.expect_objections = true;  // the model has no port 7
}

TEST_CASE("console: a device with fewer or more ports than the driver", "[console]") {
  rig::machine m;
  const usize there = GENERATE(usize{1}, usize{2}, usize{31});
  auto& model = m.add<console_model>(seat::modern, 4, offers{1}, there, u16{16});
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  for (int i = 0; i < 40; ++i) settle(d, model);
  CHECK(d->port_count() == virtio::detail::smaller(there, usize{3}));
  u32 ready = 0;
  for (const auto& one : model.ports) ready += one.guest_ready;
  CHECK(ready == d->port_count());
  CHECK(model.unsaid() == 0);
  CHECK(m.objections().empty());
}

TEST_CASE("console: a driver of several ports is content with one", "[console]") {
  rig::machine m;
  auto& model = m.add<console_model>(seat::modern, 4, offers{2});
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->port_count() == 1);
  CHECK(*d->send(text("x")) == 1);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == "x");
  CHECK(m.objections().empty());
}

TEST_CASE("console: answers without room in the control queue leave later, the last one of each port", "[console]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  model.told.clear();
  for (int i = 0; i < 50; ++i) {  // the device does not process them
    REQUIRE(d->open(1));
    REQUIRE(d->close(1));
  }
  REQUIRE(d->open(1));
  settle(d, model);
  CHECK(model.told.size() <= 10);
  CHECK(model.told.back().value == 1);
  CHECK(model.ports[1].guest_open);
}

TEST_CASE("console: it works over packed rings", "[console][packed]") {
  rig::machine m;
  auto& model = m.add<console_model>(seat::modern, 4, offers{1, 34}, usize{2}, u16{16});
  model.ports[0].is_console = true;
  ports_driver<packed_queue<8>> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  const std::string said = letters(3000);
  CHECK(*d->send(const_bytes(said.data(), 3000)) == 3000);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == said);
  model.say(0, said);
  std::string back;
  for (char some[64]; back.size() < 3000;) {
    const auto got = d->receive(bytes{some, 64});
    REQUIRE(got);
    back.append(some, *got);
  }
  CHECK(back == said);
  CHECK(m.objections().empty());
}

TEST_CASE("console: a failed device returns its buffers, and a later start succeeds", "[console][hostile]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  model.say(0, "unread");
  REQUIRE(*d->poll());
  char some[8];
  SECTION("it sets NEEDS_RESET") {
    model.set_needs_reset();
    CHECK(d->receive(bytes{some, 8}, 1).error() == errc::needs_reset);
  }
  SECTION("it returns a buffer that it was not given") {
    const u16 queue = GENERATE(u16{0}, u16{1}, u16{2}, u16{3}, u16{4}, u16{5});
    model.ring(queue).raw_used_element(model.ring(queue).raw_used_idx(), 0xfffff, 0);
    model.ring(queue).raw_used_idx(static_cast<u16>(model.ring(queue).raw_used_idx() + 1));
    if (queue == 0) CHECK(*d->try_receive(bytes{some, 8}) == 6);  // what arrived before the invalid completion
    else CHECK(d->receive(bytes{some, 8}, 1).error() == errc::device_misbehaved);
    m.expect_objections = true;
  }
  SECTION("the program resets it") { REQUIRE(d->reset()); }
  CHECK(d->poll().error() == errc::not_started);
  CHECK(d->try_receive(bytes{some, 8}).error() == errc::not_started);
  CHECK(d->find_named(text("agent.1")).error() == errc::not_found);
  CHECK_FALSE(d->arm());
  d->disarm();
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  CHECK(*d->find_named(text("agent.1")) == 1);
}

TEST_CASE("console: a failed start leaves no port", "[console]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  const dma_region storage = d.storage();
  CHECK(d->start(m.platform(), m.where(4), {storage.data, 4096}).error() == errc::no_space);
  CHECK(d->port_count() == 0);
  CHECK_FALSE(d->facts(0).is_present);
  console_driver<> one;
  REQUIRE(one.start(m, m.where(4)));
  CHECK(one->start(m.platform(), m.where(4), {one.storage().data, 4096}).error() == errc::no_space);
  CHECK_FALSE(one->facts(0).is_present);
}

TEST_CASE("console: empty buffers end every call", "[console][hostile]") {
  rig::machine m;
  auto& model = m.add<console_model>(seat::modern, 4);
  model.mode = console_model::run::at_doorbell;
  console_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.ports[0].piece = 0;
  model.say(0, "never");
  char some[8];
  CHECK(d->try_receive(bytes{some, 8}).error() == errc::not_ready);
  CHECK(d->receive(bytes{some, 8}).error() == errc::peer_silent);
  model.ports[0].piece = 2;
  (void)d->try_receive(bytes{some, 8});
  CHECK(*d->receive(bytes{some, 8}) > 0);
}

TEST_CASE("console: no sleep begins when work is present, and any byte ends it", "[console]") {
  rig::machine m;
  auto& model = with_ports(m);
  ports_driver<> d;
  CHECK_FALSE(d->arm());
  REQUIRE(d.start(m, m.where(4)));
  settle(d, model);
  while (d->arm()) REQUIRE(d->poll());
  const u32 before = model.interrupts();
  SECTION("bytes") { model.say(0, "x"); }
  SECTION("a message") { model.control(1, console_model::port_open, 0); }
  CHECK(model.interrupts() == before + 1);
  CHECK(d->acknowledge_interrupt().queue);
  CHECK(d->arm());
  REQUIRE(*d->poll());
}
