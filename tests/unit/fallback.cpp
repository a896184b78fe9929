// SPDX-License-Identifier: MIT
// A transitional device has two interfaces. If the modern one is unusable, the legacy one is used.
#include <catch2/generators/catch_generators.hpp>

#include "disk.hpp"

using namespace virtio;

namespace {

constexpr u32 far_up = 0x38;  // upper half of a BAR's address

struct breakage {
  const char* what;
  void (*apply)(rig::machine&);
};

// A defect that makes the modern registers of slot 4 unusable.
constexpr breakage breakages[] = {
    {"out of reach", [](rig::machine& m) { m.function(4).poke(0x24, far_up, 4), m.bus.reach = u64{1} << 32; }},
    {"without address", [](rig::machine& m) { m.function(4).poke(0x20, 0x0c, 4), m.function(4).poke(0x24, 0, 4); }},
    {"with a reserved BAR", [](rig::machine& m) { m.function(4).poke(m.function(4).capability(0x09, 2) + 4u, 7, 1); }},
    {"without the ISR's capability",
     [](rig::machine& m) { m.function(4).poke(m.function(4).capability(0x09, 3) + 3u, 9, 1); }},
};

}  // namespace

TEST_CASE("pci: a transitional device whose modern registers cannot be used is driven through its legacy block",
          "[pci][legacy]") {
  const breakage& broken = breakages[GENERATE(0, 1, 2, 3)];
  INFO(broken.what);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::transitional, 4);
  rig::fill_pattern(model);
  broken.apply(m);
  const auto where = m.where(4);
  CHECK(where.seen.why == verdict::usable);
  CHECK(where.seen.via == transport_kind::pci_legacy);
  rig::disk<rig::legacy_queue> disk;
  REQUIRE(disk.start(m, where));
  CHECK(disk->why().via == transport_kind::pci_legacy);
  std::vector<u8> data(512);
  REQUIRE(disk->read(3, data));
  CHECK(data == rig::expected(model, 3, 512));
  CHECK(m.objections().empty());
}

TEST_CASE("pci: if neither interface is usable, the reason of the modern one is reported", "[pci][legacy]") {
  const breakage& broken = breakages[GENERATE(0, 1, 2, 3)];
  INFO(broken.what);
  rig::machine m;
  m.add<blk_model>(seat::transitional, 4);
  broken.apply(m);
  m.function(4).poke(0x10, 1, 4);  // ports without an address
  const auto where = m.where(4);
  CHECK(where.seen.why != verdict::usable);
  CHECK(where.seen.via == transport_kind::none);
  rig::disk<> disk;
  CHECK(!disk.start(m, pci::at(m.bus.host(), {0, 0, 4, 0})));
  CHECK(disk->why().why == where.seen.why);
}

TEST_CASE("pci: an unreachable modern device has no other interface", "[pci]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  breakages[0].apply(m);
  CHECK(m.where(4).seen.why == verdict::bar_out_of_reach);
  rig::disk<> disk;
  CHECK(disk.start(m, pci::at(m.bus.host(), {0, 0, 4, 0})).error() == errc::unsupported);
  CHECK(disk->why().why == verdict::bar_out_of_reach);
}
