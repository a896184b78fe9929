// SPDX-License-Identifier: MIT
// Hosts whose command register and MSI-X control accept only 16-bit writes, like Alioth.
#include <catch2/generators/catch_generators.hpp>

#include <virtio/bus/pci/msix.hpp>

#include "disk.hpp"

using namespace virtio;
using virtio::testing::fake_host16;

namespace {

using host16 = fake_host16;

host16 of(rig::machine& m) { return host16{m.bus.host()}; }

}  // namespace

TEST_CASE("half words: a host with 16-bit writes drives a device whose command register accepts no other width",
          "[pci]") {
  rig::machine m;
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy);
  auto& model = m.add<blk_model>(where, 4);
  rig::fill_pattern(model);
  m.function(4).half_words = true;
  m.function(4).poke(4, 0, 2);
  rig::disk<rig::legacy_queue, pci::transport<host16>> disk;
  REQUIRE(disk.start(m, pci::look(of(m), pci::address{0, 0, 4, 0})));
  std::vector<u8> data(512);
  REQUIRE(disk->read(3, data));
  CHECK(data == rig::expected(model, 3, 512));
  REQUIRE(disk->hand_off());
  CHECK((m.function(4).config[4] & 7) == 0);  // restored
  CHECK(m.objections().empty());
}

TEST_CASE("half words: MSI-X is switched by a 16-bit write if the host has one", "[pci][msix]") {
  rig::machine m;
  const bool half = GENERATE(true, false);
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  f.half_words = half;
  f.poke(4, 7, 2);
  const u8 at = f.capability(0x11);
  const u16 head = static_cast<u16>(f.peek(at, 2));
  pci::msix<host16> table;
  REQUIRE(table.open(of(m), {0, 0, 4, 0}));
  table.enable();
  CHECK((f.peek(at + 2u, 2) & 0xc000) == 0x8000);
  CHECK(f.peek(at, 2) == head);
  table.disable();
  CHECK((f.peek(at + 2u, 2) & 0xc000) == 0);
}

TEST_CASE("half words: decoding that stays off is reported, and no register is accessed", "[pci][session]") {
  rig::machine m;
  const seat where = GENERATE(seat::modern, seat::legacy);
  m.add<blk_model>(where, 4);
  m.function(4).half_words = true;
  m.function(4).poke(4, 0, 2);
  rig::disk<rig::legacy_queue> disk;  // this host writes 32 bits
  CHECK(disk.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(disk->why().why == verdict::decoding_off);
  CHECK(m.function(4).log().empty());
  CHECK(m.objections().empty());
  CHECK(disk.start(m, m.where(4)).error() == errc::unsupported);  // it holds no memory of the driver
}

TEST_CASE("half words: a running device keeps its memory if its decoding is switched off for good", "[pci][session]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  rig::disk<> disk;
  REQUIRE(disk.start(m, m.where(4)));
  m.function(4).half_words = true;
  m.function(4).poke(4, 4, 2);  // still bus master
  CHECK(disk->reset().error() == errc::device_broken);
  CHECK(disk.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(disk->why().why == verdict::former_device_stuck);
  CHECK(m.objections().empty());  // no write to registers that do not answer
  m.function(4).half_words = false;
  CHECK(disk->reset());
}

TEST_CASE("half words: decoding that stops when the device becomes bus master is reported, too", "[pci][session]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  m.function(4).poke(4, 0, 2);
  m.function(4).master_ends_decoding = true;
  rig::disk<> disk;
  CHECK(disk.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(disk->why().why == verdict::decoding_off);
  CHECK(m.objections().empty());
}

namespace {

// A user's board based on a ready-made host: a lock protects all of its configuration accesses.
struct locked : fake_host16 {
  void config_write32(pci::address at, u16 offset, u32 value) const { fake_host16::config_write32(at, offset, value); }
};
static_assert(pci::writes_halves<fake_host16> && !pci::writes_halves<rig::host> && !pci::writes_halves<locked>);
static_assert(pci::writes_halves<pci::windowed<fake_host16>> && pci::writes_halves<pci::ecam> &&
              pci::locating_host<pci::ecam>);

struct own_reads : pci::ecam {
  u32 config_read32(pci::address at, u16 offset) const { return pci::ecam::config_read32(at, offset); }
};
static_assert(!pci::locating_host<own_reads>);

}  // namespace

TEST_CASE("half words: a board with 32-bit writes of its own is not bypassed by 16-bit ones that it inherits",
          "[pci]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  m.function(4).half_words = true;  // accepts only 16-bit writes, so that a 32-bit write has no effect
  m.function(4).poke(4, 0, 2);
  rig::disk<split_queue<16>, pci::transport<locked>> disk;
  CHECK(!disk.start(m, pci::look(locked{{m.bus.host()}}, pci::address{0, 0, 4, 0})));
  CHECK(disk->why().why == verdict::decoding_off);
}

#if defined(__x86_64__) || defined(__i386__)
static_assert(requires(const pci::cf8<> h) { h.config_write16(pci::address{}, u16{4}, u16{7}); });
#endif
static_assert(requires(const pci::ecam h) { h.config_write16(pci::address{}, u16{4}, u16{7}); });

TEST_CASE("half words: configuration space in memory is written as 16 bits where only these count", "[pci]") {
  alignas(4096) static u8 space[4096];
  const pci::ecam h{.base = reinterpret_cast<uptr>(space)};
  space[6] = 0x55;
  h.config_write16({}, 4, 0x1234);
  CHECK((space[4] == 0x34 && space[5] == 0x12 && space[6] == 0x55));
  h.config_write16({}, 6, 0xabcd);
  CHECK((space[5] == 0x12 && space[6] == 0xcd && space[7] == 0xab));
}
