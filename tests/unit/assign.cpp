// SPDX-License-Identifier: MIT
// Address assignment: on one bus, behind bridges, around ranges that firmware assigned, and on hosts with invalid
// registers. The oracle below decodes addresses like a bus, independent of how they were chosen.
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include <map>
#include <random>

#include <virtio/bus/pci/assign.hpp>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

constexpr pci::windows board{
    .io = {0xc000, 0x3000}, .memory = {0xe0000000, 0x10000000}, .high = {u64{1} << 36, u64{1} << 34}};

// The range of one BAR.
struct place {
  pci::address owner;
  unsigned bar;
  bool ports;
  u64 first, last;
};

// The windows of a bridge, decoded from its registers like a bus does.
bool passes(const fake_function& bridge, bool ports, u64 first, u64 last) {
  const auto inside = [&](u64 base, u64 limit) { return base <= limit && first >= base && last <= limit; };
  if (ports) return inside((bridge.peek(0x1c, 1) >> 4) * 0x1000u, (bridge.peek(0x1d, 1) >> 4) * 0x1000u + 0xfff);
  const bool plain = inside(u64{bridge.peek(0x20, 2) >> 4} << 20, (u64{bridge.peek(0x22, 2) >> 4} << 20) + 0xfffff);
  const u64 low = u64{bridge.peek(0x28)} << 32 | u64{bridge.peek(0x24, 2) >> 4} << 20;
  const u64 high = u64{bridge.peek(0x2c)} << 32 | u64{bridge.peek(0x26, 2) >> 4} << 20;
  return plain || (bridge.has_prefetch_window && inside(low, high + 0xfffff));
}

// Returns every BAR with an address. Checks that it is aligned, in the board's windows, passed on by all bridges above
// it, and not shared.
std::vector<place> decoded(rig::machine& m, const pci::windows& given = board) {
  std::vector<place> all;
  std::map<u8, pci::address> bridge_to;
  m.bus.host().each_function([&](pci::address at) {
    fake_function& f = m.bus.function(at);
    const bool bridge = (f.config[0x0e] & 0x7f) == 1;
    if (bridge) bridge_to[f.config[0x19]] = at;
    for (unsigned bar = 0; bar < (bridge ? 2u : 6u); ++bar) {
      const u32 low = f.peek(0x10 + 4 * bar);
      const bool ports = (low & 1) != 0, wide = (low & 7) == 4;
      u64 base = low & (ports ? ~3u : ~15u);
      if (wide) base |= u64{f.peek(0x14 + 4 * bar)} << 32;
      if (f.bar_sizes[bar] != 0 && base != 0) all.push_back({at, bar, ports, base, base + f.bar_sizes[bar] - 1});
      if (wide) ++bar;
    }
    return true;
  });
  for (const place& one : all) {
    INFO("BAR " << one.bar << " of " << one.owner.routing_id() << " at " << one.first);
    CHECK(one.first % (one.last - one.first + 1) == 0);
    const auto in = [&](pci::range r) { return r.size != 0 && one.first >= r.base && one.last - r.base < r.size; };
    CHECK((one.ports ? in(given.io) : in(given.memory) || in(given.high)));
    for (pci::address at = one.owner; at.bus != 0; at = bridge_to.at(at.bus)) {
      const fake_function& bridge = m.bus.function(bridge_to.at(at.bus));
      CHECK(passes(bridge, one.ports, one.first, one.last));
      CHECK((bridge.config[0x04] & 7) == 7);
      CHECK(bridge.config[0x18] == bridge_to.at(at.bus).bus);
      CHECK((bridge.config[0x19] <= one.owner.bus && one.owner.bus <= bridge.config[0x1a]));
      // No other function on the bridge's bus decodes it, and no other bridge there passes it on.
      for (const auto& [number, sister] : bridge_to)
        if (sister.bus == bridge_to.at(at.bus).bus && number != at.bus)
          CHECK_FALSE(passes(m.bus.function(sister), one.ports, one.first, one.last));
    }
    for (const place& other : all)
      if (&other != &one && other.ports == one.ports) CHECK((other.last < one.first || other.first > one.last));
  }
  return all;
}

void forget_addresses(fake_function& f) {
  for (unsigned bar = 0; bar < 6; ++bar) f.config_write(static_cast<u16>(0x10 + 4 * bar), 0);
}

// Adds a block device whose BARs have no address.
blk_model& unassigned(rig::machine& m, pci::address at, bool transitional = false) {
  m.models.push_back(std::make_unique<blk_model>(m.memory.memory));
  auto& model = static_cast<blk_model&>(*m.models.back());
  forget_addresses(transitional ? m.bus.qemu_transitional(at, model) : m.bus.qemu_modern(at, model));
  return model;
}

void read_a_sector(rig::machine& m, pci::address at) {
  rig::disk<> d;
  REQUIRE(d.start(m, pci::look(m.bus.host(), at)));
  u8 sector[512];
  CHECK(d->read(0, sector));
}

}  // namespace

TEST_CASE("assign: BARs without address get one, and the device works", "[assign]") {
  rig::machine m;
  (void)unassigned(m, {0, 0, 4, 0});
  (void)unassigned(m, {0, 0, 5, 0}, true);
  CHECK(pci::look(m.bus.host(), pci::address{0, 0, 4, 0}).seen.why == verdict::bar_unassigned);
  const auto done = pci::assign(m.bus.host(), board);
  CHECK(done.placed == decoded(m).size());
  CHECK(done.placed == 5);  // two and three
  CHECK(done.unplaced == 0);
  read_a_sector(m, {0, 0, 4, 0});
  read_a_sector(m, {0, 0, 5, 0});
}

TEST_CASE("assign: a second call changes nothing, and places devices that were plugged in since", "[assign]") {
  rig::machine m;
  (void)unassigned(m, {0, 0, 4, 0});
  m.bus.bridge({0, 0, 7, 0}, 0, 0);
  (void)pci::assign(m.bus.host(), board);
  const auto before = m.function(4).config;
  const auto again = pci::assign(m.bus.host(), board);
  CHECK((again.placed == 0 && again.unplaced == 0 && again.bridges == 0));
  CHECK(m.function(4).config == before);

  (void)unassigned(m, {0, 0, 6, 0});
  (void)unassigned(m, {0, 1, 0, 0});  // behind the bridge to bus 1
  CHECK(pci::assign(m.bus.host(), board).placed == 4);
  (void)decoded(m);
  CHECK(m.function(4).config == before);
  read_a_sector(m, {0, 1, 0, 0});
}

TEST_CASE("assign: buses behind bridges are numbered, and windows are opened over the devices there", "[assign]") {
  rig::machine m;
  // A switch with one upstream and two downstream ports, one of which is empty, and a plain bridge beside it.
  m.bus.bridge({0, 0, 3, 0}, 0, 0);
  m.bus.bridge({0, 1, 0, 0}, 0, 0);
  m.bus.bridge({0, 2, 1, 0}, 0, 0);
  m.bus.bridge({0, 2, 2, 0}, 0, 0);
  m.bus.bridge({0, 0, 9, 0}, 0, 0);
  (void)unassigned(m, {0, 3, 0, 0}, true);
  (void)unassigned(m, {0, 5, 6, 0});
  (void)unassigned(m, {0, 0, 2, 0});
  const auto done = pci::assign(m.bus.host(), board);
  CHECK(done.bridges == 5);
  CHECK(done.unplaced == 0);
  CHECK(decoded(m).size() == 7);
  CHECK(m.bus.function({0, 0, 3, 0}).config[0x1a] == 4);  // buses 1 to 4
  CHECK(m.bus.function({0, 0, 9, 0}).config[0x19] == 5);
  // An empty bus: closed.
  CHECK(m.bus.function({0, 2, 2, 0}).peek(0x20, 2) > m.bus.function({0, 2, 2, 0}).peek(0x22, 2));
  read_a_sector(m, {0, 3, 0, 0});
  read_a_sector(m, {0, 5, 6, 0});
}

TEST_CASE("assign: bus numbers that are invalid for a bridge's place are replaced", "[assign]") {
  rig::machine m;
  m.bus.bridge({0, 0, 3, 0}, 0, 0);
  m.bus.bridge({0, 1, 0, 0}, 1, 1);  // the bus that it is on
  m.bus.bridge({0, 2, 1, 0}, 9, 4);  // ends before it begins
  (void)unassigned(m, {0, 3, 0, 0});
  CHECK(pci::assign(m.bus.host(), board).bridges == 3);
  CHECK(decoded(m).size() == 2);
  read_a_sector(m, {0, 3, 0, 0});
}

TEST_CASE("assign: ranges that firmware assigned stay, and get no other BAR", "[assign]") {
  rig::machine m;
  constexpr pci::windows tight{.io = {}, .memory = {0xe0000000, 0x40000}, .high = {}};
  (void)unassigned(m, {0, 0, 4, 0});
  (void)unassigned(m, {0, 0, 5, 0});
  (void)unassigned(m, {0, 0, 6, 0});
  // Firmware put one device in the middle and one at the start.
  m.function(4).config_write(0x14, 0xe0010000);
  m.function(4).config_write(0x20, 0xe0014000);
  m.function(5).config_write(0x14, 0xe0000000);
  m.function(5).config_write(0x20, 0xe0004000);
  const auto before = m.function(4).config;
  CHECK(pci::assign(m.bus.host(), tight).placed == 2);
  CHECK(m.function(4).config == before);
  CHECK(decoded(m, tight).size() == 6);
  read_a_sector(m, {0, 0, 6, 0});
}

TEST_CASE("assign: the range of an enabled expansion ROM gets no BAR, and the ROM is not changed", "[assign]") {
  rig::machine m;
  (void)unassigned(m, {0, 0, 4, 0});
  auto& device = m.bus.raw({0, 0, 5, 0}, "");
  device.poke(0, 0x12348086, 4);
  device.rom_size = 0x10000;
  device.config_write(0x30, 0xe0000001);
  auto& bridge = m.bus.bridge({0, 0, 7, 0}, 1, 1);
  bridge.rom_size = 0x800;
  bridge.config_write(0x38, 0xe0010001);
  auto& off = m.bus.raw({0, 0, 8, 0}, "");
  off.poke(0, 0x12348086, 4);
  off.rom_size = 0x100000;
  off.config_write(0x30, 0xe0000000);
  CHECK(pci::assign(m.bus.host(), board).placed == 2);
  CHECK(device.peek(0x30) == 0xe0000001);
  CHECK(bridge.peek(0x38) == 0xe0010001);
  CHECK(off.peek(0x30) == 0xe0000000);
  for (const auto& one : decoded(m)) CHECK((one.first > 0xe00107ff && one.last < 0xe0100000));
  read_a_sector(m, {0, 0, 4, 0});
}

TEST_CASE("assign: bridges that are not crossed are counted", "[assign]") {
  rig::machine m;
  SECTION("nested too deep") {
    for (u8 bus = 0; bus < 11; ++bus) m.bus.bridge({0, bus, 0, 0}, 0, 0);
    const auto done = pci::assign(m.bus.host(), board);
    CHECK((done.bridges == 8 && done.bridges_left == 1));  // devices behind that one cannot be found
  }
  SECTION("no number left") {
    for (u8 slot = 1; slot < 6; ++slot) m.bus.bridge({0, 0, slot, 0}, 0, 0);
    const auto done = pci::assign(m.bus.host(), {.memory = board.memory, .last_bus = 3});
    CHECK((done.bridges == 3 && done.bridges_left == 2));
  }
  SECTION("the number of another bridge") {
    m.bus.bridge({0, 0, 1, 0}, 1, 1);
    m.bus.bridge({0, 0, 2, 0}, 1, 1);
    CHECK(pci::assign(m.bus.host(), board).bridges_left == 1);
  }
}

TEST_CASE("assign: behind a bridge that firmware opened, its own windows are used", "[assign]") {
  rig::machine m;
  auto& bridge = m.bus.bridge({0, 0, 7, 0}, 3, 3);
  bridge.config_write(0x20, 0xe210e200);  // e2000000 to e21fffff
  bridge.config_write(0x1c, 0xd0d0);
  (void)unassigned(m, {0, 3, 0, 0}, true);
  CHECK(pci::assign(m.bus.host(), board).placed == 3);
  for (const auto& one : decoded(m)) CHECK((one.ports ? one.first >> 12 == 0xd : one.first >> 21 == 0xe2000000 >> 21));
  read_a_sector(m, {0, 3, 0, 0});
}

TEST_CASE("assign: behind a closed bridge, assigned ranges get no other BAR", "[assign]") {
  rig::machine m;
  auto& bridge = m.bus.bridge({0, 0, 7, 0}, 1, 1);
  (void)unassigned(m, {0, 1, 0, 0});
  (void)unassigned(m, {0, 1, 1, 0});
  auto& second = m.bus.function({0, 1, 1, 0});
  second.config_write(0x14, 0xe0000000);
  second.config_write(0x20, 0xe0008000);
  const auto before = second.config;
  CHECK(pci::assign(m.bus.host(), board).placed == 2);
  CHECK(second.config == before);
  CHECK(bridge.peek(0x20) == 0xe000e000);  // covers all of them
  CHECK(decoded(m).size() == 4);
  read_a_sector(m, {0, 1, 0, 0});
  read_a_sector(m, {0, 1, 1, 0});
}

TEST_CASE("assign: a 64-bit BAR is placed above 4 GiB if there is no room below, also behind bridges", "[assign]") {
  rig::machine m;
  constexpr pci::windows low_is_small{.io = {}, .memory = {0xe0000000, 0x3000}, .high = board.high};
  m.bus.bridge({0, 0, 7, 0}, 0, 0);
  (void)unassigned(m, {0, 0, 4, 0});
  (void)unassigned(m, {0, 1, 0, 0});
  const auto done = pci::assign(m.bus.host(), low_is_small);
  CHECK(done.placed == 3);  // the 4 KiB BARs: one fits below, but behind the bridge a window needs 1 MiB
  CHECK(done.unplaced == 1);
  const auto all = decoded(m, low_is_small);
  CHECK(std::count_if(all.begin(), all.end(), [](const place& one) { return one.first >> 32 != 0; }) == 2);
  read_a_sector(m, {0, 0, 4, 0});
  read_a_sector(m, {0, 1, 0, 0});
}

TEST_CASE("assign: a BAR without room or without a window is unchanged and counted", "[assign]") {
  rig::machine m;
  (void)unassigned(m, {0, 0, 4, 0}, true);
  const auto done = pci::assign(m.bus.host(), {.io = {0xc000, 16}, .memory = {0xe0000000, 0x2000}, .high = {}});
  CHECK(done.placed == 1);
  CHECK(done.unplaced == 2);
  CHECK(pci::look(m.bus.host(), pci::address{0, 0, 4, 0}).seen.why == verdict::bar_unassigned);
  CHECK(pci::assign(m.bus.host(), {}).placed == 0);
}

TEST_CASE("assign: a driver enables only the decoding that it needs, since other BARs may have no address",
          "[assign]") {
  rig::machine m;
  (void)unassigned(m, {0, 0, 4, 0}, true);
  auto& f = m.function(4);
  const pci::windows no_ports{.io = {}, .memory = board.memory, .high = {}};
  CHECK(pci::assign(m.bus.host(), no_ports).unplaced == 1);
  f.config_write(0x04, 0);
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK((f.peek(0x04, 2) & 7) == 6);
  f.config_write(0x04, 7);  // enabled before, and stays enabled
  REQUIRE(d.start(m, m.where(4)));
  CHECK((f.peek(0x04, 2) & 7) == 7);
  u8 sector[512];
  CHECK(d->read(0, sector));
}

TEST_CASE("assign: behind a bridge without an I/O or prefetchable window, BARs that need one stay unplaced",
          "[assign]") {
  rig::machine m;
  auto& bridge = m.bus.bridge({0, 0, 7, 0}, 0, 0);
  bridge.has_io_window = bridge.has_prefetch_window = false;
  (void)unassigned(m, {0, 1, 0, 0}, true);
  const auto done = pci::assign(m.bus.host(), board);
  CHECK((done.placed == 2 && done.unplaced == 1));
  (void)decoded(m);
  read_a_sector(m, {0, 1, 0, 0});
}

TEST_CASE("assign: a bridge whose last BAR claims 64 bits keeps its bus numbers", "[assign][hostile]") {
  rig::machine m;
  auto& bridge = m.bus.bridge({0, 0, 7, 0}, 1, 1);
  bridge.bar_sizes[1] = 4096;
  bridge.poke(0x14, 4, 4);
  (void)unassigned(m, {0, 1, 0, 0});
  constexpr pci::windows high{.io = {}, .memory = {}, .high = board.high};
  (void)pci::assign(m.bus.host(), high);
  CHECK(bridge.peek(0x18) == 0x010100);
  (void)pci::assign(m.bus.host(), board);
  CHECK(bridge.peek(0x18) == 0x010100);
  CHECK(bridge.peek(0x14) >> 28 == 0xe);
}

TEST_CASE("assign: random machines, every address decodes at exactly one place", "[assign]") {
  const u32 seed = GENERATE(Catch::Generators::range(1u, 60u));
  CAPTURE(seed);
  std::mt19937 random{seed};
  rig::machine m;
  std::vector<u8> buses{0};
  u8 numbers = 0;
  // Bridges in the order in which they are numbered: depth first.
  const auto grow = [&](auto& self, u8 bus, unsigned depth) -> void {
    for (u8 slot = 1; slot < 8; ++slot) {
      const auto dice = random() % 10;
      if (dice < 2 && depth < 4) {
        auto& bridge = m.bus.bridge({0, bus, slot, 0}, 0, 0);
        bridge.has_prefetch_window = random() % 2 == 0;
        self(self, ++numbers, depth + 1);
      } else if (dice < 6) {
        auto& f = m.bus.raw({0, bus, slot, 0}, "");
        f.poke(0, 0x12348086 + slot, 4);
        for (unsigned bar = 0; bar < 6; ++bar) {
          const auto what = random() % 5;
          if (what == 0) f.poke(0x10 + 4 * bar, 1, 4), f.bar_sizes[bar] = u64{4} << random() % 6;
          if (what == 1) f.bar_sizes[bar] = u64{16} << random() % 18;
          if (what == 2 && bar < 5)
            f.poke(0x10 + 4 * bar, random() % 2 != 0 ? 4 : 12, 4), f.bar_sizes[bar++] = u64{4096} << random() % 12;
        }
      }
    }
  };
  grow(grow, 0, 0);
  const auto done = pci::assign(m.bus.host(), board);
  CHECK(done.bridges == numbers);
  CHECK(decoded(m).size() == done.placed);
  const auto again = pci::assign(m.bus.host(), board);
  CHECK(again.placed == 0);
  CHECK(again.unplaced == done.unplaced);
  CHECK(decoded(m).size() == done.placed);
}

TEST_CASE("assign: the gap before a large BAR is used, so that a second call places no more BARs", "[assign]") {
  const u32 seed = GENERATE(Catch::Generators::range(0u, 60u));
  CAPTURE(seed);
  rig::machine m;
  const auto add = [&](u8 bus, u8 slot, u64 size) -> fake_function& {
    auto& f = m.bus.raw({0, bus, slot, 0}, "");
    f.poke(0, 0x12348086 + slot, 4);
    f.bar_sizes[0] = size;
    return f;
  };
  pci::windows given{.io = {}, .memory = {0xc0000000, 0x10000000}, .high = {}};
  if (seed == 0) {
    add(0, 1, 0x4000);
    add(0, 2, 0x8000000);
    add(0, 3, 0x4000);
  } else {
    // Little room, on the root bus and behind a bridge.
    std::mt19937 random{seed};
    given.memory = {0xc0000000 + (random() % 16 << 16), u64{1} << (23 + random() % 4)};
    if (random() % 2 != 0) m.bus.bridge({0, 0, static_cast<u8>(1 + random() % 20), 0}, 0, 0);
    for (u8 slot = 21; slot < 31; ++slot) add(0, slot, u64{4096} << random() % 13);
    for (u8 slot = 0; slot < 4; ++slot) add(1, slot, u64{4096} << random() % 11);
  }
  const auto done = pci::assign(m.bus.host(), given);
  CHECK(decoded(m, given).size() == done.placed);
  if (seed == 0) CHECK((done.placed == 3 && done.unplaced == 0));
  const auto again = pci::assign(m.bus.host(), given);
  CHECK(again.placed == 0);
  CHECK(again.unplaced == done.unplaced);
}

TEST_CASE("assign: a window beyond 4 GiB or port 65,535 is used up to that limit", "[assign]") {
  rig::machine m;
  for (u8 slot = 1; slot < 5; ++slot) {
    auto& f = m.bus.raw({0, 0, slot, 0}, "");
    f.poke(0, 0x12348086 + slot, 4);
    if (slot > 2) f.poke(0x10, 1, 4);
    f.bar_sizes[0] = slot > 2 ? 0x80 : 0x4000;
  }
  const pci::windows given{.io = {0xff80, 0x1000}, .memory = {0xffffc000, 0x10000000}, .high = {}};
  const auto done = pci::assign(m.bus.host(), given);
  CHECK((done.placed == 2 && done.unplaced == 2));
  CHECK(decoded(m, {.io = {0xff80, 0x80}, .memory = {0xffffc000, 0x4000}, .high = {}}).size() == 2);
  CHECK(pci::assign(m.bus.host(), {.io = {0x10000, 0x1000}, .memory = {u64{1} << 32, 0x10000000}, .high = {}}).placed ==
        0);
}

TEST_CASE("assign: invalid bus numbers and BAR sizes cause no endless walk", "[assign][hostile]") {
  rig::machine m;
  m.expect_objections = true;
  const u32 seed = GENERATE(Catch::Generators::range(1u, 20u));
  std::mt19937 random{seed};
  usize accesses = 0;
  for (u32 n = 0; n < 24; ++n) {
    const pci::address at{0, static_cast<u8>(random() % 6), static_cast<u8>(random() % 32), 0};
    auto& f = m.bus.bridge(at, static_cast<u8>(random()), static_cast<u8>(random()));
    for (auto offset = 0x10u; offset < 0x40; ++offset) f.config[offset] = static_cast<u8>(random());
    f.config[0x0e] = static_cast<u8>(random() % 2);
    for (auto& size : f.bar_sizes) size = random() % 3 == 0 ? random() : u64{1} << random() % 64;
  }
  (void)pci::assign(m.bus.host(), board);
  m.bus.host().each_function([&](pci::address at) {
    accesses += m.bus.function(at).config_reads;
    return true;
  });
  CHECK(accesses < 10'000'000);
}

TEST_CASE("assign: with any bus numbers and sizes, a BAR is placed inside the board's or an open bridge's windows",
          "[assign][hostile]") {
  rig::machine m;
  m.expect_objections = true;
  const u32 seed = GENERATE(Catch::Generators::range(1u, 40u));
  CAPTURE(seed);
  std::mt19937 random{seed};
  struct window {
    bool ports;
    u64 first, last;
  };
  std::vector<window> allowed{{true, board.io.base, board.io.base + board.io.size - 1},
                              {false, board.memory.base, board.memory.base + board.memory.size - 1},
                              {false, board.high.base, board.high.base + board.high.size - 1}};
  std::vector<fake_function*> devices;
  for (u8 bus = 0; bus < 6; ++bus)
    for (u8 slot = 0; slot < 6; ++slot) {
      if (random() % 3 == 0) {
        auto& bridge = m.bus.bridge({0, bus, slot, 0}, static_cast<u8>(random() % 8), static_cast<u8>(random() % 8));
        if (random() % 2 != 0) continue;
        for (auto offset = 0x1cu; offset < 0x34; ++offset) bridge.config[offset] = static_cast<u8>(random());
        bridge.poke(0x24, (bridge.peek(0x24) & 0xfff0fff0) | 0x00010001, 4);
        const auto add = [&](bool ports, u64 first, u64 last) {
          if (first != 0 && first <= last) allowed.push_back({ports, first, last});
        };
        add(true, (bridge.peek(0x1c, 1) >> 4) * 0x1000u, (bridge.peek(0x1d, 1) >> 4) * 0x1000u + 0xfff);
        add(false, u64{bridge.peek(0x20, 2) >> 4} << 20, (u64{bridge.peek(0x22, 2) >> 4} << 20) + 0xfffff);
        add(false, u64{bridge.peek(0x28)} << 32 | u64{bridge.peek(0x24, 2) >> 4} << 20,
            (u64{bridge.peek(0x2c)} << 32 | u64{bridge.peek(0x26, 2) >> 4} << 20) + 0xfffff);
        continue;
      }
      auto& f = m.bus.raw({0, bus, slot, 0}, "");
      devices.push_back(&f);
      f.poke(0, 0x12348086, 4);
      for (unsigned bar = 0; bar < 6; ++bar) {
        const auto what = random() % 4;
        if (what == 0) continue;
        f.bar_sizes[bar] = random() % 8 == 0 ? random() | u64{random()} << 32 : u64{16} << random() % 60;
        f.poke(0x10 + 4 * bar, what == 1 ? 1 : what == 2 ? 0 : 0xc, 4);
        if (what == 3) ++bar;
      }
      f.poke(0x24, 0, 4);  // no 64-bit BAR in the last place
    }
  (void)pci::assign(m.bus.host(), board);
  for (fake_function* f : devices)
    for (unsigned bar = 0; bar < 6; ++bar) {
      const u32 low = f->peek(0x10 + 4 * bar);
      const bool ports = (low & 1) != 0, wide = (low & 7) == 4;
      const u64 base = (low & (ports ? ~3u : ~15u)) | (wide ? u64{f->peek(0x14 + 4 * bar)} << 32 : 0);
      const u64 size = f->bar_sizes[bar];
      if (base != 0) {
        INFO("BAR " << bar << " at " << base << " of " << size);
        CHECK(std::any_of(allowed.begin(), allowed.end(), [&](const window& w) {
          return w.ports == ports && base >= w.first && base <= w.last && size - 1 <= w.last - base;
        }));
      }
      if (wide) ++bar;
    }
}
