// SPDX-License-Identifier: MIT
// The window in configuration space: its accesses, the structures that use it, and hostile devices.
#include <catch2/generators/catch_generators.hpp>

#include <numeric>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

using host = pci::windowed<rig::host>;
using window_space = pci::window_space<rig::host>;
using any_pci = pci::transport<host>;
constexpr pci::address slot4{0, 0, 4, 0};

// A 64-bit BAR far above the CPU's reach.
void move_up(fake_function& f) { f.poke(0x24, 0x38, 4); }

host windowed(rig::machine& m) {
  m.bus.reach = u64{1} << 32;
  return host{m.bus.host()};
}

/// Slot 4 with its structures out of reach.
pci::found<host> look(rig::machine& m) { return pci::look(windowed(m), slot4); }

u8 window(fake_function& f) { return f.capability(0x09, 5); }

/// Inserts a notification capability with a separate BAR before the others, like `modern-pio-notify=on`.
void add_notify(fake_function& f, u8 bar, u32 address, u32 length, u32 multiplier) {
  const u8 at = 0xb0, first = f.config[0x34];
  f.poke(0x34, at, 1);
  f.poke(at, 0x09 | u32{first} << 8 | 20u << 16 | 2u << 24, 4);
  f.poke(at + 4u, bar, 4);
  f.poke(at + 8u, 0, 4);
  f.poke(at + 12u, length, 4);
  f.poke(at + 16u, multiplier, 4);
  f.poke(0x10u + 4u * bar, address, 4);
  f.bar_sizes[bar] = 16;
}

}  // namespace

TEST_CASE("window: an access writes bar, length and offset, and then reads or writes the data [PCI-05][PCI-14][PCI-29]",
          "[pci][window]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  f.poke(4, 7, 2);
  const window_space bar{m.bus.host(), slot4, window(f), 4, 0x4000};
  // A narrow access at an odd offset, then a wide one elsewhere: the offset is a multiple of the length at any time.
  // The model reports violations.
  CHECK(bar.read<u8>(0x15) == 0);
  CHECK(f.log() == "w4@window+0x4=0x4 w4@window+0xc=0x1 w4@window+0x8=0x15 r4@window+0x10 r1@common+0x15");
  f.clear_log();
  CHECK(bar.part(0, 56).read<u16>(0x12) == 1);  // the number of queues
  CHECK(f.log() == "w4@window+0x4=0x4 w4@window+0xc=0x2 w4@window+0x8=0x12 r4@window+0x10 r2@common+0x12");
  f.clear_log();
  bar.part(0x2000, 60).part(4, 8).write<u32>(4, 0xaabbccdd);
  CHECK(f.log() ==
        "w4@window+0x4=0x4 w4@window+0xc=0x4 w4@window+0x8=0x2008 w4@window+0x10=0xaabbccdd w4@device+0x8=0xaabbccdd");
  CHECK(bar.part(0x2000, 60).part(4, 8).size() == 8);
  f.clear_violations();
  f.device->clear_violations();
}

TEST_CASE(
    "window: a device whose BAR is out of reach is driven through it, a disk as well as an entropy source [PCI-30]",
    "[pci][window]") {
  rig::machine m;
  const seat where = GENERATE(seat::modern, seat::transitional);
  auto& model = m.add<blk_model>(where, 4);
  auto& source = m.add<rng_model>(where, 5);
  move_up(m.function(4));
  move_up(m.function(5));
  const host h = windowed(m);
  // Without the window.
  if (where == seat::modern) CHECK(m.where(4).seen.why == verdict::bar_out_of_reach);
  else CHECK(m.where(4).seen.via == transport_kind::pci_legacy);
  const auto disk_at = pci::find(h, device_type::block);
  REQUIRE(disk_at);
  CHECK(pci::look(h, disk_at->id).seen.why == verdict::usable);
  rig::disk<split_queue<16>, any_pci> d;
  REQUIRE(d.start(m, *disk_at));
  CHECK(d->why().via == transport_kind::pci_modern);
  CHECK(d->capacity() == 2048);
  std::vector<u8> data(8192);
  std::iota(data.begin(), data.end(), u8{5});
  REQUIRE(d->write(2000, data));
  REQUIRE(d->flush());
  model.power_cut();
  std::vector<u8> back(8192);
  REQUIRE(d->read(2000, back));
  CHECK(back == data);
  for (u64 i = 0; i < 300; ++i) REQUIRE(d->read(i, bytes{back.data(), 512}));
  CHECK(model.reads() >= 301);
  REQUIRE(d->reset());

  rig::entropy<split_queue<8>, any_pci> e;
  REQUIRE(e.start(m, pci::find(h, device_type::entropy).value_or({})));
  std::vector<u8> random(1000);
  REQUIRE(e->fill(random));
  for (usize i = 0; i < random.size(); ++i) REQUIRE(random[i] == rng_model::pattern(i));
  CHECK(source.requests() == 1);
  // The model reports accesses outside structures, with the name of this requirement.
}

TEST_CASE(
    "window: a doorbell is four writes to configuration space, and 64-bit registers are two halves [PCI-05][PCI-06][NOTIFY-01]",
    "[pci][window]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4).at(0).notify_off = 3;
  auto& f = m.function(4);
  move_up(f);
  rig::disk<split_queue<16>, any_pci> d;
  REQUIRE(d.start(m, look(m)));
  CHECK(f.log().find("w4@window+0x8=0x20 w4@window+0x10=") != std::string::npos);
  CHECK(f.log().find("w4@window+0x8=0x24 w4@window+0x10=") != std::string::npos);
  u8 sector[512];
  REQUIRE(d->submit_read(0, sector));
  f.clear_log();
  const u32 before = f.config_writes;
  d->kick();
  CHECK(f.log() == "w4@window+0x4=0x4 w4@window+0xc=0x2 w4@window+0x8=0x300c w4@window+0x10=0x0 w2@notify+0xc=0x0");
  CHECK(f.config_writes == before + 4);
  CHECK(d->wait_next());
}

TEST_CASE("window: a structure with a directly reachable capability does not use the window [PCI-08]",
          "[pci][window]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const bool notify_first = GENERATE(true, false);
  add_notify(f, 2, 0xc001, 4, 0);
  if (!notify_first) {  // the unreachable one is first
    const u8 far = f.capability(0x09, 2, 1);
    const auto swap = [&](usize at) { std::swap(f.config[0xb0 + at], f.config[far + at]); };
    for (usize at = 4; at < 20; ++at) swap(at);
  }
  f.attach(model);
  move_up(f);
  rig::disk<split_queue<16>, any_pci> d;
  REQUIRE(d.start(m, look(m)));
  u8 sector[512];
  REQUIRE(d->submit_read(0, sector));
  f.clear_log();
  d->kick();
  CHECK(f.log() == "w2@notify+0x0=0x0");
  CHECK(d->wait_next());
}

TEST_CASE("window: a reachable BAR causes no access to the window", "[pci][window]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  rig::disk<split_queue<16>, any_pci> d;
  REQUIRE(d.start(m, look(m)));
  u8 sector[512];
  CHECK(d->read(0, sector));
  CHECK(m.function(4).log().find("window") == std::string::npos);
}

TEST_CASE("window: a capability without room for its data is ignored, and the BAR stays out of reach [PCI-14]",
          "[pci][window][hostile]") {
  rig::machine m;
  auto& f = m.function((m.add<blk_model>(seat::modern, 4), 4));
  move_up(f);
  CHECK(look(m).seen.why == verdict::usable);
  SECTION("the next capability is at the offset of its data, as in crosvm") {
    const u8 at = window(f), next = f.config[at + 1u];
    f.poke(at + 1u, at + 16u, 1);
    f.poke(at + 16u, 0x01 | u32{next} << 8, 2);
  }
  SECTION("another type") { f.poke(window(f) + 3u, 6, 1); }
  SECTION("another vendor's capability") { f.poke(window(f), 0x01, 1); }
  SECTION("at the end of configuration space") {
    const u8 at = window(f), next = f.config[at + 1u];
    f.poke(at, 0x01 | 0xf0u << 8, 2);
    f.poke(0xf0, 0x09 | u32{next} << 8 | 20u << 16 | 5u << 24, 4);
  }
  CHECK(look(m).seen.why == verdict::bar_out_of_reach);
  rig::disk<split_queue<16>, any_pci> d;
  CHECK(d.start(m, pci::at(windowed(m), slot4)).error() == errc::unsupported);
  CHECK(d->why().why == verdict::bar_out_of_reach);
  CHECK(f.log().find("window") == std::string::npos);
}

TEST_CASE("window: a working capability with a stated length of 16 bytes is used [PCI-14]", "[pci][window]") {
  rig::machine m;
  auto& f = m.function((m.add<blk_model>(seat::modern, 4), 4));
  move_up(f);
  f.poke(window(f) + 2u, 16, 1);
  rig::disk<split_queue<16>, any_pci> d;
  REQUIRE(d.start(m, pci::at(windowed(m), slot4)));
  u8 sector[512];
  CHECK(d->read(0, sector));
}

TEST_CASE("window: the first of several capabilities with room for its data is used [PCI-07][PCI-08]",
          "[pci][window]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const u8 first = f.config[0x34];
  f.poke(0x34, 0xc0, 1);
  f.poke(0xc0, 0x09 | 0xd0u << 8 | 16u << 16 | 5u << 24, 4);
  f.poke(0xd0, 0x01 | u32{first} << 8, 2);
  CHECK(pci::find_window(m.bus.host(), slot4) == f.capability(0x09, 5, 1));
  f.poke(0xc1, first, 1);
  CHECK(pci::find_window(m.bus.host(), slot4) == 0xc0);
}

TEST_CASE("window: defects of a structure in the window are named", "[pci][window][hostile]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  move_up(f);
  const u8 common = f.capability(0x09, 1);
  f.poke(common + 8u, 0xfffffffc, 4);
  CHECK(look(m).seen.why == verdict::bar_too_small);
  f.poke(common + 8u, 2, 4);
  CHECK(look(m).seen.why == verdict::capability_misaligned);
  f.poke(common + 8u, 0, 4);
  f.poke(0x20, 0x0c, 4);
  f.poke(0x24, 0, 4);
  CHECK(look(m).seen.why == verdict::bar_unassigned);
}

TEST_CASE("window: neither the legacy block nor an I/O BAR uses the window [PCI-30][PCIL-05]",
          "[pci][window][legacy]") {
  rig::machine m;
  m.add<blk_model>(GENERATE(seat::legacy, seat::transitional), 4, rig::blk_options{.queue_size = 16});
  const host h = windowed(m);
  m.bus.reach = 0x1000;
  rig::disk<split_queue<16>, pci::legacy<host>> d;
  CHECK(!d.start(m, pci::look(h, slot4)));
  CHECK(d->why().why == verdict::bar_out_of_reach);
  CHECK(h.bar_through_window(slot4, 0).error() == errc::out_of_range);
  CHECK(m.function(4).log().find("window") == std::string::npos);
}

TEST_CASE("window: of a BAR larger than 4 GiB the first part is accessible", "[pci][window]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  f.bar_sizes[4] = u64{1} << 34;
  f.poke(0x20, 0xc, 4);
  f.poke(0x24, 0x40, 4);
  const auto space = windowed(m).bar_through_window(slot4, 4);
  REQUIRE(space);
  CHECK(space->is_window());
  CHECK(space->size() == 0xffffffff);
  rig::disk<split_queue<16>, any_pci> d;
  CHECK(d.start(m, look(m)));
}

TEST_CASE("window: random configuration space never leads outside a BAR, nor changes anything else",
          "[pci][window][hostile]") {
  rig::machine m;
  m.expect_objections = true;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  move_up(f);
  const auto whole = f.config;
  u32 seed = 1, found = 0;
  for (int round = 0; round < 3000; ++round) {
    f.config = whole;
    for (int change = 0; change < 3; ++change) {
      seed = seed * 1664525u + 1013904223u;
      f.poke(0x34 + seed / 7 % (0x100 - 0x34), seed >> 24, 1);
    }
    const auto before = f.config;
    report why;
    pci::modern_layout<host::bar_space> layout;
    if (pci::find_modern(windowed(m), slot4, layout, why)) {
      ++found;
      for (const auto& space : layout.space) CHECK(space.size() <= f.bar_sizes[4]);
      CHECK(layout.common().is_window());
      CHECK(layout.common().size() >= 56);
    }
    CHECK(f.config == before);  // discovery writes only BARs and decoding, and restores them
  }
  CHECK(found > 100);
}

TEST_CASE("window: a removed device reads as all ones", "[pci][window][hostile]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  move_up(m.function(4));
  rig::disk<split_queue<16>, any_pci> d;
  REQUIRE(d.start(m, look(m)));
  m.bus.unplug(slot4);
  m.memory.on_wait = {};
  u8 sector[512];
  CHECK(!d->read(0, sector));
  CHECK(d->reset().error() != errc::ok);
  m.expect_objections = true;  // a device that does not reset keeps the buffer
}
