// SPDX-License-Identifier: MIT
// Two disks that report the same serial: neither is selected or left started.
#include <catch2/generators/catch_generators.hpp>

#include <virtio/blk/select.hpp>
#include <virtio/mmio.hpp>
#include <virtio/testing/fake_mmio.hpp>

#include "disk.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<rig::big_queue>;

u32 starts(const std::string& log, const std::string& driver_ok) {
  u32 count = 0;
  for (usize at = 0; (at = log.find(driver_ok, at)) != std::string::npos; ++at) ++count;
  return count;
}

}  // namespace

TEST_CASE(
    "blk: two disks with the same serial are ambiguous, wherever they are, and neither is left started or decoding",
    "[blk][pci]") {
  rig::machine m;
  const auto [first, second] = GENERATE(table<u8, u8>({{4, 5}, {4, 6}, {5, 6}}));
  CAPTURE(first, second);
  constexpr seat seats[] = {seat::modern, seat::legacy, seat::crosvm};
  for (u8 slot = 4; slot < 7; ++slot) {
    m.add<blk_model>(seats[slot - 4], slot,
                     blk_options{.queue_size = 64, .serial = slot == first || slot == second ? "twin" : "other"});
    m.function(slot).config_write(4, 0x0400);
  }
  disk d;
  CHECK(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("twin"), d.storage()).error() == errc::ambiguous);
  for (u8 slot = 4; slot < 7; ++slot) {
    CHECK(m.models[slot - 4u]->status() == 0);
    CHECK(m.function(slot).peek(4, 2) == 0x0400);
  }
  u8 sector[512];
  CHECK(d->read(0, sector).error() == errc::not_started);
  CHECK(d->hand_off().error() == errc::not_started);
  REQUIRE(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("other"), d.storage()));  // this serial is unique
  CHECK(d->read(0, sector));
  CHECK(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("twin"), d.storage()).error() == errc::ambiguous);
  CHECK(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("nobody"), d.storage()).error() == errc::not_found);
  for (u8 slot = 4; slot < 7; ++slot) CHECK(m.models[slot - 4u]->status() == 0);
}

TEST_CASE("blk: a search by serial starts every disk once, and the selected one twice", "[blk][pci]") {
  rig::machine m;
  for (u8 slot = 4; slot < 8; ++slot) {
    m.add<blk_model>(seat::modern, slot, blk_options{.serial = slot == 5 ? "wanted" : slot == 7 ? "wanted too" : ""});
    m.function(slot).config_write(4, slot == 5 ? 0x0400 : 0);
  }
  disk d;
  REQUIRE(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("wanted"), d.storage()));
  for (u8 slot = 4; slot < 8; ++slot) {
    CHECK(starts(m.function(slot).log(), "w1@common+0x14=0xf") == (slot == 5 ? 2 : 1));
    CHECK(m.models[slot - 4u]->status() == (slot == 5 ? 0x0f : 0));
    CHECK(m.function(slot).peek(4, 2) == (slot == 5 ? 0x0406 : 0));
  }
  REQUIRE(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("wanted"), d.storage(), {}, interrupt_line));
  CHECK(m.function(5).peek(4, 2) == 6);
  REQUIRE(d->hand_off());
  CHECK(m.function(5).peek(4, 2) == 0x0400);
}

TEST_CASE("blk: two disks with the same serial are ambiguous in MMIO slots, too", "[blk][mmio]") {
  virtio::testing::strict_machine memory;
  virtio::testing::fake_mmio row;
  blk_model first{memory.memory, blk_options{.serial = "twin"}},
      other{memory.memory, blk_options{.sectors = 99, .serial = "other"}},
      second{memory.memory, blk_options{.serial = "twin"}};
  memory.on_wait = [&](waiting, u64) {
    for (blk_model* one : {&first, &other, &second}) (void)one->step();
  };
  (void)row.add(first, GENERATE(1u, 2u));
  (void)row.add_empty();
  (void)row.add(other);
  (void)row.add(second, GENERATE(1u, 2u));
  rig::driver<blk::device<rig::platform_type, mmio::transport<virtio::testing::fake_mmio::bus_type>, split_queue<16>>>
      d;
  const rig::platform_type platform{&memory};
  CHECK(blk::start_by_serial(*d, platform, row.bus(), text("twin"), d.storage()).error() == errc::ambiguous);
  for (const blk_model* one : {&first, &other, &second}) CHECK(one->status() == 0);
  REQUIRE(blk::start_by_serial(*d, platform, row.bus(), text("other"), d.storage()));
  CHECK(d->capacity() == 99);
  REQUIRE(d->hand_off());
  for (const auto& what : row.violations()) FAIL_CHECK(what);
}
