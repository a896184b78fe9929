// SPDX-License-Identifier: MIT
// Registers in unusual places: in I/O ports, in several structures of a kind, with doorbells at any distance, in
// structures of odd length.
#include <catch2/generators/catch_generators.hpp>

#include <numeric>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

u8 cap(fake_function& f, int type, unsigned nth = 0) { return f.capability(0x09, type, nth); }

/// Turns BAR 4 into 16 KiB of ports.
void behind_ports(fake_function& f, device_model& model) {
  f.poke(0x20, 0x8001, 4);
  f.poke(0x24, 0, 4);
  f.attach(model);
}

/// The capability that QEMU's `modern-pio-notify=on` inserts first: 4 bytes in I/O BAR 2, one doorbell for all queues.
u8 add_port_notify(fake_function& f, device_model& model) {
  const u8 at = 0xb0, first = f.config[0x34];
  f.poke(0x34, at, 1);
  f.poke(at, 0x09 | u32{first} << 8 | 20u << 16 | 2u << 24, 4);
  f.poke(at + 4u, 2, 4);
  f.poke(at + 8u, 0, 4);
  f.poke(at + 12u, 4, 4);
  f.poke(at + 16u, 0, 4);
  f.poke(0x18, 0xc001, 4);
  f.bar_sizes[2] = 4;
  f.attach(model);
  return at;
}

/// Returns the write of the first doorbell after a start.
std::string doorbell(rig::machine& m, rig::disk<>& d) {
  u8 sector[512];
  if (!d.start(m, m.where(4))) return describe(d->why().why);
  REQUIRE(d->submit_read(0, sector));
  m.function(4).clear_log();
  d->kick();
  const std::string log = m.function(4).log();
  CHECK(d->wait_next());
  return log;
}

}  // namespace

TEST_CASE("registers: every structure may be in I/O ports, whose decoding is enabled", "[pci][registers]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  auto& source = m.add<rng_model>(seat::modern, 5);
  behind_ports(m.function(4), model);
  behind_ports(m.function(5), source);
  m.function(4).poke(4, 0, 2);  // the bus reports an access while decoding is off
  m.function(5).poke(4, 0, 2);
  REQUIRE(pci::probe_bar(m.bus.host(), {0, 0, 4, 0}, 4)->kind == pci::bar_kind::io);
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> data(4096), back(4096);
  std::iota(data.begin(), data.end(), u8{9});
  REQUIRE(d->write(100, data));
  REQUIRE(d->read(100, back));
  CHECK(back == data);
  CHECK(model.writes() == 1);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(5)));
  REQUIRE(e->fill(data));
  for (usize i = 0; i < data.size(); ++i) REQUIRE(data[i] == rng_model::pattern(i));
}

TEST_CASE("registers: the first usable of two notification structures is used [PCI-08]", "[pci][registers]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.at(0).notify_off = 3;
  auto& f = m.function(4);
  const u8 at = add_port_notify(f, model);
  std::string wanted = "w2@notify+0xc=0x0";  // the second structure, multiplier 4
  SECTION("no defect") { wanted = "w2@notify+0x0=0x0"; }
  SECTION("no defect, and it is the second") {
    const u8 other = cap(f, 2, 1);
    for (usize i = 4; i < 20; ++i) std::swap(f.config[at + i], f.config[other + i]);
  }
  SECTION("a reserved BAR") { f.poke(at + 4u, 6, 1); }
  SECTION("one byte") { f.poke(at + 12u, 1, 4); }
  SECTION("an odd offset") { f.poke(at + 8u, 1, 4); }
  SECTION("beyond the end of the BAR") { f.poke(at + 8u, 4, 4); }
  SECTION("a BAR without address") { f.poke(0x18, 1, 4); }
  SECTION("a BAR out of reach") {
    m.bus.reach = 0xfff00000;
    f.poke(0x10, 0xfff00000, 4);
    f.bar_sizes[0] = 16;
    f.poke(at + 4u, 0, 1);
  }
  rig::disk<> d;
  CHECK(doorbell(m, d) == wanted);
}

TEST_CASE("registers: doorbells at every distance, from one for all queues to a page for each [NOTIFY-01]",
          "[pci][registers]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  const u32 multiplier = GENERATE(0u, 2u, 4u, 4096u);
  const u16 place = GENERATE(u16{0}, u16{1}, u16{1023});
  model.at(0).notify_off = place;
  auto& f = m.function(4);
  f.poke(cap(f, 2) + 8u, 0x400000, 4);
  f.poke(cap(f, 2) + 12u, 0x400000, 4);
  f.poke(cap(f, 2) + 16u, multiplier, 4);
  f.bar_sizes[4] = 0x800000;
  f.poke(0x20, 0xf000000c, 4);
  f.attach(model);
  rig::disk<> d;
  CHECK(doorbell(m, d) == "w2@notify+" + virtio::testing::wire::hex(u32{place} * multiplier) + "=0x0");
}

TEST_CASE("registers: a doorbell that is misaligned or not inside its structure is rejected by name",
          "[pci][registers][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const auto [length, multiplier, place, good] = GENERATE(table<u32, u32, u16, bool>({
      {2, 0, 7, true},
      {3, 2, 0, true},
      {3, 2, 1, false},
      {4, 2, 1, true},
      {5, 2, 1, true},
      {5, 4, 1, false},
      {6, 4, 1, true},
      {0x1000, 1, 0, true},
      {0x1000, 1, 1, false},
      {0x1000, 3, 2, true},
      {0x1000, 3, 1, false},
      {0x1000, 0x80000000, 2, false},
      {0x1000, 0xffffffff, 0xffff, false},
      {0x1000, 0x00010000, 0xffff, false},
  }));
  CAPTURE(length, multiplier, place);
  model.at(0).notify_off = place;
  f.poke(cap(f, 2) + 12u, length, 4);
  f.poke(cap(f, 2) + 16u, multiplier, 4);
  f.attach(model);
  rig::disk<> d;
  const std::string log = doorbell(m, d);
  if (good) CHECK(log == "w2@notify+" + virtio::testing::wire::hex(place * multiplier) + "=0x0");
  else CHECK(log == describe(verdict::queue_unusable));
}

TEST_CASE("registers: structures of odd length are used up to their end [PCI-12][PCI-13]", "[pci][registers]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, rig::blk_options{.seg_max = 7});
  auto& f = m.function(4);
  const auto [common, notify, isr, device] =
      GENERATE(table<u32, u32, u32, u32>({{57, 3, 3, 61}, {59, 4095, 5, 17}, {63, 7, 1, 19}}));
  f.poke(cap(f, 1) + 12u, common, 4);
  f.poke(cap(f, 2) + 12u, notify, 4);
  f.poke(cap(f, 3) + 12u, isr, 4);
  f.poke(cap(f, 4) + 12u, device, 4);
  f.attach(model);
  rig::disk<> d;
  CHECK(doorbell(m, d) == "w2@notify+0x0=0x0");
  u8 data[1024];
  CHECK(d->read(3, data));

  report why;
  pci::modern<rig::host> modern;
  REQUIRE(modern.open(m.where(4), why));
  CHECK(modern.config<u32>(0xc).value_or(0) == 7);
  CHECK(modern.config<u32>(device - 2).error() == errc::out_of_range);
  CHECK(modern.config<u16>(device - 1).error() == errc::out_of_range);
  CHECK(modern.config<u8>(device).error() == errc::out_of_range);
  CHECK(modern.config<u8>(~usize{0}).error() == errc::out_of_range);
}

TEST_CASE("registers: a configuration that ends inside a field is reported, not read beyond its end",
          "[pci][registers][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const u32 length = GENERATE(1u, 4u, 7u);  // the capacity has eight bytes
  f.poke(cap(f, 4) + 12u, length, 4);
  f.attach(model);
  rig::disk<> d;
  CHECK(!d.start(m, m.where(4)));
  CHECK(d->why().why == verdict::config_unreadable);
}

TEST_CASE("registers: a capability with vendor data is neither interpreted nor written [PCI-28]", "[pci][registers]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const u8 first = f.config[0x34];
  f.poke(0x34, 0xc0, 1);
  f.poke(0xc0, 0x09 | u32{first} << 8 | 32u << 16 | 9u << 24, 4);  // 32 bytes, cfg_type 9
  f.poke(0xc4, 0x1234, 4);                                         // vendor_id, and data of that vendor
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  rig::disk<split_queue<16>, pci::transport<pci::windowed<rig::host>>> windowed;
  f.poke(0x24, 1, 4);
  REQUIRE(d->reset());
  m.bus.reach = u64{1} << 32;
  REQUIRE(windowed.start(m, pci::look(pci::windowed<rig::host>{m.bus.host()}, pci::address{0, 0, 4, 0})));
  CHECK(f.dword_reads[0xc0 / 4] > 0);  // the first dword, for the walk
  for (usize at = 0xc4; at < 0xe0; at += 4) CHECK(f.dword_reads[at / 4] == 0);
  // The bus reports writes into a capability.
}

TEST_CASE("registers: one interrupt may stand for a change of configuration and for used buffers [PCI-37]",
          "[pci][registers]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4, rig::blk_options{.queue_size = 16});
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  REQUIRE(d->submit_read(0, sector));
  d->kick();
  CHECK(!d->arm());
  (void)model.step();
  model.resize(4096);
  const interrupt_cause both = d->acknowledge_interrupt();
  CHECK(both.queue);
  CHECK(both.config);
  const interrupt_cause none = d->acknowledge_interrupt();  // the line is inactive
  CHECK(!none.queue);
  CHECK(!none.config);
  CHECK(d->next_completion());
  CHECK(d->check());
}
