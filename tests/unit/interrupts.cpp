// SPDX-License-Identifier: MIT
// MSI-X: the table, the vectors of drivers, and their behaviour with too few vectors or none.
#include <catch2/generators/catch_generators.hpp>

#include <virtio/bus/pci/msix.hpp>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

using table = pci::msix<rig::host>;

table opened(rig::machine& m, u8 slot) {
  table out;
  REQUIRE(out.open(m.bus.host(), {0, 0, slot, 0}));
  return out;
}

bool is_on(fake_function& f) { return (f.config[f.capability(0x11) + 3u] & 0x80) != 0; }

}  // namespace

TEST_CASE("msix: opening masks every vector and leaves MSI-X off; routing writes a message while its vector is masked",
          "[msix]") {
  rig::machine m;
  (void)m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const auto before = f.peek(f.capability(0x11));
  f.clear_log();
  const auto t = opened(m, 4);
  CHECK(t.size() == 2);
  CHECK(f.log() == "w4@msix+0xc=0x1 w4@msix+0x1c=0x1");
  CHECK_FALSE(is_on(f));
  f.clear_log();
  CHECK(t.route(1, {0x1'fee0'1000, 0x41}));
  CHECK(f.log() == "w4@msix+0x1c=0x1 w4@msix+0x10=0xfee01000 w4@msix+0x14=0x1 w4@msix+0x18=0x41 w4@msix+0x1c=0x0");
  CHECK(t.route(2, {0xfee00000, 0x41}).error() == errc::out_of_range);
  t.mask(7);  // ignored
  t.enable();
  CHECK(is_on(f));
  CHECK(f.peek(f.capability(0x11)) == (before | 0x80000000));
  t.disable();
  CHECK(f.peek(f.capability(0x11)) == before);
}

TEST_CASE("msix: no capability, no BAR, a table beyond its BAR, none opened", "[msix][hostile]") {
  rig::machine m;
  m.expect_objections = true;
  (void)m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const u8 at = f.capability(0x11);
  const auto whole = f.config;
  table t;
  const auto error = [&] { return t.open(m.bus.host(), {0, 0, 4, 0}).error(); };
  CHECK(error() == errc::ok);
  f.poke(at + 4u, 5, 1);  // BAR 5 is not implemented
  CHECK(error() == errc::not_found);
  f.poke(at + 4u, 7, 1);  // BAR 7 does not exist
  CHECK(error() == errc::not_found);
  f.config = whole;
  f.poke(at + 2u, 0x7ff, 2);  // 2048 entries are 32 KiB, BAR 1 has 4
  CHECK(error() == errc::device_misbehaved);
  f.config = whole;
  f.poke(at + 4u, 0xfffffff8 | 1, 4);
  CHECK(error() == errc::device_misbehaved);
  f.config = whole;
  for (u32 low = 0xf4; low < 0x100; low += 4) {  // three dwords reach up to the end of configuration space, or beyond
    f.poke(0x34, low, 1);
    f.poke(low, 0x11, 4);
    if (low == 0xf4) f.poke(low + 4, 1, 4);  // at the start of BAR 1
    CHECK(error() == (low == 0xf4 ? errc::ok : errc::not_found));
    f.config = whole;
  }
  f.poke(at, 0x12, 1);
  CHECK(error() == errc::not_found);
  CHECK(t.size() == 0);
  t.enable();  // no effect
  CHECK(t.route(0, {}).error() == errc::out_of_range);
  CHECK(f.config[at + 3u] == whole[at + 3u]);
}

TEST_CASE("interrupts: completions and configuration changes arrive on the assigned vectors [PCI-35]", "[msix]") {
  rig::machine m;
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy);
  auto& model = m.add<blk_model>(where, 4);
  const auto t = opened(m, 4);
  t.enable();
  rig::disk<rig::legacy_queue> d;
  REQUIRE(d->start(m.platform(), m.where(4), d.storage(), {.config = 0, .first = 1}));
  u8 sector[512];
  CHECK(d->read(0, sector));
  CHECK(model.interrupts(0) == 0);
  const auto polled = model.interrupts(1);
  (void)d->arm();
  CHECK(d->read(1, sector));
  CHECK(model.interrupts(1) == polled + 1);
  model.change_config(0, model.config()[0] ^ 1u, 1);
  CHECK(model.interrupts(0) == 1);
  CHECK_FALSE(d->acknowledge_interrupt().queue);  // MSI-X leaves the ISR alone
  // The device's vectors are cleared by the next start, which sets other vectors.
  REQUIRE(d->start(m.platform(), m.where(4), d.storage(), {.config = 1, .first = 0}));
  (void)d->arm();
  CHECK(d->read(0, sector));
  CHECK(model.interrupts(0) == 2);
}

TEST_CASE("interrupts: a table of one vector serves everything [PCI-31]", "[msix]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  auto& f = m.function(4);
  f.poke(f.capability(0x11) + 2u, 0, 2);
  model.msix_vectors = 1;
  const auto t = opened(m, 4);
  CHECK(t.size() == 1);
  t.enable();
  rig::entropy<> r;
  REQUIRE(r->start(m.platform(), m.where(4), r.storage(), {.config = 0, .first = 0}));
  u8 seed[8];
  (void)r->arm();
  CHECK(r->fill(seed));
  CHECK(model.interrupts(0) == 1);
}

TEST_CASE("interrupts: a table of 2048 vectors serves up to the last one [PCI-31]", "[msix]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  auto& f = m.function(4);
  f.poke(f.capability(0x11) + 2u, 0x7ff, 2);
  f.bar_sizes[1] = 0x10000;
  f.attach(model);
  f.logging = false;
  const auto t = opened(m, 4);
  CHECK(t.size() == 2048);
  f.logging = true;
  CHECK(t.route(2047, {0xfee01000, 0x41}));
  CHECK(f.log() ==
        "w4@msix+0x7ffc=0x1 w4@msix+0x7ff0=0xfee01000 w4@msix+0x7ff4=0x0 w4@msix+0x7ff8=0x41 w4@msix+0x7ffc=0x0");
  CHECK(t.route(2048, {}).error() == errc::out_of_range);
  t.enable();
  rig::entropy<> r;
  REQUIRE(r->start(m.platform(), m.where(4), r.storage(), {.config = 2046, .first = 2047}));
  u8 seed[8];
  (void)r->arm();
  CHECK(r->fill(seed));
  CHECK(model.interrupts(2047) == 1);
}

TEST_CASE("interrupts: a disabled line is enabled when a driver that uses it starts", "[interrupts]") {
  rig::machine m;
  (void)m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  auto& f = m.function(4);
  f.config_write(0x04, 0x0400);
  rig::disk<rig::legacy_queue> d;
  REQUIRE(d->start(m.platform(), m.where(4), d.storage(), interrupt_line));
  CHECK((f.peek(0x04, 2) & 0x0400) == 0);
}

TEST_CASE("interrupts: a fence separates the read of the cause from reads of the ring", "[interrupts]") {
  using hooked = virtio::testing::strict_platform<virtio::testing::hooked_barriers>;
  using virtio::testing::barrier_hooks;
  rig::machine m;
  (void)m.add<rng_model>(seat::modern, 4);
  rig::driver<rng::device<hooked, rig::any_pci, split_queue<8>>> r;
  CHECK(!r->acknowledge_interrupt().queue);  // no cause, and no fence
  REQUIRE(r->start(hooked{&m.memory}, m.where(4), r.storage()));
  m.function(4).clear_log();
  barrier_hooks::clear();
  std::string at_the_fence;
  barrier_hooks::mine().before_full = [&] { at_the_fence = m.function(4).log(); };
  (void)r->acknowledge_interrupt();
  CHECK(barrier_hooks::mine().fulls == 1);
  CHECK(at_the_fence == "r1@isr+0x0");
  barrier_hooks::clear();
}

TEST_CASE("interrupts: queues share vectors in turn when there are fewer", "[msix]") {
  constexpr interrupt_vectors none{}, one{.config = 0, .first = 0}, two{.config = 0, .first = 1, .count = 2};
  STATIC_CHECK(none.of_queue(0) == no_vector);
  STATIC_CHECK((one.of_queue(0) == 0 && one.of_queue(9) == 0));
  STATIC_CHECK((two.of_queue(0) == 1 && two.of_queue(1) == 2 && two.of_queue(2) == 1));
  STATIC_CHECK(interrupt_vectors{.first = 3, .count = 0}.of_queue(5) == 3);
}

TEST_CASE("interrupts: a session gives each queue its vector, and queues share when there are fewer",
          "[msix][session]") {
  constexpr u16 queues = 3;
  rig::machine m;
  auto& model = m.add<virtio::testing::device_model>(GENERATE(seat::modern, seat::transitional), 4, u16{4},
                                                     std::vector<u16>(queues, 8));
  const auto t = opened(m, 4);
  CHECK(t.size() == queues + 1);
  t.enable();
  const u16 count = GENERATE(u16{1}, u16{2}, u16{3});
  const interrupt_vectors vectors{.config = 0, .first = 1, .count = count};

  using ring = split_queue<8>::ring<smp_barriers>;
  struct queue {
    ring it{};
    dma_storage<ring::dma_bytes> storage{};
    u8 buffer[16]{};
  };
  const auto all = std::make_unique<std::array<queue, queues>>();
  session<rig::platform_type, rig::any_pci> s{};
  REQUIRE(s.open(m.platform(), m.where(4), device_type::entropy));
  REQUIRE(s.negotiate({.wanted = ring::wanted}));
  REQUIRE(s.route_config(vectors.config));
  for (u16 q = 0; q < queues; ++q) {
    queue& one = (*all)[q];
    dma_area area;
    REQUIRE(locate(m.platform(), one.storage, area));
    decltype(s)::doorbell bell;
    REQUIRE(s.set_up(q, one.it, area, vectors.of_queue(q), bell));
  }
  s.go();
  CHECK(s.why().queue == queues - 1);
  u32 expected[queues + 1] = {};
  for (u16 q = 0; q < queues; ++q) {
    CHECK(model.at(q).vector == 1 + q % count);
    queue& one = (*all)[q];
    segment_list<1> chain;
    REQUIRE(m.memory.map(one.buffer, sizeof one.buffer, direction::from_device, chain));
    const auto slot = one.it.reserve();
    REQUIRE(slot);
    const auto mine = one.it.stage(*slot, chain, q);
    REQUIRE(mine);
    CHECK(one.it.publish());
    (void)one.it.arm();
    CHECK(model.serve(q) == 1);
    ++expected[1 + q % count];
    for (u16 vector = 0; vector <= queues; ++vector) CHECK(model.interrupts(vector) == expected[vector]);
    completion ended;
    CHECK(one.it.take(ended) == errc::ok);
    CHECK(ended.cookie == q);
    one.it.release(*mine);
    m.memory.unmap(chain[0], 0);
  }
  model.set_needs_reset();
  CHECK(model.interrupts(0) == 1);
  CHECK(s.reset());
}

TEST_CASE("interrupts: a vector that the device rejects ends the start, by name [PCI-35]", "[msix]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  const auto t = opened(m, 4);
  t.enable();
  model.refuse_vectors = true;
  rig::disk<rig::legacy_queue> d;
  CHECK(d->start(m.platform(), m.where(4), d.storage(), {.config = 0}).error() == errc::unsupported);
  CHECK(d->why().why == verdict::vector_refused);
  CHECK(d->start(m.platform(), m.where(4), d.storage(), {.first = 0}).error() == errc::unsupported);
  CHECK(d->why().why == verdict::vector_refused);
  CHECK(d->start(m.platform(), m.where(4), d.storage()));  // without vectors it works
}

TEST_CASE("interrupts: vectors beyond the table, or with MSI-X off, are never written [PCI-34]", "[msix]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  const auto t = opened(m, 4);
  rig::disk<rig::legacy_queue> d;
  CHECK(d->start(m.platform(), m.where(4), d.storage(), {.config = 0, .first = 1}).error() == errc::unsupported);
  t.enable();
  CHECK(d->start(m.platform(), m.where(4), d.storage(), {.config = 2}).error() == errc::unsupported);
  CHECK(d->start(m.platform(), m.where(4), d.storage(), {.first = 2}).error() == errc::unsupported);
  CHECK(d->why().why == verdict::vector_refused);
  CHECK(model.violations().empty());  // the model reports vectors outside its table
}
