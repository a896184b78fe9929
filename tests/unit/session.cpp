// SPDX-License-Identifier: MIT
// The bring-up, step by step: the register writes in their order, and every way in which it fails.
#include <catch2/generators/catch_generators.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "session.hpp"

using namespace virtio;

namespace {

// FAILED on top of ACKNOWLEDGE and DRIVER, and the reset that follows it.
constexpr const char* given_up = "w1@common+0x14=0x83 w1@common+0x14=0x0 r1@common+0x14";

}  // namespace

TEST_CASE(
    "session: a modern bring-up is this sequence of accesses and no other "
    "[INIT-01][INIT-02][INIT-03][INIT-04][INIT-07][INIT-08][INIT-09][INIT-10][INIT-11][STATUS-01][STATUS-02][FEAT-09][PCI-05][PCI-18]",
    "[session][pci]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  CHECK(m.function(4).log() ==
        "w1@common+0x14=0x0 r1@common+0x14 "                                             // reset, and done
        "w1@common+0x14=0x1 w1@common+0x14=0x3 "                                         // ACKNOWLEDGE, DRIVER
        "w4@common+0x0=0x0 r4@common+0x4 w4@common+0x0=0x1 r4@common+0x4 "               // the offer
        "w4@common+0x8=0x0 w4@common+0xc=0x0 w4@common+0x8=0x1 w4@common+0xc=0x1 "       // the choice: VERSION_1
        "w1@common+0x14=0xb r1@common+0x14 "                                             // FEATURES_OK, still there
        "w2@common+0x16=0x0 r2@common+0x18 w2@common+0x16=0x0 r2@common+0x1e "           // queue 0: size, doorbell
        "w2@common+0x18=0x8 w4@common+0x20=0x0 w4@common+0x24=0x2 w4@common+0x28=0x80 "  // the ring, then enable
        "w4@common+0x2c=0x2 w4@common+0x30=0x1000 w4@common+0x34=0x2 w2@common+0x1c=0x1 "
        "w1@common+0x14=0xf");  // DRIVER_OK
  CHECK(e->why().why == verdict::bound);
  CHECK(e->why().via == transport_kind::pci_modern);
}

TEST_CASE(
    "session: a legacy bring-up omits FEATURES_OK and uses the queue size of the device "
    "[INITL-01][SPLITL-01][SPLITL-03][LEGACY-01][LEGACY-03][LEGACY-04][PCIL-05]",
    "[session][pci][legacy]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::legacy, 5);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(5)));
  CHECK(m.function(5).log() ==
        "w1@legacy+0x12=0x0 r1@legacy+0x12 w1@legacy+0x12=0x1 w1@legacy+0x12=0x3 "
        "r4@legacy+0x0 w4@legacy+0x4=0x8000000 "  // ANY_LAYOUT
        "w2@legacy+0xe=0x0 r2@legacy+0xc w2@legacy+0xe=0x0 w4@legacy+0x8=0x200000 w1@legacy+0x12=0x7");
  CHECK(e->why().via == transport_kind::pci_legacy);
}

TEST_CASE("session: a bring-up continues only after the status reads zero [RESET-01][PCI-19][INIT-01]", "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(GENERATE(seat::modern, seat::legacy), 4);
  model.reset_reads = 50;
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  CHECK(m.memory.waits[static_cast<int>(waiting::reset)] >= 49);
}

TEST_CASE(
    "session: a device that never finishes its reset ends the start, and no register is written after the reset [RESET-01][INIT-13]",
    "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  model.reset_reads = device_model::forever;
  rig::entropy<> e;
  CHECK(e.start(m, m.where(4)).error() == errc::timed_out);  // it has no memory to keep
  CHECK(e->why().why == verdict::reset_timed_out);
  const std::string log = m.function(4).log();
  CHECK(log.find('w') == log.rfind('w'));  // the reset itself
  model.reset_reads = 0;
  m.function(4).clear_log();
  CHECK(e.start(m, m.where(4)));  // a later start succeeds
}

TEST_CASE("session: a device that rejects its queue has no memory, with or without a reset", "[session][pci]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  ring_session<> one{m};
  model.reset_reads = device_model::forever;
  CHECK(one.set_up(0).error() == errc::unsupported);  // MSI-X is off
  CHECK(one.s.why().why == verdict::vector_refused);
  CHECK_FALSE(one.s.has_memory());
}

TEST_CASE("session: an entropy device has no configuration, so an invalid capability for one is ignored",
          "[session][rng][pci]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  auto& f = m.function(4);
  const u8 said = f.capability(0x09, 4) != 0 ? f.capability(0x09, 4) : f.add_capability(0x09, {16, 4, 4}, 0xe0);
  SECTION("empty") { f.poke(said + 12u, 0, 4); }
  SECTION("after the end of its BAR") { f.poke(said + 8u, 0x7fff'fffc, 4); }
  SECTION("in an absent BAR") { f.poke(said + 4u, 6, 1); }
  CHECK(pci::look(m.bus.host(), pci::address{0, 0, 4, 0}).seen.why == verdict::usable);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  u8 data[64];
  CHECK(e->fill(data));
}

TEST_CASE(
    "session: a device that answers a reset with FAILED is not waited for, at each reset, and keeps its memory [RESET-01]",
    "[session][hostile]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  model.reset_fails = true;
  u32 waits = 0;
  m.memory.on_wait = [&](waiting why, u64) { waits += why == waiting::reset; };
  CHECK(e->reset().error() == errc::device_broken);
  CHECK(e->hand_off().error() == errc::device_broken);
  CHECK(e.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(e->why().why == verdict::former_device_stuck);
  CHECK(waits == 0);
  model.reset_fails = false;
  CHECK(e.start(m, m.where(4)));
}

TEST_CASE("session: a device that rejected one reset is waited for at the next [RESET-01]", "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  bare_session<> one;
  auto& s = one.s;
  REQUIRE(one.up(m, 4, device_type::entropy));
  s.go();
  model.reset_fails = true;
  CHECK(!s.reset());
  model.reset_fails = false;
  REQUIRE(s.reset());
  REQUIRE(s.negotiate({}));
  s.fail();
  model.reset_reads = 9;
  CHECK(s.reset());
}

TEST_CASE("session: FAILED from before a reset has no meaning, and a slow device may still report it [RESET-01]",
          "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  session<rig::platform_type, rig::any_pci> s{};
  REQUIRE(s.open(m.platform(), m.where(4), device_type::entropy));
  SECTION("written by the driver") {
    REQUIRE(s.negotiate({}));
    s.fail();
  }
  SECTION("written by the previous driver") {
    model.write_status(0, device_model::interface::modern);
    (void)model.read_status();
    model.write_status(0x80, device_model::interface::modern);
  }
  CHECK((model.status() & 0x80) != 0);
  model.reset_reads = 9;
  CHECK(s.reset());
  CHECK(model.status() == 0);
}

TEST_CASE("session: a removed device is not waited for after a few readings, whatever the board's limits",
          "[session][hostile]") {
  rig::machine m;
  m.add<rig::rng_model>(GENERATE(seat::modern, seat::legacy), 4);
  rig::entropy<split_queue<8, ring_options{.ring_entries = 256}>> e;
  REQUIRE(e.start(m, m.where(4)));
  m.bus.unplug({0, 0, 4, 0});
  m.running = false;
  m.memory.wait_limit[static_cast<int>(waiting::reset)] = 1'000'000;
  const u64& waits = m.memory.waits[static_cast<int>(waiting::reset)];
  const u64 before = waits;
  CHECK(e->reset().error() == errc::device_broken);
  CHECK(waits - before < 16);
}

TEST_CASE("session: a device that sometimes reads all ones during its reset is waited for", "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  m.memory.on_wait = [&](waiting, u64 attempt) { m.function(4).present = attempt % 7 == 6 || attempt > 60; };
  m.models.front()->reset_reads = 12;
  const auto where = m.where(4);
  REQUIRE(e.start(m, where));
  CHECK(m.memory.waits[static_cast<int>(waiting::reset)] > 60);
}

TEST_CASE(
    "session: an object whose device was removed stays with it until a device answers there; another object can start",
    "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  m.bus.unplug({0, 0, 4, 0});
  m.add<rig::rng_model>(seat::modern, 5);  // plugged into another slot
  CHECK(e.start(m, m.where(5)).error() == errc::device_broken);
  CHECK(e->why().why == verdict::former_device_stuck);
  u8 buffer[8];
  CHECK(e->fill(buffer).error() == errc::not_started);
  rig::entropy<> other;
  REQUIRE(other.start(m, m.where(5)));
  CHECK(other->fill(buffer));
  // A device that answers in the same slot confirms the reset: the memory is free, and the object can start elsewhere.
  m.bus.function({0, 0, 4, 0}).present = true;
  REQUIRE(other->hand_off());
  REQUIRE(e.start(m, m.where(5)));
  CHECK(e->fill(buffer));
}

TEST_CASE(
    "session: a device that clears FEATURES_OK ends the start with FAILED and a reset [INIT-09][INIT-12][INIT-13]",
    "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  model.refuse_features = true;
  rig::entropy<> e;
  CHECK(e.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(e->why().why == verdict::features_refused);
  CHECK(m.function(4).log().ends_with("w1@common+0x14=0x8b w1@common+0x14=0x0 r1@common+0x14"));  // FAILED, and a reset
  CHECK(!contains(m.function(4).log(), "common+0x16"));  // no queue was touched
  u8 buffer[8];
  CHECK(e->fill(buffer).error() == errc::not_started);
}

TEST_CASE("session: a start after FAILED resets the device and may succeed [STATUS-03]", "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  model.refuse_features = true;
  rig::entropy<> e;
  CHECK(!e.start(m, m.where(4)));
  model.refuse_features = false;
  CHECK(e.start(m, m.where(4)));  // the model reports any other first write than a reset
  CHECK(model.status() == 0x0f);
}

TEST_CASE(
    "session: a modern device without VERSION_1 ends the start, and the report names the feature [FEAT-07][FEAT-09][FEAT-03][INIT-12]",
    "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  model.withdraw({32});
  rig::entropy<> e;
  CHECK(e.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(e->why().why == verdict::feature_missing);
  CHECK(std::string{name(static_cast<feature>(e->why().feature))} == "VERSION_1");
  CHECK(m.function(4).log().ends_with(given_up));
}

TEST_CASE("session: unknown feature bits are ignored and never accepted [FEAT-01][FEAT-04][FEAT-05][FEAT-08][SPLIT-06]",
          "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  for (unsigned bit = 0; bit < 128; ++bit)
    if (bit != 34) model.offer({bit});
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  for (unsigned bit = 0; bit < 128; ++bit) {
    // EVENT_IDX, VERSION_1, ACCESS_PLATFORM (the platform maps), NOTIFICATION_DATA, NOTIF_CONFIG_DATA
    const bool ours = bit == 29 || bit == 32 || bit == 33 || bit == 38 || bit == 39;
    CHECK(model.accepted(bit) == ours);
  }
}

TEST_CASE(
    "session: features that are not offered are not accepted, and the driver works without them [FEAT-01][FEAT-06]",
    "[session]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4, rig::blk_options{.flush = false});
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(!model.accepted(9));
  CHECK(!model.accepted(29));
  CHECK(d->flush());  // nothing to flush
  CHECK(model.flushes() == 0);
}

TEST_CASE("session: a feature whose prerequisite is not offered is not accepted [FEAT-02][FEAT-03]", "[session]") {
  rig::machine m;
  auto& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{8});
  static constexpr feature_rule rules[] = {{5, 4}, {6, 5}};
  feature_set wanted;
  for (const u8 bit : {u8{3}, u8{4}, u8{5}, u8{6}}) wanted.set(bit);
  model.offer({3, 5, 6});  // 6 needs 5 needs 4, and 4 is missing
  bare_session<> one;
  REQUIRE(one.up(m, 4, device_type::entropy, {.wanted = wanted, .rules = rules, .rule_count = 2}));
  CHECK(model.accepted(3));
  CHECK(!model.accepted(5));
  CHECK(!model.accepted(6));
}

TEST_CASE(
    "session: a required feature that the device lacks is named, FAILED is written and the device is reset [FEAT-07][INIT-12]",
    "[session]") {
  rig::machine m;
  auto& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{8});
  feature_set required;
  required.set(77);
  bare_session<> one;
  CHECK(one.up(m, 4, device_type::entropy, {.required = required}).error() == errc::unsupported);
  CHECK(one.s.why().why == verdict::feature_missing);
  CHECK(one.s.why().feature == 77);
  CHECK(m.function(4).log().ends_with(given_up));
  CHECK(model.status() == 0);
}

TEST_CASE("session: the report names the first offered feature that the driver refuses [INIT-12]", "[session]") {
  rig::machine m;
  auto& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{8});
  const u8 offered = GENERATE(u8{3}, u8{17}, u8{40}, u8{77});
  CAPTURE(int{offered});
  feature_set refused;
  for (const u8 bit : {u8{2}, u8{17}, u8{40}, u8{77}}) refused.set(bit);
  model.offer({3, offered, 77});
  bare_session<> one;
  CHECK(one.up(m, 4, device_type::entropy, {.refused = refused}).error() == errc::unsupported);
  CHECK(one.s.why().why == verdict::feature_unsupported);
  CHECK(int{one.s.why().feature} == (offered == 3 ? 77 : int{offered}));
  CHECK(m.function(4).log().ends_with(given_up));
  model.withdraw({17, 40, 77});
  CHECK(one.up(m, 4, device_type::entropy, {.refused = refused}));  // no such feature is offered
}

TEST_CASE("session: ACCESS_PLATFORM is decided by the platform's type, from the offer [FEAT-11][FEAT-12]",
          "[session]") {
  rig::machine m;
  auto& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{8});
  model.offer({33});
  using refusing = virtio::testing::strict_platform<smp_barriers, access_policy::refuse>;
  bare_session<refusing> no;
  CHECK(no.up(m, 4, device_type::entropy).error() == errc::unsupported);
  CHECK(no.s.why().why == verdict::feature_unsupported);
  CHECK(std::string{name(static_cast<feature>(no.s.why().feature))} == "ACCESS_PLATFORM");
  bare_session<> yes;
  CHECK(yes.up(m, 4, device_type::entropy));
  CHECK(model.accepted(33));
  model.withdraw({33});
  CHECK(no.up(m, 4, device_type::entropy));  // no such feature is offered
}

TEST_CASE("session: dma_barriers accept ORDER_PLATFORM, smp_barriers do not [FEAT-15][FEAT-16]", "[session]") {
  rig::machine m;
  auto& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{8});
  model.offer({36});
  bare_session<> smp;
  REQUIRE(smp.up(m, 4, device_type::entropy));
  CHECK(!model.accepted(36));
  bare_session<virtio::testing::strict_platform<rig::hardware_barriers>> dma;
  REQUIRE(dma.up(m, 4, device_type::entropy));
  CHECK(model.accepted(36));
}

TEST_CASE(
    "session: a driver that does not use SR_IOV, IN_ORDER, RING_RESET and others never accepts them "
    "[FEAT-18][FEAT-05]",
    "[session]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4);
  model.offer({35, 37, 40, 41, 43});
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  for (const unsigned bit : {35u, 37u, 40u, 41u, 43u}) CHECK(!model.accepted(bit));
}

TEST_CASE(
    "session: no device config is written, and no optional field is read without its feature [INIT-06][CFG-04][BLK-04]",
    "[session][blk]") {
  rig::machine m;
  const bool offers = GENERATE(false, true);
  m.add<rig::blk_model>(seat::modern, 4,
                        rig::blk_options{.size_max = offers ? 4096u : 0u, .seg_max = offers ? 3u : 0u});
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  const std::string log = m.function(4).log();
  CHECK(contains(log, "r4@device+0x8") == offers);
  CHECK(contains(log, "r4@device+0xc") == offers);
  CHECK(!contains(log, "device+0x14"));
  CHECK(!contains(log, "device+0x20"));
  CHECK(log.find("w1@device") == std::string::npos);
  CHECK(log.find("w4@device") == std::string::npos);
}

TEST_CASE("config: a 64-bit field torn by the device is read again [CFG-01][CFG-02][CFG-03]", "[session][config]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4, rig::blk_options{.sectors = 0x10});
  int changes = 0;
  model.before_config_read = [&](u32 offset, u32) {
    // Between the two halves of the capacity the disk grows past 2^32 sectors.
    if (offset == 4 && changes++ == 0) model.change_config(0, 0x1'0000'0000, 8);
  };
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->capacity() == 0x1'0000'0000);  // neither 0x10 nor 0x1'0000'0010
}

TEST_CASE("config: a generation that changes at every read ends in an error [CFG-03]", "[session][config][hostile]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4);
  model.generation_every = 1;
  rig::disk<> d;
  CHECK(d.start(m, m.where(4)).error() == errc::device_misbehaved);
  CHECK(d->why().why == verdict::config_unreadable);
  CHECK(m.function(4).log().ends_with("w1@common+0x14=0x8b w1@common+0x14=0x0 r1@common+0x14"));  // FAILED, and a reset
}

TEST_CASE("config: a legacy capacity is read until two readings agree [CFGL-01]", "[session][config][legacy]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::legacy, 4, rig::blk_options{.sectors = 0x10, .queue_size = 16});
  int changes = 0;
  model.before_config_read = [&](u32 offset, u32) {
    if (offset == 4 && changes++ == 0) model.change_config(0, 0x1'0000'0000, 8);
  };
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->capacity() == 0x1'0000'0000);
}

TEST_CASE(
    "config: a region larger than any structure is accepted, one too small for a used field is not [CFG-05][CFG-06][PCI-12][PCI-13]",
    "[session][config]") {
  rig::machine m;
  m.add<rig::blk_model>(seat::crosvm, 4);  // its device region has 0x1000 bytes
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->capacity() == 2048);

  m.add<rig::blk_model>(seat::modern, 5);
  auto& f = m.function(5);
  f.poke(f.capability(0x09, 4) + 12u, 4, 4);  // a device config of four bytes has no capacity
  rig::disk<> small;
  CHECK(small.start(m, m.where(5)).error() == errc::out_of_range);
  CHECK(small->why().why == verdict::config_unreadable);
}

TEST_CASE("session: a device of another type is not accessed", "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::disk<> d;
  CHECK(d.start(m, m.where(4)).error() == errc::wrong_device);
  CHECK(d->why().why == verdict::wrong_type);
  CHECK(m.function(4).log().empty());
  CHECK(d.start(m, m.where(9)).error() == errc::wrong_device);  // an empty slot
}

TEST_CASE("session: storage that is too small, misaligned or out of reach is rejected before the device is reset",
          "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  const dma_region good = e.storage();
  CHECK(e->start(m.platform(), m.where(4), {good.data, 100}).error() == errc::no_space);
  CHECK(e->start(m.platform(), m.where(4), {good.data + 8, good.size}).error() == errc::misaligned);
  m.memory.refuse(good.data, 1);
  CHECK(e->start(m.platform(), m.where(4), good).error() == errc::dma_unreachable);
  CHECK(e->why().why == verdict::storage_unusable);
  CHECK(e->why().error == errc::dma_unreachable);
  CHECK(m.function(4).log().empty());
}

TEST_CASE("session: a missing queue and a doorbell outside its structure have their own verdicts [INIT-12]",
          "[session][hostile]") {
  rig::machine m;
  auto& none = m.add<rig::rng_model>(seat::modern, 4);
  none.at(0).maximum = none.at(0).size = 0;
  rig::entropy<> e;
  CHECK(e.start(m, m.where(4)).error() == errc::not_found);
  CHECK(e->why().why == verdict::queue_missing);
  CHECK(contains(m.function(4).log(), "w1@common+0x14=0x8b w1@common+0x14=0x0"));
  CHECK(none.status() == 0);

  auto& far = m.add<rig::rng_model>(seat::modern, 5);
  far.at(0).notify_off = 0xffff;
  rig::entropy<> f;
  CHECK(f.start(m, m.where(5)).error() == errc::device_misbehaved);
  CHECK(f->why().why == verdict::queue_unusable);
  CHECK(far.status() == 0);

  // A doorbell at an odd address: a misaligned access to device memory is a trap on some CPUs.
  auto& odd = m.add<rig::rng_model>(seat::modern, 6);
  odd.at(0).notify_off = 1;
  m.function(6).poke(m.function(6).capability(0x09, 2) + 16u, 1, 4);
  rig::entropy<> g;
  CHECK(g.start(m, m.where(6)).error() == errc::device_misbehaved);
}

TEST_CASE("session: hand-off leaves a device that is reset and off the bus", "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(GENERATE(seat::modern, seat::legacy, seat::crosvm), 4);
  rig::entropy<split_queue<8, ring_options{.ring_entries = 256}>> e;
  REQUIRE(e.start(m, m.where(4)));
  CHECK((m.function(4).peek(4) & 4u) != 0);
  CHECK(e->hand_off());
  CHECK(model.status() == 0);
  CHECK((m.function(4).peek(4) & 4u) == 0);
  u8 buffer[8];
  CHECK(e->fill(buffer).error() == errc::not_started);
  CHECK(e.start(m, m.where(4)));  // the same object and storage again
  CHECK(e->fill(buffer));
}

TEST_CASE("session: an object that was never started rejects every call and accesses nothing", "[session]") {
  rig::disk<> d;
  u8 sector[512];
  CHECK(d->read(0, sector).error() == errc::not_started);
  CHECK(d->flush().error() == errc::not_started);
  CHECK(d->reset().error() == errc::not_started);
  CHECK(d->hand_off().error() == errc::not_started);
  CHECK(d->check().error() == errc::not_started);
  CHECK(d->next_completion().error() == errc::not_started);
  CHECK(d->wait({0, 0}).error() == errc::stale_handle);
  CHECK(d->poll([](auto) {}) == 0);
  d->kick();
  CHECK(!d->arm());
  d->disarm();
  CHECK(!d->acknowledge_interrupt().queue);
}

TEST_CASE("session: a start on the device of another driver does not stop that driver", "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  rig::disk<> d;
  CHECK(d.start(m, m.where(4)).error() == errc::wrong_device);
  CHECK(d->hand_off().error() == errc::not_started);
  CHECK(model.status() == 0x0f);
  u8 buffer[8];
  CHECK(e->fill(buffer));
  // Nor does a start with unusable storage.
  rig::entropy<> other;
  CHECK(other->start(m.platform(), m.where(4), {}).error() == errc::no_space);
  CHECK(other->hand_off().error() == errc::not_started);
  CHECK(e->fill(buffer));
}

TEST_CASE("session: storage in several pieces for the device is reported as out of reach, not as too small",
          "[session]") {
  struct paged : rig::platform_type {
    result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
      for (usize done = 0; done < n; done += 4096)
        if (const auto pushed = out.push(dma_addr{reinterpret_cast<uptr>(va) + 2 * done}, 4096, way); !pushed)
          return pushed;
      return {};
    }
  };
  auto storage = std::make_unique<dma_storage<16384>>();
  dma_area area;
  CHECK(locate(paged{}, *storage, area).error() == errc::dma_unreachable);
}

TEST_CASE("session: the ring is laid out, then a fence, then the device receives its address", "[session]") {
  using hooked = virtio::testing::strict_platform<virtio::testing::hooked_barriers>;
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::driver<rng::device<hooked, rig::any_pci, split_queue<8>>> e;
  virtio::testing::barrier_hooks::clear();
  REQUIRE(e->start(hooked{&m.memory}, m.where(4), e.storage()));
  CHECK(virtio::testing::barrier_hooks::mine().fulls == 1);
  virtio::testing::barrier_hooks::clear();
}

TEST_CASE("session: the trace hook receives status, features, queue and doorbell", "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  u8 buffer[8];
  REQUIRE(e->fill(buffer));
  int counts[8] = {};
  for (const event& one : m.memory.events) ++counts[static_cast<int>(one.what)];
  CHECK(counts[static_cast<int>(event::kind::status_write)] == 5);
  CHECK(counts[static_cast<int>(event::kind::feature_offer)] == 2);
  CHECK(counts[static_cast<int>(event::kind::feature_accept)] == 2);
  CHECK(counts[static_cast<int>(event::kind::queue_enabled)] == 1);
  CHECK(counts[static_cast<int>(event::kind::doorbell)] == 1);
}

TEST_CASE("session: four feature words are read of network devices, two of others [FEAT-01]", "[session]") {
  rig::machine m;
  auto& net = m.add<device_model>(seat::modern, 4, u16{1}, std::vector<u16>{8, 8});
  net.offer({65});
  feature_set wanted;
  wanted.set(65);
  bare_session<> one;
  REQUIRE(one.up(m, 4, device_type::network, {.wanted = wanted}));
  CHECK(net.accepted(65));
  CHECK(contains(m.function(4).log(), "w4@common+0x0=0x3"));
}
