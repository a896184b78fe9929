// SPDX-License-Identifier: MIT
// Corner cases of a device's lifecycle: the previous device's state, the number of all-ones readings that count as
// removal, the verdict for a queue that fails, and the interrupt request before each sleep.
#include <catch2/generators/catch_generators.hpp>

#include <virtio/testing/hooked_barriers.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "session.hpp"

using namespace virtio;

TEST_CASE("lifecycle: a start that fails on its storage keeps nothing of the previous device", "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  CHECK(e->why().status == 0x0f);
  REQUIRE(e->hand_off());
  m.function(4).clear_log();
  dma_region storage = e.storage();
  ++storage.data;
  CHECK(e->start(m.platform(), m.where(4), storage).error() == errc::misaligned);
  CHECK(e->why().why == verdict::storage_unusable);
  CHECK(e->why().type == device_type::none);
  CHECK(e->reset().error() == errc::not_started);
  CHECK_FALSE(e->acknowledge_interrupt().queue);
  CHECK(m.function(4).log().empty());
  CHECK(model.status() == 0);
}

TEST_CASE("lifecycle: a device counts as removed after eight readings of all ones in a row", "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  m.bus.unplug({0, 0, 4, 0});
  const u64& waits = m.memory.waits[static_cast<int>(waiting::reset)];
  const u64 before = waits;
  CHECK(e->reset().error() == errc::device_broken);
  CHECK(waits - before == 7);
}

TEST_CASE("lifecycle: vector_refused is reported only if a vector was given and the device rejected it", "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  ring_session<> one{m};
  SECTION("the storage is too small, with a vector") {
    CHECK(one.s.set_up(0, one.ring(), one.area.part(0, 4096), 1, one.bell).error() == errc::no_space);
  }
  SECTION("the ring cannot be attached, without a vector") {
    packed_ring<8> ring{};  // packed rings were not negotiated
    CHECK(one.s.set_up(0, ring, one.area, no_vector, one.bell).error() == errc::unsupported);
  }
  CHECK(one.s.why().why == verdict::queue_unusable);
}

namespace {

struct sleeping : rig::platform_type {
  static constexpr bool sleeps = true;
};

struct hooked : virtio::testing::strict_platform<virtio::testing::hooked_barriers> {
  static constexpr bool sleeps = true;
};

}  // namespace

TEST_CASE("lifecycle: a request that ends while the driver requests an interrupt costs no sleep", "[blk]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4);
  rig::driver<blk::device<hooked, rig::any_pci, split_queue<8>>> d;
  REQUIRE(d->start(hooked{{&m.memory}}, m.where(4), d.storage()));
  m.memory.on_wait = [&](waiting why, u64) {
    if (why != waiting::reset) FAIL("it sleeps");
  };
  int fences = 0;
  virtio::testing::barrier_hooks::clear();
  virtio::testing::barrier_hooks::mine().before_full = [&] {
    if (++fences == 2) (void)model.step();  // fences of kick() and arm()
  };
  u8 data[512];
  const auto done = d->read(0, data);
  virtio::testing::barrier_hooks::clear();
  REQUIRE(done);
  CHECK(fences == 2);
}

TEST_CASE("lifecycle: a driver that took another completion requests an interrupt before it sleeps", "[blk]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4);
  rig::driver<blk::device<hooked, rig::any_pci, split_queue<8>>> d;
  REQUIRE(d->start(hooked{{&m.memory}}, m.where(4), d.storage()));
  model.hold();
  m.memory.on_wait = [&](waiting why, u64) {
    if (why != waiting::reset) FAIL("it sleeps");
  };
  u8 a[512], b[512];
  REQUIRE(d->submit_read(1, a, 1));
  int fences = 0;
  virtio::testing::barrier_hooks::clear();
  virtio::testing::barrier_hooks::mine().before_full = [&] {  // fences of kick(), arm() and arm()
    if (++fences == 2) (void)model.step();
    if (fences >= 2) model.complete(0);
  };
  const auto done = d->read(0, b);
  virtio::testing::barrier_hooks::clear();
  REQUIRE(done);
  CHECK(fences == 3);
  CHECK(d->next_completion()->cookie == 1);
}

TEST_CASE("lifecycle: a driver that another request woke requests an interrupt before it sleeps again", "[blk]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4);
  model.offer({29});  // EVENT_IDX: each request is for one interrupt
  rig::driver<blk::device<sleeping, rig::any_pci, split_queue<8>>> d;
  REQUIRE(d->start(sleeping{{&m.memory}}, m.where(4), d.storage()));
  model.hold();
  u8 a[512], b[512];
  REQUIRE(d->submit_read(1, a, 1));
  u32 sleeps = 0, interrupts = model.interrupts();
  m.memory.on_wait = [&](waiting why, u64) {
    if (why == waiting::reset) return;
    (void)model.step();
    ++sleeps;
    model.complete(0);
    CHECK(model.interrupts() == interrupts + sleeps);
  };
  REQUIRE(d->read(0, b));
  CHECK(sleeps == 2);
  CHECK(d->next_completion()->cookie == 1);
}

TEST_CASE("lifecycle: a device that does not reset receives none of the staged requests", "[blk]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4);
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.hold();
  u8 a[512], b[512];
  REQUIRE(d->submit_read(0, a, 1));
  d->kick();
  REQUIRE(d->submit_read(0, b, 2));
  model.reset_reads = virtio::testing::device_model::forever;
  CHECK(d->reset().error() == errc::device_broken);
  m.function(4).clear_log();
  d->kick();
  CHECK(m.function(4).log().empty());
  model.reset_reads = 0;
  REQUIRE(d->reset());
  CHECK(rig::polled(d).size() == 2);
}

TEST_CASE("lifecycle: a request with the maximum number of pieces does not change those of another",
          "[blk][platform]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4, rig::blk_options{.seg_max = 16});
  model.offer({34});
  m.memory.largest_piece = 512;
  rig::driver<blk::device<rig::platform_type, rig::any_pci, packed_queue<64>>> d;
  REQUIRE(d.start(m, m.where(4)));
  model.hold();
  static u8 first[512], second[1024], third[16 * 512];
  REQUIRE(d->submit_read(0, first, 1));
  REQUIRE(d->submit_read(8, second, 2));
  d->kick();
  (void)model.step();
  model.complete(0);
  CHECK(d->next_completion()->cookie == 1);
  REQUIRE(d->submit_read(16, third, 3));  // in the slot before the second's
  d->kick();
  (void)model.step();
  model.complete_all();
  CHECK(d->next_completion()->cookie == 2);
  CHECK(d->next_completion()->cookie == 3);
  CHECK(m.memory.live() == 0);
}

TEST_CASE("lifecycle: arm and disarm do not write to storage that was returned to the caller", "[blk][rng]") {
  rig::machine m;
  m.add<rig::blk_model>(seat::modern, 4);
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(d->hand_off());
  const dma_region storage = d.storage();
  for (usize i = 0; i < storage.size; ++i) storage.data[i] = 0xee;
  CHECK_FALSE(d->arm());
  d->disarm();
  usize written = 0;
  for (usize i = 0; i < storage.size; ++i) written += storage.data[i] != 0xee;
  CHECK(written == 0);
}

TEST_CASE("lifecycle: a packed ring on a device without RING_PACKED is a missing feature", "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  rig::entropy<packed_queue<8>> e;
  CHECK(e.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(e->why().why == verdict::feature_missing);
  CHECK(e->why().feature == 34);
}

TEST_CASE("lifecycle: readings of all ones are counted from zero after any other value", "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  model.reset_reads = 2;
  const auto where = m.where(4);
  m.memory.on_wait = [&](waiting, u64 attempt) { m.function(4).present = attempt >= 7; };  // seven times in a row
  rig::entropy<> e;
  CHECK(e.start(m, where));
}

TEST_CASE("lifecycle: the single feature word of a legacy device is traced, as offered and as accepted",
          "[session][legacy]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::legacy, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  usize offers = 0, choices = 0;
  for (const event& one : m.memory.events) {
    offers += one.what == event::kind::feature_offer;
    choices += one.what == event::kind::feature_accept;
  }
  CHECK(offers == 1);
  CHECK(choices == 1);
}

TEST_CASE("lifecycle: if the device rejects its features, the report has the status", "[session]") {
  rig::machine m;
  auto& model = m.add<rig::rng_model>(seat::modern, 4);
  model.refuse_features = true;
  rig::entropy<> e;
  CHECK(e.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(e->why().status == 0x03);
}

TEST_CASE("lifecycle: a session that starts after a failed start reports no error", "[session]") {
  rig::machine m;
  m.add<rig::rng_model>(seat::modern, 4);
  ring_session<> one{m};
  auto& s = one.s;
  CHECK(s.set_up(0, one.ring(), one.area.part(0, 4096), no_vector, one.bell).error() == errc::no_space);
  CHECK(s.why().error == errc::no_space);
  s.forget();
  REQUIRE(one.up(m, 4, device_type::entropy));
  REQUIRE(one.set_up());
  s.go();
  CHECK(s.why().why == verdict::bound);
  CHECK(s.why().error == errc::ok);
  REQUIRE(s.reset());
}

TEST_CASE("lifecycle: disarm disables the interrupts that arm enables", "[blk]") {
  rig::machine m;
  auto& model = m.add<rig::blk_model>(seat::modern, 4);
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 data[512];
  u32 expected = model.interrupts();
  for (int i = 0; i < 3; ++i) {
    for (const bool on : {true, false}) {
      if (on) CHECK_FALSE(d->arm());
      else d->disarm();
      REQUIRE(d->submit_read(0, data));
      d->kick();
      (void)model.step();
      expected += on;
      CHECK(model.interrupts() == expected);
      REQUIRE(d->next_completion());
    }
  }
}

TEST_CASE("lifecycle: idle polls ring the doorbell after 65,536, then after twice as many each time, up to 2^22",
          "[device]") {
  idle_polls idle{};
  CHECK_FALSE(idle.slept_idle());
  CHECK_FALSE(idle.count(idle_polls::sleep));
  CHECK(idle.slept_idle());
  idle.end();
  for (u32 after = 65536; after <= 1u << 22; after *= 2) {
    CHECK_FALSE(idle.count(after - 1));
    CHECK(idle.count(1));
  }
  CHECK_FALSE(idle.count((1u << 22) - 1));  // the limit is 2^22
  CHECK(idle.count(1));
}
