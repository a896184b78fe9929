// SPDX-License-Identifier: MIT
// MMIO: the verdicts of slots, every register access of the two versions, drivers over them, and devices with invalid
// register values.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <numeric>

#include <virtio/blk/select.hpp>
#include <virtio/mmio.hpp>
#include <virtio/testing/fake_mmio.hpp>
#include <virtio/testing/scripted_io.hpp>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;
using virtio::testing::fake_mmio_slot;

namespace {

using bus_type = virtio::testing::fake_mmio::bus_type;
using location = mmio::found<bus_type>;
using either = mmio::transport<bus_type>;
static_assert(mmio::bus<bus_type>);
static_assert(transport<either> && transport<mmio::modern<bus_type>> && transport<mmio::legacy<bus_type>>);
static_assert(transport<mmio::transport<mmio::slots>>);

/// A machine whose devices are in slots. At its end, every violation that a model reported fails the test.
struct machine {
  virtio::testing::strict_machine memory;
  virtio::testing::fake_mmio row;
  std::vector<std::unique_ptr<device_model>> models;
  bool expect_objections = false;

  machine() {
    memory.on_wait = [this](waiting, u64) {
      for (auto& one : models) (void)one->step();
    };
  }
  machine(const machine&) = delete;
  ~machine() {
    if (expect_objections) return;
    for (const auto& what : memory.violations()) FAIL_CHECK(what);
    for (const auto& what : row.violations()) FAIL_CHECK(what);
    CHECK(memory.live() == 0);
  }

  template <class Model, class... Arguments>
  Model& add(u32 version, Arguments&&... arguments) {
    auto made = std::make_unique<Model>(memory.memory, std::forward<Arguments>(arguments)...);
    Model& model = *made;
    models.push_back(std::move(made));
    (void)row.add(model, version);
    return model;
  }
  [[nodiscard]] fake_mmio_slot& slot(usize n = 0) { return row.at(n); }
  [[nodiscard]] location where(usize n = 0) { return mmio::at(row.bus(), n); }
  [[nodiscard]] rig::platform_type platform() { return {&memory}; }
};

template <class Device>
struct driver : rig::driver<Device> {
  result<void> start(machine& m, usize slot = 0) { return start(m, m.where(slot)); }
  result<void> start(machine& m, const location& where) {
    return this->at->device.start(m.platform(), where, this->storage());
  }
};
template <class Transport = either, class Queue = split_queue<16, ring_options{.indirect = 8}>>
using disk = driver<blk::device<rig::platform_type, Transport, Queue>>;
template <class Transport = either>
using entropy = driver<rng::device<rig::platform_type, Transport, split_queue<8>>>;

}  // namespace

// ---- slots ----

TEST_CASE(
    "mmio: magic, version and device id are read in this order, up to the first wrong one "
    "[MMIO-06][MMIO-08][MMIO-10][MMIO-24][MMIO-25][MMIO-26][MMIO-27]",
    "[mmio]") {
  machine m;
  m.add<rng_model>(2u);
  m.add<rng_model>(1u);
  (void)m.row.add_empty();
  m.add<rng_model>(2u);
  m.slot(3).version = 3;
  m.add<rng_model>(2u);
  m.slot(4).magic = 0x74726977;
  m.add<rng_model>(2u);
  m.slot(5).present = false;
  m.add<rng_model>(2u);
  m.slot(6).device_id = 0x10004;

  struct expectation {
    verdict why;
    device_type type;
    transport_kind via;
    const char* log;
  };
  const expectation all[] = {
      {verdict::usable, device_type::entropy, transport_kind::mmio_modern, "r4@0x0 r4@0x4 r4@0x8 r4@0xc"},
      {verdict::usable, device_type::entropy, transport_kind::mmio_legacy, "r4@0x0 r4@0x4 r4@0x8 r4@0xc"},
      {verdict::empty_slot, device_type::none, transport_kind::none, "r4@0x0 r4@0x4 r4@0x8"},
      {verdict::version_unknown, device_type::none, transport_kind::none, "r4@0x0 r4@0x4"},
      {verdict::not_virtio_mmio, device_type::none, transport_kind::none, "r4@0x0"},
      {verdict::not_virtio_mmio, device_type::none, transport_kind::none, "r4@0x0"},
      {verdict::id_without_type, device_type::none, transport_kind::mmio_modern, "r4@0x0 r4@0x4 r4@0x8 r4@0xc"},
  };
  usize n = 0;
  mmio::for_each(m.row.bus(), [&](const location& one) {
    CAPTURE(n);
    CHECK(one.slot == n);
    CHECK(one.seen.why == all[n].why);
    CHECK(one.seen.type == all[n].type);
    CHECK(one.seen.via == all[n].via);
    CHECK(m.slot(n).log() == all[n].log);
    CHECK(one.vendor == (n < 2 || n == 6 ? 0x554d4551u : 0u));
    ++n;
  });
  CHECK(n == 7);
  CHECK(m.where(3).seen.available == 3);  // the version
  REQUIRE(m.row.events.size() == 14);
  CHECK(m.row.events[2].a == 1);
  CHECK(m.row.events[2].b == 4u << 16);
  CHECK(m.row.events[5].a == static_cast<u32>(verdict::empty_slot));
}

TEST_CASE(
    "mmio: an empty slot is no error; a second device of the type is ambiguous; each can be named by its number [MMIO-11]",
    "[mmio]") {
  machine m;
  (void)m.row.add_empty();
  m.add<rng_model>(1u);
  (void)m.row.add_empty();
  m.add<blk_model>(2u);
  const bus_type bus = m.row.bus();
  CHECK(mmio::find(bus, device_type::entropy)->slot == 1);
  CHECK(mmio::find(bus, device_type::block)->slot == 3);
  CHECK(mmio::find(bus, device_type::vsock).error() == errc::not_found);
  m.add<blk_model>(1u);
  CHECK(mmio::find(bus, device_type::block).error() == errc::ambiguous);
  CHECK(mmio::find_nth(bus, device_type::block, 0)->slot == 3);
  CHECK(mmio::find_nth(bus, device_type::block, 1)->slot == 4);
  CHECK(mmio::find_nth(bus, device_type::block, 2).error() == errc::not_found);
  CHECK(mmio::find(bus, device_type::none).error() == errc::not_found);  // the type of an empty slot
}

TEST_CASE("mmio: a row of slots is a base, a stride and a count; one too small for registers is none", "[mmio]") {
  constexpr mmio::slots row{.base = 0xfeb00000, .stride = 0x200, .count = 8};
  static_assert(row.slot_count() == 8 && row.slot(7).size() == 0x200);
  constexpr mmio::slots none{};
  CHECK(mmio::find(none, device_type::block).error() == errc::not_found);

  machine m;
  m.add<rng_model>(2u);
  m.slot().length = 0xff;
  CHECK(m.where().seen.why == verdict::not_virtio_mmio);
  CHECK(m.slot().log().empty());
}

TEST_CASE("mmio: a slot is examined again when it is opened [MMIO-06][MMIO-08][MMIO-26][MMIO-27]", "[mmio][hostile]") {
  machine m;
  auto& model = m.add<rng_model>(2u);
  const location found = m.where();
  entropy<> e;
  u8 buffer[8];
  const auto refused = [&](errc with, verdict why) {
    m.slot().clear_log();
    CHECK(e.start(m, found).error() == with);
    CHECK(e->why().why == why);
    CHECK(e->why().error == with);
    CHECK(!contains(m.slot().log(), "w4"));
    CHECK(e->fill(buffer).error() == errc::not_started);
  };
  m.slot().device_id = 0;
  refused(errc::not_found, verdict::empty_slot);
  m.slot().device_id = 2;
  refused(errc::wrong_device, verdict::wrong_type);
  m.slot().device_id = 4;
  m.slot().version = 3;
  refused(errc::unsupported, verdict::version_unknown);
  m.slot().version = 2;
  m.slot().magic = 0;
  refused(errc::wrong_device, verdict::not_virtio_mmio);
  m.slot().magic = 0x74726976;
  m.slot().present = false;
  refused(errc::wrong_device, verdict::not_virtio_mmio);
  m.slot().present = true;
  REQUIRE(e.start(m, found));
  CHECK(e->fill(buffer));
  CHECK(model.status() == 0x0f);
  // The driver for another type of device reads no register.
  disk<> d;
  m.slot().clear_log();
  CHECK(d.start(m, found).error() == errc::wrong_device);
  CHECK(d->why().why == verdict::wrong_type);
  CHECK(m.slot().log().empty());
}

TEST_CASE("mmio: a transport for one version rejects the other by name [MMIO-08]", "[mmio][legacy]") {
  machine m;
  m.add<rng_model>(2u);
  m.add<rng_model>(1u);
  m.slot(0).clear_log();
  entropy<mmio::modern<bus_type>> modern;
  CHECK(modern.start(m, 1).error() == errc::unsupported);
  CHECK(modern->why().why == verdict::legacy_unsupported);
  CHECK(modern.start(m, 0));
  CHECK(modern->why().via == transport_kind::mmio_modern);
  entropy<mmio::legacy<bus_type>> legacy;
  CHECK(legacy.start(m, 0).error() == errc::unsupported);
  CHECK(legacy->why().why == verdict::modern_unsupported);
  CHECK(legacy.start(m, 1));
  CHECK(legacy->why().via == transport_kind::mmio_legacy);
}

// ---- the accesses ----

TEST_CASE(
    "mmio: a version 2 bring-up is this sequence of accesses and no other "
    "[MMIO-01][MMIO-02][MMIO-03][MMIO-04][MMIO-12][MMIO-13][MMIO-14][MMIO-15][MMIO-28][MMIO-29][INIT-01][INIT-09][INIT-11]",
    "[mmio]") {
  machine m;
  m.add<rng_model>(2u);
  const location found = m.where();
  m.slot().clear_log();
  entropy<> e;
  REQUIRE(e.start(m, found));
  CHECK(m.slot().log() ==
        "r4@0x0 r4@0x4 r4@0x8 r4@0xc "                      // discovery
        "w4@0x70=0x0 r4@0x70 w4@0x70=0x1 w4@0x70=0x3 "      // reset, and done; ACKNOWLEDGE, DRIVER
        "w4@0x14=0x0 r4@0x10 w4@0x14=0x1 r4@0x10 "          // offered features
        "w4@0x24=0x0 w4@0x20=0x0 w4@0x24=0x1 w4@0x20=0x1 "  // accepted features: VERSION_1
        "w4@0x70=0xb r4@0x70 "                              // FEATURES_OK, still set
        "w4@0x30=0x0 r4@0x34 w4@0x30=0x0 r4@0x44 "          // queue 0: its size; it is not in use
        "w4@0x38=0x8 w4@0x80=0x0 w4@0x84=0x2 w4@0x90=0x80 w4@0x94=0x2 w4@0xa0=0x1000 w4@0xa4=0x2 w4@0x44=0x1 "
        "w4@0x70=0xf");  // DRIVER_OK
  CHECK(e->why().why == verdict::bound);
  CHECK(e->why().via == transport_kind::mmio_modern);
}

TEST_CASE(
    "mmio: a version 1 bring-up gives a page size, a size, an alignment and a page number, and no FEATURES_OK "
    "[LEGACY-01][LEGACY-03][LEGACY-04][INITL-01][SPLITL-02][MMIO-01][MMIO-04][MMIO-14][FACT-44]",
    "[mmio][legacy]") {
  machine m;
  m.add<rng_model>(1u);
  const location found = m.where();
  m.slot().clear_log();
  entropy<> e;
  REQUIRE(e.start(m, found));
  CHECK(
      m.slot().log() ==
      "r4@0x0 r4@0x4 r4@0x8 r4@0xc w4@0x70=0x0 r4@0x70 w4@0x70=0x1 w4@0x70=0x3 "
      "w4@0x14=0x0 r4@0x10 w4@0x24=0x0 w4@0x20=0x8000000 "  // ANY_LAYOUT
      "w4@0x30=0x0 r4@0x34 w4@0x28=0x1000 w4@0x30=0x0 r4@0x40 w4@0x38=0x8 w4@0x3c=0x1000 w4@0x40=0x200000 w4@0x70=0x7");
  CHECK(e->why().via == transport_kind::mmio_legacy);
}

TEST_CASE("mmio: a legacy queue can be made smaller than the device's", "[mmio][legacy]") {
  machine m;
  auto& model = m.add<blk_model>(1u, blk_options{.queue_size = 1024});
  disk<either, split_queue<4>> d;
  REQUIRE(d.start(m));
  CHECK(model.at(0).size == 4);
  u8 sector[512];
  CHECK(d->read(0, sector));
}

TEST_CASE(
    "mmio: a kick is exactly one 32-bit register write with the queue's number, and a completion needs none [NOTIFY-01]",
    "[mmio]") {
  const u32 version = GENERATE(2u, 1u);
  machine m;
  auto& model = m.add<rng_model>(version);
  entropy<> e;
  REQUIRE(e.start(m));
  m.slot().clear_log();
  u8 buffer[16];
  const auto sent = e->submit(buffer);
  REQUIRE(sent);
  CHECK(m.slot().log().empty());
  e->kick();
  CHECK(m.slot().log() == "w4@0x50=0x0");
  (void)model.step();
  CHECK(e->wait(*sent));
  CHECK(m.slot().log() == "w4@0x50=0x0");

  virtio::testing::recording registers{4};
  const virtio::testing::recording_space space{registers};
  mmio::doorbell<virtio::testing::recording_space>{space, 3, mmio::notification::number}.ring(0x8001);
  CHECK(registers.take_log() == "w4@0x0=0x3");
}

TEST_CASE(
    "mmio: exactly the defined bits of an interrupt are acknowledged "
    "[MMIO-18][MMIO-19][MMIO-20][MMIO-30][MMIO-32]",
    "[mmio]") {
  const u32 version = GENERATE(2u, 1u);
  machine m;
  auto& model = m.add<rng_model>(version);
  entropy<> e;
  REQUIRE(e.start(m));
  const auto acknowledged = [&](bool queue, bool config, const std::string& log) {
    m.slot().clear_log();
    const interrupt_cause got = e->acknowledge_interrupt();
    CHECK(got.queue == queue);
    CHECK(got.config == config);
    CHECK(m.slot().log() == log);
  };
  acknowledged(false, false, "r4@0x60");  // of another device
  model.spurious_interrupt(1);
  acknowledged(true, false, "r4@0x60 w4@0x64=0x1");
  acknowledged(false, false, "r4@0x60");
  m.slot().further_interrupt_bits = 0xfffffffc;
  acknowledged(false, false, "r4@0x60");
  model.spurious_interrupt(3);
  acknowledged(true, true, "r4@0x60 w4@0x64=0x3");
}

TEST_CASE(
    "mmio: configuration is read by field, 64 bits by two dwords, inside the slot only "
    "[MMIO-05][MMIO-01][CFG-06]",
    "[mmio][config]") {
  const u32 version = GENERATE(2u, 1u);
  machine m;
  auto& model = m.add<device_model>(version, u16{2}, std::vector<u16>{8}, std::vector<u8>(0x100));
  for (usize i = 0; i < 0x100; ++i) model.config()[i] = static_cast<u8>(i);
  either t;
  report why;
  REQUIRE(t.open(m.where(), why));
  m.slot().clear_log();
  CHECK(*t.config<u8>(3) == 3);
  CHECK(*t.config<u16>(6) == 0x0706);
  CHECK(*t.config<u32>(8) == 0x0b0a0908);
  CHECK(*t.config<u64>(16) == 0x1716151413121110);
  CHECK(*t.config<u8>(0xff) == 0xff);
  CHECK(m.slot().log() == "r1@config+0x3 r2@config+0x6 r4@config+0x8 r4@config+0x10 r4@config+0x14 r1@config+0xff");
  m.slot().clear_log();
  CHECK(t.config<u16>(0xff).error() == errc::out_of_range);
  CHECK(t.config<u32>(0x100).error() == errc::out_of_range);
  CHECK(t.config<u64>(~usize{0}).error() == errc::out_of_range);
  CHECK(t.config_write<u32>(0x100, 1u).error() == errc::out_of_range);
  CHECK(m.slot().log().empty());

  m.slot().length = 0x100;  // registers without a configuration after them
  REQUIRE(t.open(m.where(), why));
  CHECK(t.config<u8>(0).error() == errc::not_found);
}

TEST_CASE("mmio: a write to the configuration is as wide as the field [MMIO-05]", "[mmio][config]") {
  struct writable : device_model {
    using device_model::device_model;
    bool config_writable(u32, u32) const override { return true; }
  };
  machine m;
  auto& model = m.add<writable>(1u, u16{2}, std::vector<u16>{8}, std::vector<u8>(64));
  either t;
  report why;
  REQUIRE(t.open(m.where(), why));
  m.slot().clear_log();
  CHECK(t.config_write<u8>(1, u8{0xa1}));
  CHECK(t.config_write<u16>(2, u16{0xa2a3}));
  CHECK(t.config_write<u64>(8, u64{0x1122334455667788}));
  CHECK(m.slot().log() == "w1@config+0x1=0xa1 w2@config+0x2=0xa2a3 w4@config+0x8=0x55667788 w4@config+0xc=0x11223344");
  CHECK(model.config()[15] == 0x11);
}

TEST_CASE("mmio: a queue reset is done when QueueReset reads zero, and not before [MMIO-21]", "[mmio]") {
  machine m;
  auto& model = m.add<rng_model>(2u);
  model.offer({40});
  model.queue_reset_reads = 2;
  session<rig::platform_type, either> s;
  REQUIRE(s.open(m.platform(), m.where(), device_type::entropy));
  REQUIRE(s.negotiate({.wanted = feature_set{feature::ring_reset}}));
  auto& t = s.transport();
  m.slot().clear_log();
  CHECK(t.begin_queue_reset(0));
  CHECK(!t.queue_reset_done(0));
  CHECK(!t.queue_reset_done(0));
  CHECK(t.queue_reset_done(0));
  CHECK(m.slot().log() == "w4@0x30=0x0 w4@0xc0=0x1 w4@0x30=0x0 r4@0xc0 w4@0x30=0x0 r4@0xc0 w4@0x30=0x0 r4@0xc0");

  m.add<rng_model>(1u);
  either old;
  report why;
  REQUIRE(old.open(m.where(1), why));
  m.slot(1).clear_log();
  CHECK(old.begin_queue_reset(0).error() == errc::unsupported);
  CHECK(!old.queue_reset_done(0));
  CHECK(m.slot(1).log().empty());
}

TEST_CASE("mmio: there are no interrupt vectors", "[mmio]") {
  machine m;
  m.add<rng_model>(2u);
  either t;
  report why;
  REQUIRE(t.open(m.where(), why));
  m.slot().clear_log();
  CHECK(t.set_config_vector(0).error() == errc::unsupported);
  either::doorbell bell;
  CHECK(t.enable_queue(0, {}, {}, 0, bell).error() == errc::unsupported);
  CHECK(m.slot().log().empty());

  entropy<> e;
  for (const interrupt_vectors& wanted : {interrupt_vectors{.config = 0}, interrupt_vectors{.first = 1}}) {
    CHECK(e->start(m.platform(), m.where(), e.storage(), wanted).error() == errc::unsupported);
    CHECK(e->why().why == verdict::vector_refused);
  }
  CHECK(e.start(m));
}

TEST_CASE("mmio: a legacy ring out of reach of a page number, or in pieces, is rejected before the first write",
          "[mmio][legacy]") {
  machine m;
  m.add<rng_model>(1u);
  either t;
  report why;
  REQUIRE(t.open(m.where(), why));
  m.slot().clear_log();
  const auto at = [](u64 start) {
    return queue_areas{dma_addr{start}, dma_addr{start + 128}, dma_addr{start + 4096}, 8};
  };
  either::doorbell bell;
  CHECK(t.enable_queue(0, at(0x1000 + 16), {}, no_vector, bell).error() == errc::misaligned);
  CHECK(t.enable_queue(0, at(u64{1} << 44), {}, no_vector, bell).error() == errc::dma_unreachable);
  auto apart = at(0x1000);
  apart.device = dma_addr{0x9000};
  CHECK(t.enable_queue(0, apart, {}, no_vector, bell).error() == errc::invalid_argument);
  CHECK(m.slot().log().empty());
}

// ---- the drivers ----

TEST_CASE("mmio: the block driver reads, writes, flushes and starts again on both versions [LEGACY-03]",
          "[mmio][blk]") {
  const u32 version = GENERATE(2u, 1u);
  const bool rings = GENERATE(false, true);
  machine m;
  auto& model = m.add<blk_model>(version, blk_options{.sectors = 0x1800, .seg_max = 6, .blk_size = 512});
  if (rings) model.offer({28, 29});
  fill_pattern(model);
  disk<> d;
  for (int round = 0; round < 2; ++round) {
    REQUIRE(d.start(m));
    CHECK(model.accepted(28) == rings);
    CHECK(model.accepted(29) == rings);
    CHECK(d->capacity() == 0x1800);
    CHECK(d->block_size() == 512);
    std::vector<u8> data(40 * 512);
    REQUIRE(d->read(3, data));
    CHECK(data == expected(model, 3, data.size()));
    std::iota(data.begin(), data.end(), static_cast<u8>(round));
    REQUIRE(d->write(2000, data));
    REQUIRE(d->flush());
    model.power_cut();
    CHECK(data == expected(model, 2000, data.size()));
    u8 id[blk::id_bytes];
    CHECK(d->get_id(id));

    std::vector<std::array<u8, 512>> sectors(5);
    for (usize i = 0; i < sectors.size(); ++i) REQUIRE(d->submit_read(7 * i, sectors[i], i));
    u32 right = 0;
    const auto drained = d->drain([&](const blk::done& one) {
      const auto& got = sectors[one.cookie];
      right +=
          one.status == errc::ok && std::equal(got.begin(), got.end(), expected(model, 7 * one.cookie, 512).begin());
    });
    CHECK(drained);
    CHECK(right == 5);
    if (round == 0) CHECK(d->hand_off());
    if (round == 0) CHECK(model.status() == 0);
  }
  CHECK(d->why().via == (version == 1 ? transport_kind::mmio_legacy : transport_kind::mmio_modern));
}

TEST_CASE("mmio: the entropy driver fills on both versions", "[mmio][rng]") {
  const u32 version = GENERATE(2u, 1u);
  machine m;
  m.add<rng_model>(version);
  entropy<> e;
  REQUIRE(e.start(m));
  std::vector<u8> a(100), b(100);
  REQUIRE(e->fill(a));
  REQUIRE(e->fill(b));
  CHECK(a != b);
}

TEST_CASE("mmio: the disk with the serial is found among others", "[mmio][blk]") {
  machine m;
  m.add<blk_model>(2u, blk_options{.serial = "first"});
  (void)m.row.add_empty();
  m.add<rng_model>(2u);
  m.add<blk_model>(1u, blk_options{.sectors = 99, .serial = "second"});
  disk<> d;
  REQUIRE(blk::start_by_serial(*d, m.platform(), m.row.bus(), text("second"), d.storage()));
  CHECK(d->capacity() == 99);
  CHECK(blk::start_by_serial(*d, m.platform(), m.row.bus(), text("third"), d.storage()).error() == errc::not_found);
}

// ---- invalid values ----

TEST_CASE(
    "mmio: a queue of size 0 is missing, a huge one is limited, one in use after a reset is rejected "
    "[MMIO-14][MMIO-15]",
    "[mmio][hostile]") {
  const u32 version = GENERATE(2u, 1u);
  machine m;
  auto& model = m.add<blk_model>(version, blk_options{.queue_size = 64});
  disk<> d;
  m.slot().queue_size_max = 0;
  CHECK(d.start(m).error() == errc::not_found);
  CHECK(d->why().why == verdict::queue_missing);
  CHECK(model.status() == 0);
  CHECK(contains(m.slot().log(), version == 2 ? "w4@0x70=0x8b w4@0x70=0x0" : "w4@0x70=0x83 w4@0x70=0x0"));

  for (const u32 size : {0x10000u, 0xffffffffu, 0x10040u}) {  // the low 16 bits must not be used alone
    m.slot().queue_size_max = size;
    REQUIRE(d.start(m));
    CHECK(model.at(0).size == 16);
  }
  m.slot().queue_size_max.reset();
  for (const u32 in_use : {1u, 0xffffffffu}) {
    m.slot().queue_in_use = in_use;
    m.slot().clear_log();
    CHECK(d.start(m).error() == errc::device_misbehaved);
    CHECK(d->why().why == verdict::queue_unusable);
    CHECK(!contains(m.slot().log(), "w4@0x38"));
  }
  m.slot().queue_in_use.reset();
  CHECK(d.start(m));
}

TEST_CASE("mmio: the wait for a zero status ends, also if only a part of the word is zero [RESET-01]",
          "[mmio][hostile]") {
  const u32 version = GENERATE(2u, 1u);
  machine m;
  auto& model = m.add<rng_model>(version);
  entropy<> e;
  model.reset_reads = device_model::forever;
  CHECK(e.start(m).error() == errc::timed_out);
  CHECK(e->why().why == verdict::reset_timed_out);
  model.reset_reads = 0;
  m.slot().further_status_bits = 0x100;
  CHECK(e.start(m).error() == errc::timed_out);
  m.slot().further_status_bits = 0;
  CHECK(e.start(m));
}

TEST_CASE(
    "mmio: a configuration whose generation always changes is an error; a torn capacity is read again "
    "[CFG-03][CFGL-01]",
    "[mmio][hostile]") {
  machine m;
  auto& model = m.add<blk_model>(2u, blk_options{.sectors = 0x10});
  disk<> d;
  model.generation_every = 1;
  CHECK(d.start(m).error() == errc::device_misbehaved);
  CHECK(d->why().why == verdict::config_unreadable);
  model.generation_every = 0;
  int changes = 0;
  model.before_config_read = [&](u32 offset, u32) {
    if (offset == 4 && changes++ == 0) model.change_config(0, 0x1'0000'0000, 8);
  };
  REQUIRE(d.start(m));
  CHECK(d->capacity() == 0x1'0000'0000);

  auto& old = m.add<blk_model>(1u, blk_options{.sectors = 0x10});
  u64 size = 0;
  old.before_config_read = [&](u32 offset, u32) {
    if (offset != 0) return;
    ++size;
    old.put_config(0, size << 33 | size, 8);
  };
  CHECK(d.start(m, 1).error() == errc::device_misbehaved);  // no generation, and no two reads are equal
}

TEST_CASE(
    "mmio: FEATURES_OK that does not stay set, and a version 2 device without VERSION_1, are reported by name "
    "[INIT-09][INIT-12][FEAT-09]",
    "[mmio][hostile]") {
  machine m;
  auto& model = m.add<rng_model>(2u);
  entropy<> e;
  model.refuse_features = true;
  CHECK(e.start(m).error() == errc::unsupported);
  CHECK(e->why().why == verdict::features_refused);
  CHECK(contains(m.slot().log(), "w4@0x70=0x8b w4@0x70=0x0"));
  CHECK(model.status() == 0);
  model.refuse_features = false;
  model.withdraw({32});
  CHECK(e.start(m).error() == errc::unsupported);
  CHECK(e->why().why == verdict::feature_missing);
  CHECK(e->why().feature == static_cast<u8>(feature::version_1));
}

TEST_CASE("mmio: after a device's removal every call ends", "[mmio][hostile]") {
  const u32 version = GENERATE(2u, 1u);
  machine m;
  m.expect_objections = true;  // it keeps its buffers, since its reset is not confirmed
  m.add<blk_model>(version);
  disk<> d;
  REQUIRE(d.start(m));
  u8 a[512], b[512];
  REQUIRE(d->submit_read(1, a, 7));
  m.slot().present = false;
  CHECK(d->acknowledge_interrupt().queue);  // all ones
  m.memory.on_wait = nullptr;
  CHECK(d->read(0, b).error() == errc::device_broken);
  CHECK(d->check().error() == errc::device_broken);
  CHECK(d->reset().error() == errc::device_broken);
  CHECK(d->hand_off().error() == errc::device_broken);
  CHECK(d.start(m).error() == errc::device_broken);
  m.slot().present = true;
  REQUIRE(d.start(m));
  CHECK(d->capacity() == 2048);
}

TEST_CASE("mmio: with any register values, every call ends and accesses only the slot", "[mmio][hostile]") {
  machine m;
  m.expect_objections = true;
  virtio::testing::recording registers{0x200};
  struct bus_of_bytes {
    using slot_space = virtio::testing::recording_space;
    virtio::testing::recording* to = nullptr;
    slot_space slot(usize) const { return slot_space{*to}; }
    usize slot_count() const { return 1; }
  };
  rig::driver<blk::device<rig::platform_type, mmio::transport<bus_of_bytes>, split_queue<8>>> d;
  u64 state = 1;
  const auto random = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<u32>(state >> 33);
  };
  for (int life = 0; life < 2000; ++life) {
    for (auto& byte : registers.bytes) byte = random() % 4 == 0 ? static_cast<u8>(random()) : u8{0};
    registers.put(0x00, 0x74726976, 4);
    registers.put(0x04, 1 + random() % 2, 4);
    registers.put(0x08, 2, 4);
    if (random() % 2 == 0) registers.put(0x40, 0, 8);  // the queue is free
    registers.log.clear();
    const auto up = d->start(m.platform(), mmio::at(bus_of_bytes{&registers}, 0), d.storage());
    u8 sector[512];
    if (up) CHECK(!d->read(0, sector));
    (void)d->acknowledge_interrupt();
    (void)d->hand_off();
  }
  CHECK(registers.outside == 0);
}
