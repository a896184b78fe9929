// SPDX-License-Identifier: MIT
// The value of a doorbell: the queue's number or the device's value for it, and its position, over PCI and MMIO, with
// both rings. The models compare every position with the ring's.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <virtio/mmio.hpp>
#include <virtio/queue/either.hpp>
#include <virtio/testing/fake_mmio.hpp>
#include <virtio/testing/scripted_io.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "session.hpp"

using namespace virtio;
using virtio::testing::wire::hex;

namespace {

constexpr unsigned ring_packed = 34, notification_data = 38, notif_config_data = 39;

u8 cap(fake_function& f, int type) { return f.capability(0x09, type); }

/// Returns the write of one doorbell.
template <class Disk>
std::string doorbell(rig::machine& m, Disk& d) {
  static u8 sector[512];
  REQUIRE(d->submit_read(0, sector));
  m.function(4).clear_log();
  d->kick();
  std::string log = m.function(4).log();
  REQUIRE(d->wait_next());
  return log;
}

}  // namespace

TEST_CASE(
    "notify: a driver accepts NOTIFICATION_DATA and NOTIF_CONFIG_DATA, and writes the doorbell value of each "
    "[NOTIFY-01][NOTIFY-02][NOTIFY-03][NOTIFY-04][NOTIFY-05][NOTIFY-06][FEAT-21]",
    "[notify][pci]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.at(0).notify_off = 3;
  rig::disk<> d;
  std::string first, second;
  SECTION("neither") { first = second = "w2@notify+0xc=0x0"; }
  SECTION("NOTIFICATION_DATA") {
    model.offer({notification_data});
    first = "w4@notify+0xc=0x10000";
    second = "w4@notify+0xc=0x20000";
  }
  SECTION("NOTIF_CONFIG_DATA") {
    model.offer({notif_config_data});
    first = second = "w2@notify+0xc=0x40";
  }
  SECTION("both") {
    model.offer({notification_data, notif_config_data});
    first = "w4@notify+0xc=0x10040";
    second = "w4@notify+0xc=0x20040";
  }
  REQUIRE(d.start(m, m.where(4)));
  for (const unsigned bit : {notification_data, notif_config_data}) CHECK(model.accepted(bit) == model.offers(bit));
  CHECK(doorbell(m, d) == first);
  CHECK(doorbell(m, d) == second);
}

TEST_CASE(
    "notify: on a packed ring the doorbell has the place of the next descriptor, and its wrap counter [NOTIFY-02][NOTIFY-07]",
    "[notify][pci][packed]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.queue_size = 8});
  model.offer({ring_packed, notification_data});
  rig::disk<packed_queue<8>> d;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(model.accepted(ring_packed));
  // A read takes three descriptors of eight; the first lap has wrap counter 1.
  for (const u32 place : {0x8003u, 0x8006u, 0x0001u, 0x0004u, 0x0007u, 0x8002u})
    CHECK(doorbell(m, d) == "w4@notify+0x0=" + hex(place << 16));
}

TEMPLATE_TEST_CASE("notify: the position is right after every batch, chain and wrap [NOTIFY-04][NOTIFY-07]",
                   "[notify][queue]", split_queue<16>, packed_queue<16>, packed_queue<5>, queue<8>,
                   (packed_queue<7, packed_options{.indirect = 4}>), (split_queue<8, ring_options{.indirect = 4}>)) {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.queue_size = 16});
  model.offer({28, ring_packed, notification_data});
  if (GENERATE(false, true)) model.offer({29});
  rig::fill_pattern(model);
  rig::disk<TestType> d;
  REQUIRE(d.start(m, m.where(4)));
  u32 told = 0;
  std::vector<std::array<u8, 512>> sectors(8);
  for (u32 round = 0; round < 200; ++round) {
    u64 staged = 0;
    while (staged < round % 6 + 1 && d->submit_read(staged, sectors[staged], staged)) ++staged;
    REQUIRE(staged != 0);
    d->kick();  // the model reports a wrong position
    const auto [how, all] = rig::drained(d);
    REQUIRE(how);
    REQUIRE(all.size() == staged);
    for (const auto& one : all) REQUIRE(one.status == errc::ok);
    told = model.doorbells();
  }
  CHECK(told >= 200 / (model.accepted(29) ? 4u : 1u));
}

TEST_CASE(
    "notify: every queue is named by the device's value, also if all share one register "
    "[NOTIFY-03][NOTIFY-04][NOTIFY-05][NOTIFY-06]",
    "[notify][pci]") {
  rig::machine m;
  const bool with_data = GENERATE(false, true), with_name = GENERATE(false, true), shared = GENERATE(false, true);
  auto& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{8, 8, 8});
  if (with_data) model.offer({notification_data});
  if (with_name) model.offer({notif_config_data});
  auto& f = m.function(4);
  if (shared) f.poke(cap(f, 2) + 16u, 0, 4);
  f.attach(model);
  session<rig::platform_type, rig::any_pci> s{};
  REQUIRE(s.open(m.platform(), m.where(4), device_type::entropy));
  REQUIRE(s.negotiate({}));
  struct queue_parts {
    dma_storage<split_ring<8>::dma_bytes> storage{};
    split_ring<8> ring{};
    rig::any_pci::doorbell bell{};
  };
  std::vector<std::unique_ptr<queue_parts>> queues;
  for (u16 q = 0; q < 3; ++q) {
    auto& one = *queues.emplace_back(std::make_unique<queue_parts>());
    dma_area area;
    REQUIRE(locate(m.platform(), one.storage, area));
    REQUIRE(s.set_up(q, one.ring, area, no_vector, one.bell));
  }
  s.go();
  for (u32 q = 0; q < 3; ++q) {
    f.clear_log();
    queues[q]->bell.ring(queues[q]->ring.position());  // no chain yet: a doorbell may be written all the same
    CHECK(f.log() ==
          (with_data ? "w4" : "w2") + ("@notify+" + hex(shared ? 0 : 4 * q)) + "=" + hex(with_name ? q + 0x40 : q));
    CHECK(model.doorbells(q) == 1);
  }
}

TEST_CASE("notify: a doorbell may be written without a new chain, also on a packed ring [NOTIFY-08]",
          "[notify][packed]") {
  rig::machine m;
  auto& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{5});
  model.offer({ring_packed, notification_data});
  ring_session<packed_ring<5>> one{m, {.required = packed_ring<5>::required}};
  REQUIRE(one.set_up());
  one.s.go();
  for (int i = 0; i < 3; ++i) one.bell.ring(one.ring().position());
  CHECK(model.step() == 0);
  CHECK(model.doorbells(0) == 3);
}

TEST_CASE(
    "notify: with NOTIFICATION_DATA a doorbell has four bytes, aligned and inside its structure, or is rejected by name",
    "[notify][pci][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const auto [offset, length, multiplier, place, good] = GENERATE(table<u32, u32, u32, u16, bool>({
      {0, 4, 0, 7, true},
      {0, 3, 0, 0, false},
      {0, 2, 0, 0, false},
      {0, 7, 4, 1, false},
      {0, 8, 4, 1, true},
      {0, 0x1000, 2, 1, false},
      {0, 0x1000, 2, 2, true},
      {2, 0x1000, 0, 0, false},
      {2, 0x1000, 2, 1, true},
      {0, 0x1000, 0xffffffff, 0xfffc, false},
      {0, 0x1000, 4, 0x400, false},
      {0, 0x1000, 4, 0x3ff, true},
  }));
  CAPTURE(offset, length, multiplier, place);
  model.offer({notification_data});
  model.at(0).notify_off = place;
  f.poke(cap(f, 2) + 8u, f.peek(cap(f, 2) + 8u) + offset, 4);
  f.poke(cap(f, 2) + 12u, length, 4);
  f.poke(cap(f, 2) + 16u, multiplier, 4);
  f.attach(model);
  rig::disk<> d;
  const auto up = d.start(m, m.where(4));
  REQUIRE(up.has_value() == good);
  if (good) {
    CHECK(doorbell(m, d) == "w4@notify+" + hex(u64{multiplier} * place) + "=0x10000");
  } else {
    CHECK(up.error() == errc::device_misbehaved);
    CHECK(d->why().why == verdict::queue_unusable);
    CHECK(model.doorbells() == 0);
  }
}

TEST_CASE(
    "notify: NOTIF_CONFIG_DATA without its register is rejected, and no byte after the structure is read [PCI-11]",
    "[notify][pci][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.offer({notif_config_data});
  auto& f = m.function(4);
  const u32 length = GENERATE(56u, 57u, 58u);
  f.poke(cap(f, 1) + 12u, length, 4);
  f.attach(model);
  rig::disk<> d;
  const auto up = d.start(m, m.where(4));
  CHECK(up.has_value() == (length == 58));
  if (!up) CHECK(d->why().why == verdict::queue_unusable);
  if (up) CHECK(doorbell(m, d) == "w2@notify+0x0=0x40");
}

TEST_CASE("notify: legacy devices support neither, with any feature bits", "[notify][legacy]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::legacy, 4);
  model.offer({notification_data, notif_config_data});
  rig::disk<rig::legacy_queue> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(doorbell(m, d) == "w2@legacy+0x10=0x0");
}

TEMPLATE_TEST_CASE(
    "notify: over MMIO the position is written with the queue's number, which NOTIF_CONFIG_DATA does not replace "
    "[NOTIFY-04][NOTIFY-07][FEAT-05]",
    "[notify][mmio]", split_queue<4>, packed_queue<5>) {
  virtio::testing::strict_machine memory;
  virtio::testing::fake_mmio row;
  rng_model model{memory.memory};
  memory.on_wait = [&](waiting, u64) { (void)model.step(); };
  auto& slot = row.add(model);
  const bool with_data = GENERATE(false, true);
  model.offer({ring_packed, notif_config_data});
  if (with_data) model.offer({notification_data});
  using transport_type = mmio::transport<virtio::testing::fake_mmio::bus_type>;
  using entropy_type = rng::device<rig::platform_type, transport_type, TestType>;
  rig::driver<entropy_type> e;
  REQUIRE(e->start(rig::platform_type{&memory}, mmio::at(row.bus(), 0), e.storage()));
  CHECK(model.accepted(notification_data) == with_data);
  CHECK(!model.accepted(notif_config_data));
  u8 buffer[16];
  constexpr bool is_split = !TestType::template ring<smp_barriers>::required.has(feature::ring_packed);
  const u32 split[] = {1, 2, 3, 4, 5, 6}, packed[] = {0x8001, 0x8002, 0x8003, 0x8004, 0x0000, 0x0001};
  for (usize i = 0; i < 6; ++i) {
    const auto sent = e->submit(buffer);
    REQUIRE(sent);
    slot.clear_log();
    e->kick();
    CHECK(slot.log() == "w4@0x50=" + hex(with_data ? (is_split ? split[i] : packed[i]) << 16 : 0));
    REQUIRE(e->wait(*sent));
  }
  for (const auto& what : row.violations()) FAIL_CHECK(what);
  for (const auto& what : memory.violations()) FAIL_CHECK(what);
  CHECK(memory.live() == 0);
}

TEST_CASE("notify: the split ring's index is written with all of its 16 bits [NOTIFY-02][NOTIFY-04]",
          "[notify][mmio][pci]") {
  virtio::testing::recording registers{4};
  const virtio::testing::recording_space space{registers};
  mmio::doorbell<virtio::testing::recording_space>{space, 3, mmio::notification::number_and_position}.ring(0xfedc);
  CHECK(registers.take_log() == "w4@0x0=0xfedc0003");
  pci::doorbell<virtio::testing::recording_space>{space, 0xabcd}.ring(0xfedc);
  CHECK(registers.take_log() == "w4@0x0=0xfedcabcd");
  pci::doorbell<virtio::testing::recording_space>{space.part(0, 2), 0xabcd}.ring(0xfedc);
  CHECK(registers.take_log() == "w2@0x0=0xabcd");
}
