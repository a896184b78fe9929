// SPDX-License-Identifier: MIT
// Machines with several root buses, or several configuration spaces.
#include <catch2/generators/catch_generators.hpp>

#include <map>
#include <random>

#include "disk.hpp"

using namespace virtio;

namespace {

using host = pci::multi_root<rig::host>;

// Adds a disk; without addresses if `bare`.
blk_model& disk_at(rig::machine& m, pci::address at, bool bare = false) {
  m.models.push_back(std::make_unique<blk_model>(m.memory.memory));
  auto& model = static_cast<blk_model&>(*m.models.back());
  auto& f = m.bus.qemu_modern(at, model);
  for (u16 bar = 0; bare && bar < 6; ++bar) f.config_write(static_cast<u16>(0x10 + 4 * bar), 0);
  return model;
}

std::vector<pci::address> all_of(const host& h) {
  std::vector<pci::address> out;
  h.each_function([&](pci::address at) { return out.push_back(at), true; });
  return out;
}

}  // namespace

TEST_CASE("roots: devices on another root bus and behind its bridges are found if the host lists that bus", "[pci]") {
  rig::machine m;
  disk_at(m, {0, 0, 4, 0});
  m.bus.bridge({0, 0, 5, 0}, 1, 1);
  disk_at(m, {0, 1, 0, 0});
  m.bus.bridge({0, 0x40, 0, 0}, 0x41, 0x42);
  disk_at(m, {0, 0x41, 3, 0});
  disk_at(m, {0, 0x80, 31, 0});
  host h{m.bus.host()};
  CHECK(all_of(h).size() == 3);  // only those behind the known buses
  const auto roots = pci::find_roots(h);
  for (u32 bus = 0; bus < 256; ++bus) CHECK(roots.has(bus) == (bus == 0 || bus == 0x40 || bus == 0x80));
  h.roots = &roots;
  const auto all = all_of(h);
  REQUIRE(all.size() == 6);
  CHECK(all[4] == pci::address{0, 0x41, 3, 0});
  CHECK(all[5] == pci::address{0, 0x80, 31, 0});
  CHECK(pci::find_nth(h, device_type::block, 3)->id == all[5]);
  rig::disk<split_queue<16>, pci::transport<host>> disk;
  CHECK(disk.start(m, *pci::find_nth(h, device_type::block, 2)));
}

TEST_CASE("roots: a search ends after the announced number of root buses", "[pci]") {
  rig::machine m;
  for (const u8 bus : {u8{0x10}, u8{0x20}, u8{0x30}}) disk_at(m, {0, bus, 1, 0});
  const auto roots = pci::find_roots(m.bus.host(), 3);
  CHECK((roots.has(0) && roots.has(0x10) && roots.has(0x20)));
  CHECK_FALSE(roots.has(0x30));
}

TEST_CASE("roots: bridges with invalid numbers neither end nor restart a walk", "[pci][hostile]") {
  rig::machine m;
  std::mt19937 random{GENERATE(1u, 2u, 3u, 4u)};
  for (int i = 0; i < 60; ++i) {
    const auto bus = static_cast<u8>(random() % 256);
    m.bus.bridge({0, bus, static_cast<u8>(random() % 32), 0}, static_cast<u8>(random()), static_cast<u8>(random()));
  }
  host h{m.bus.host()};
  const auto roots = pci::find_roots(h);
  h.roots = &roots;
  std::map<u32, int> seen;
  for (const auto at : all_of(h)) ++seen[at.routing_id()];
  CHECK(seen.size() >= 50);
  for (const auto& [id, times] : seen) CHECK(times == 1);
}

TEST_CASE("roots: assign serves every root bus out of the same windows, each with its own bus numbers",
          "[pci][assign]") {
  rig::machine m;
  std::vector<pci::address> disks = {{0, 0, 4, 0}, {0, 0x10, 0, 0}, {0, 0x10, 9, 0}, {0, 0xe0, 2, 0}};
  for (const auto at : disks) disk_at(m, at, true);
  m.bus.bridge({0, 0, 6, 0}, 0, 0);
  m.bus.bridge({0, 0x10, 3, 0}, 0, 0);
  host h{m.bus.host()};
  const auto roots = pci::find_roots(h);
  h.roots = &roots;
  const pci::windows given{.io = {0x1000, 0x8000}, .memory = {0xc0000000, 0x1000000}};
  const auto done = pci::assign(h, given);
  CHECK(done.placed == 2 * disks.size());
  CHECK(done.unplaced == 0);
  CHECK(done.bridges == 2);
  CHECK(m.bus.function({0, 0, 6, 0}).config[0x19] == 1);
  CHECK(m.bus.function({0, 0x10, 3, 0}).config[0x19] == 0x11);
  std::map<u64, u64> taken;
  for (const auto at : disks)
    for (const u8 index : {u8{1}, u8{4}}) {
      const auto bar = pci::probe_bar(h, at, index);
      REQUIRE(bar);
      CHECK(taken.emplace(bar->base, bar->size).second);
    }
  for (auto one = taken.begin(); std::next(one) != taken.end(); ++one)
    CHECK(one->first + one->second <= std::next(one)->first);
  for (const auto at : disks) CHECK(pci::look(h, at).seen.why == verdict::usable);

  // A later device gets a free range, on any bus.
  disk_at(m, {0, 0xe0, 7, 0}, true);
  CHECK(pci::assign(h, given).placed == 2);
  CHECK(taken.count(pci::probe_bar(h, pci::address{0, 0xe0, 7, 0}, 4)->base) == 0);
  CHECK(pci::assign(h, given).placed == 0);
}

TEST_CASE("roots: a configuration space that begins with a higher bus is read from that bus", "[pci]") {
  static u8 space[2 << 20];  // buses 0x20 and 0x21
  const mmio_space bus20{reinterpret_cast<uptr>(space), 1 << 20},
      bus21{reinterpret_cast<uptr>(space) + (1 << 20), 1 << 20};
  for (usize slot = 0; slot < 32; ++slot)
    bus20.write<u32>(slot << 15, 0xffffffff), bus21.write<u32>(slot << 15, 0xffffffff);
  bus20.write<u32>(usize{3} << 15, 0x10421af4);
  bus21.write<u32>(usize{1} << 15, 0x10441af4);
  bus20.write<u32>(usize{5} << 15, 0x00018086);  // a bridge to 0x21
  bus20.write<u32>((usize{5} << 15) + 0x0c, 0x10000);
  bus20.write<u32>((usize{5} << 15) + 0x18, 0x212120);
  const pci::ecam h{.base = reinterpret_cast<uptr>(space), .buses = 2, .segment_number = 3, .first_bus = 0x20};
  std::vector<pci::address> all;
  h.each_function([&](pci::address at) { return all.push_back(at), true; });
  REQUIRE(all.size() == 3);
  CHECK(all[0] == pci::address{3, 0x20, 3, 0});
  CHECK(all[2] == pci::address{3, 0x21, 1, 0});
  CHECK(h.config_read32(all[2], 0) == 0x10441af4);
  CHECK(pci::find_roots(h).has(0x20));
  CHECK_FALSE(pci::find_roots(h).has(0));
  const pci::multi_root<pci::ecam> with{h};
  u32 count = 0;
  with.each_function([&](pci::address) { return ++count, true; });
  CHECK(count == 3);
  // Its BAR without an address is placed, with the host's own segment.
  bus20.write<u32>((usize{3} << 15) + 0x0c, 0);
  bus20.write<u32>((usize{3} << 15) + 0x10, 0);
  CHECK(pci::assign(h, {.memory = {0x9000'0000, 0x1000'0000}}).placed != 0);
  // Lower and higher buses and other segments are absent; writes there have no effect.
  for (const auto at : {pci::address{3, 0x1f, 3, 0}, {3, 0x22, 0, 0}, {3, 0, 0, 0}, {0, 0x20, 3, 0}, {2, 0x20, 3, 0}}) {
    CHECK(h.config_read32(at, 0) == 0xffffffff);
    h.config_write32(at, 0, 0);
    CHECK(h.bar(at, 0).error() == errc::not_found);
  }
  CHECK(bus20.read<u32>(usize{3} << 15) == 0x10421af4);
}

#if defined(__x86_64__) || defined(__i386__)
TEST_CASE("roots: ports access one segment, and addresses of other segments are not read", "[pci]") {
  const pci::cf8<> h;
  CHECK(h.config_read32({.segment = 1}, 0) == 0xffffffff);  // no port is accessed: that would end this program
  h.config_write32({.segment = 1}, 4, 7);
  CHECK(h.bar({.segment = 1}, 0).error() == errc::not_found);
}
#endif
