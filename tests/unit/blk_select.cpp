// SPDX-License-Identifier: MIT
// Disks that are selected by their serial, disks that cannot be driven, and failed starts, which have no lasting
// effect.
#include <catch2/generators/catch_generators.hpp>

#include <cstring>

#include <virtio/blk/select.hpp>
#include <virtio/bus/pci/msix.hpp>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<rig::big_queue>;

// Limits that leave no room for a block: such a disk is rejected after its queue was set up.
const blk_options no_room{.size_max = 100, .seg_max = 3};

// A platform that maps for one device at a time, as firmware does. Without a device it maps nothing.
struct by_device : rig::platform_type {
  u32 slot = 0;

  template <class Location>
  by_device for_device(const Location& where) const {
    by_device out = *this;
    out.slot = where.id.slot;
    return out;
  }
  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return slot == 0 ? result<void>{errc::dma_unreachable} : rig::platform_type::map(va, n, way, out);
  }
};

bool is_bus_master(rig::machine& m, u8 slot) { return (m.bus.host().config_read32({0, 0, slot, 0}, 4) & 4) != 0; }

}  // namespace

TEST_CASE("blk: the serial is 20 bytes, and finds its disk [BLK-12]", "[blk]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4, blk_options{.serial = "first"});
  m.add<blk_model>(seat::legacy, 5, blk_options{.serial = "exactly-twenty-bytes"});
  m.add<blk_model>(seat::crosvm, 6, blk_options{.sectors = 777, .serial = "third"});
  disk d;
  REQUIRE(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("third"), d.storage()));
  CHECK(d->capacity() == 777);
  u8 id[20];
  REQUIRE(d->get_id(id));
  CHECK(std::memcmp(id, "third\0\0", 7) == 0);
  REQUIRE(d->hand_off());
  REQUIRE(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("exactly-twenty-bytes"), d.storage()));
  CHECK(d->why().via == transport_kind::pci_legacy);
  REQUIRE(d->hand_off());
  CHECK(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("fir"), d.storage()).error() == errc::not_found);
  CHECK(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("first"), {}).error() == errc::no_space);
  for (const auto& model : m.models) CHECK(model->status() == 0);  // all were handed off
}

TEST_CASE("blk: a search by serial starts each disk with the platform of its device", "[blk][for-device]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4, blk_options{.serial = "first"});
  m.add<blk_model>(seat::modern, 5, blk_options{.sectors = 555, .serial = "second"});
  using device = blk::device<by_device, pci::transport<testing::fake_host>, queue<64>>;
  static device d;
  static dma_storage<device::dma_bytes> storage;
  d = {};
  const by_device any{m.platform(), 0};
  REQUIRE(blk::start_by_serial(d, any, m.bus.host(), text("second"), storage));
  CHECK(d.capacity() == 555);
  u8 sector[512];
  REQUIRE(d.read(0, sector));
  REQUIRE(d.hand_off());
  // The same without a search.
  const auto where = pci::find_nth(m.bus.host(), device_type::block, 0);
  REQUIRE(where);
  REQUIRE(d.start(any, *where, storage));
  REQUIRE(d.read(0, sector));
  REQUIRE(d.hand_off());
}

TEST_CASE("blk: a search by serial skips disks that cannot be driven, and ends at one that keeps the storage",
          "[blk][hostile]") {
  rig::machine m;
  auto& bad = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4, no_room);
  m.add<blk_model>(seat::modern, 5, blk_options{.zoned = 1});
  m.add<blk_model>(seat::modern, 6, blk_options{.serial = "wanted"});
  disk d;
  for (const u8 slot : {u8{4}, u8{5}}) m.function(slot).config_write(4, 0x0400);
  REQUIRE(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("wanted"), d.storage()));
  CHECK(bad.status() == 0);
  for (const u8 slot : {u8{4}, u8{5}}) CHECK(m.function(slot).peek(4, 2) == 0x0400);  // unchanged
  CHECK(!bad.at(0).enabled);
  CHECK(!is_bus_master(m, 4));
  CHECK(m.models[1]->status() == 0);
  CHECK(!is_bus_master(m, 5));
  REQUIRE(d->hand_off());
  // It no longer resets after it has the queue.
  bad.before_config_read = [&](u32, u32) { bad.reset_reads = device_model::forever; };
  CHECK(blk::start_by_serial(*d, m.platform(), m.bus.host(), text("wanted"), d.storage()).error() ==
        errc::device_broken);
  CHECK(!is_bus_master(m, 4));
  CHECK(m.models[2]->status() == 0);  // the storage is given to no other disk
}

TEST_CASE("blk: a search by serial configures the disk's interrupt vectors, and skips a disk whose MSI-X is off",
          "[blk][msix]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.serial = "wanted"});
  disk d;
  const auto search = [&] {
    return blk::start_by_serial(*d, m.platform(), m.bus.host(), text("wanted"), d.storage(), {},
                                {.config = 0, .first = 1});
  };
  CHECK(search().error() == errc::not_found);
  CHECK(d->why().why == verdict::vector_refused);
  pci::msix<rig::host> table;
  REQUIRE(table.open(m.bus.host(), {0, 0, 4, 0}));
  table.enable();
  REQUIRE(search());
  u8 sector[512];
  const auto before = model.interrupts(1);
  (void)d->arm();
  CHECK(d->read(0, sector));
  CHECK(model.interrupts(1) == before + 1);
}

TEST_CASE("blk: limits that no request can meet end the start with an error", "[blk][hostile]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4, blk_options{.size_max = 100, .seg_max = 3});
  disk d;
  CHECK(d.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(d->why().why == verdict::limits_unusable);
}

TEST_CASE(
    "blk: a start that fails after the queue's setup writes FAILED and resets the disk, so that the storage is free",
    "[blk][hostile]") {
  const seat where = GENERATE(seat::modern, seat::legacy);
  rig::machine m;
  auto& bad = m.add<blk_model>(where, 4, no_room);
  m.add<blk_model>(seat::modern, 5);
  disk d;
  CHECK(d.start(m, m.where(4)).error() == errc::unsupported);
  const std::string end = where == seat::legacy ? "w1@legacy+0x12=0x83 w1@legacy+0x12=0x0 r1@legacy+0x12"
                                                : "w1@common+0x14=0x8b w1@common+0x14=0x0 r1@common+0x14";
  CHECK(m.function(4).log().ends_with(end));
  CHECK(bad.status() == 0);
  CHECK(!bad.at(0).enabled);
  CHECK(d->read(0, bytes{}).error() == errc::not_started);
  CHECK(d->capacity() == 0);
  REQUIRE(d.start(m, m.where(5)));  // another disk, the same storage
  bad.before_config_read = [&](u32, u32) { bad.reset_reads = device_model::forever; };
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(d.start(m, m.where(5)).error() == errc::device_broken);  // the first disk may still write to the storage
  CHECK(m.models[1]->status() == 0);
  bad.reset_reads = 0;
  CHECK(d.start(m, m.where(5)));
}

TEST_CASE("blk: a disk that is down has no capacity, and after a failed start not the previous disk's block size",
          "[blk]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4, blk_options{.sectors = 777, .blk_size = 4096});
  m.add<rig::rng_model>(seat::modern, 5);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->capacity() == 777);
  REQUIRE(d->hand_off());
  CHECK(d->capacity() == 0);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d.start(m, m.where(5)).error() == errc::wrong_device);
  CHECK(d->capacity() == 0);
  CHECK(d->block_size() == 512);
  CHECK(d->largest_request() == 0);
}
