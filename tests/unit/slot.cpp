// SPDX-License-Identifier: MIT
// Hot-plug slots of PCIe ports, and devices that are removed while in use: every loop ends with an error.
#include <catch2/generators/catch_generators.hpp>

#include <virtio/bus/pci/slot.hpp>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

constexpr u8 express = 0x40;  // offset of the capability: slot registers at 0x58

fake_function& port(rig::machine& m, u16 flags = 0x0142, u32 slot_capabilities = 0x40) {
  auto& f = m.bus.bridge({0, 0, 7, 0}, 1, 1);
  f.add_capability(0x10, {static_cast<u8>(flags), static_cast<u8>(flags >> 8)}, express);
  f.poke(express + 0x14, slot_capabilities, 4);
  return f;
}

}  // namespace

TEST_CASE("slot: only a PCIe port with a hot-plug slot opens", "[slot]") {
  rig::machine m;
  pci::slot<rig::host> s;
  (void)m.add<blk_model>(seat::modern, 4);
  CHECK(s.open(m.bus.host(), {0, 0, 4, 0}).error() == errc::not_found);
  CHECK_FALSE(s.occupied());
  CHECK_FALSE(s.attention());
  s.power_on();  // no effect
  auto& f = port(m);
  CHECK(s.open(m.bus.host(), {0, 0, 7, 0}));
  f.poke(express + 0x14, 0, 4);  // a slot, without hot-plug
  CHECK(s.open(m.bus.host(), {0, 0, 7, 0}).error() == errc::not_found);
  f.poke(express + 0x14, 0x40, 4);
  f.poke(express + 3u, 0x00, 1);  // no slot
  CHECK(s.open(m.bus.host(), {0, 0, 7, 0}).error() == errc::not_found);
}

TEST_CASE("slot: presence, attention button and power", "[slot]") {
  rig::machine m;
  auto& f = port(m);
  pci::slot<rig::host> s;
  REQUIRE(s.open(m.bus.host(), {0, 0, 7, 0}));
  constexpr u16 at = express + 0x18;
  CHECK_FALSE(s.occupied());
  f.poke(at, 0x0040'0700, 4);  // occupied; power and indicator are off
  CHECK(s.occupied());
  CHECK_FALSE(s.attention());
  s.power_on();
  CHECK(f.last_write(at) == 0x0000'0100);  // the status half is written as zeros
  f.poke(at, 0x0041'0100, 4);
  CHECK(s.attention());
  CHECK(f.last_write(at) == 0x0001'0100);  // only this event is acknowledged
  f.poke(at, 0x0040'0100, 4);
  s.power_off();
  CHECK(f.last_write(at) == 0x0000'0700);
  f.present = false;
  CHECK_FALSE(s.occupied());
  CHECK_FALSE(s.attention());
}

TEST_CASE("removal: every loop ends with an error after the device is removed", "[removal][hostile]") {
  rig::machine m;
  m.expect_objections = true;
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy, seat::crosvm);
  CAPTURE(name(where));
  auto& model = m.add<blk_model>(where, 4);
  rig::disk<rig::legacy_queue> d;
  u8 sector[512];

  SECTION("before the start") {
    const auto at = m.where(4);
    m.bus.unplug({0, 0, 4, 0});
    CHECK_FALSE(d.start(m, at));
    CHECK(d->why().why != verdict::bound);
    CHECK(pci::find(m.bus.host(), device_type::block).error() == errc::not_found);
  }
  SECTION("between start and request") {
    REQUIRE(d.start(m, m.where(4)));
    m.bus.unplug({0, 0, 4, 0});
    m.running = false;
    // All ones include NEEDS_RESET, and no reset is confirmed: the device keeps the buffer.
    CHECK(d->read(0, sector).error() == errc::device_broken);
    u8 another[512];
    CHECK(d->read(0, another).error() == errc::not_started);  // the device never had this buffer
    CHECK(d->check().error() == errc::device_broken);
    CHECK(d->reset().error() == errc::device_broken);
    CHECK(d->hand_off().error() == errc::device_broken);
    CHECK_FALSE(d.start(m, m.where(4)));
  }
  SECTION("with requests in flight") {
    REQUIRE(d.start(m, m.where(4)));
    m.running = false;
    REQUIRE(d->submit_read(0, sector));
    d->kick();
    m.bus.unplug({0, 0, 4, 0});
    CHECK(d->wait_next().error() == errc::device_broken);
    CHECK(d->next_completion().error() == errc::device_broken);
    (void)d->arm();
    (void)d->acknowledge_interrupt();
  }
  (void)model;
}

TEST_CASE("removal: a device that is plugged in at the same place starts again", "[removal]") {
  rig::machine m;
  m.expect_objections = true;
  (void)m.add<blk_model>(seat::modern, 4);
  rig::disk<> d;
  u8 sector[512];
  REQUIRE(d.start(m, m.where(4)));
  m.bus.unplug({0, 0, 4, 0});
  CHECK_FALSE(d->read(0, sector));
  m.function(4).present = true;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->read(0, sector));
}
