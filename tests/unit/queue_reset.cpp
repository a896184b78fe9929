// SPDX-License-Identifier: MIT
// One queue taken down and set up again while another one of the same device runs.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <virtio/mmio.hpp>
#include <virtio/queue/either.hpp>
#include <virtio/testing/fake_mmio.hpp>

#include <virtio/device/session.hpp>

#include "machine.hpp"
#include "usual_mmio.hpp"

using namespace virtio;

namespace {

constexpr feature_plan with_reset{.wanted = feature_set{feature::ring_reset, feature::ring_packed, feature::event_idx}};

/// One queue of a device, two places to put it, and 8 buffers.
template <class Ring, class Transport>
struct queue_parts {
  dma_storage<Ring::dma_bytes> storage[2]{};
  dma_storage<8 * 64> buffers{};
  dma_area at[2]{}, data{};
  Ring ring{};
  typename Transport::doorbell bell{};

  explicit queue_parts(virtio::testing::strict_machine& memory) {
    const rig::platform_type platform{&memory};
    for (int i = 0; i < 2; ++i) REQUIRE(locate(platform, storage[i], at[i]));
    REQUIRE(locate(platform, buffers, data));
  }
  result<token> stage(u64 cookie = 0) {
    VIRTIO_TRY_ASSIGN(const u16 slot, ring.reserve());
    segment_list<1> chain;
    chain.append(data.at + 64 * slot, 64, direction::from_device);
    return ring.stage(slot, chain, cookie);
  }
  void kick() {
    ring.publish();
    if (ring.needs_kick()) bell.ring(ring.position());
  }
  result<completion> finish() {
    const auto done = ring.next_completion();
    if (done) ring.release(done->which);
    return done;
  }
};

/// A device with two queues, up to DRIVER_OK. Requests are answered with 64 bytes.
template <class Ring, class Transport = rig::any_pci>
struct two_queues {
  rig::machine m;
  device_model& model;
  session<rig::platform_type, Transport> s{};
  std::unique_ptr<queue_parts<Ring, Transport>> q[2];

  explicit two_queues(std::initializer_list<unsigned> offer, seat where = seat::modern)
      : model{m.add<device_model>(where, 4, u16{4}, std::vector<u16>{8, 8})} {
    model.offer(offer);
    if (Ring::required.has(feature::ring_packed)) model.offer({34});
    model.on_request = [](u16, auto& buffer) {
      const std::vector<u8> bytes(64, u8{0x77});
      return static_cast<u32>(buffer.write(0, bytes.data(), bytes.size()));
    };
    auto& f = m.function(4);
    if (where == seat::modern) f.poke(f.capability(0x09, 1) + 12u, 64, 4);  // room for queue_reset
    f.attach(model);
    REQUIRE(s.open(m.platform(), m.where(4), device_type::entropy));
    REQUIRE(s.negotiate(with_reset));
    for (u16 i = 0; i < 2; ++i) {
      q[i] = std::make_unique<queue_parts<Ring, Transport>>(m.memory);
      REQUIRE(s.set_up(i, q[i]->ring, q[i]->at[0], no_vector, q[i]->bell));
    }
    s.go();
  }
  result<void> restart(u16 i, int place = 1, u16 vector = no_vector) {
    return s.restart_queue(i, q[i]->ring, q[i]->at[place], vector, q[i]->bell);
  }
  /// One request on queue `i`, to its completion.
  bool works(u16 i) {
    if (!q[i]->stage(42)) return false;
    q[i]->kick();
    (void)model.step();
    const auto done = q[i]->finish();
    return done && done->cookie == 42 && done->length == 64;
  }
};

using split = split_ring<8>;

}  // namespace

TEMPLATE_TEST_CASE(
    "queue reset: one queue goes down and comes up elsewhere while another has requests in flight "
    "[RESET-02][RESET-03][RESET-04][PCI-21]",
    "[session][reset]", split_ring<8>, packed_ring<8>, packed_ring<5>, queue<8>::ring<smp_barriers>) {
  two_queues<TestType> d{{29, 40}};
  d.model.queue_reset_reads = 2;
  REQUIRE(d.works(1));
  d.model.hold();
  for (u64 n = 0; n < 3; ++n) REQUIRE(d.q[0]->stage(n));
  d.q[0]->kick();
  REQUIRE(d.model.step() == 3);
  for (int round = 0; round < 4; ++round) {
    const int place = round % 2 == 0 ? 1 : 0;
    REQUIRE(d.restart(1, place));
    // All registers of the queue are written again; the model reports an area that was not written, or a queue still
    // enabled.
    CHECK(d.model.at(1).enabled);
    CHECK(d.model.at(1).descriptors == raw(d.q[1]->at[place].at));
    d.model.release();
    for (int n = 0; n < 20; ++n) REQUIRE(d.works(1));  // past the wrap
    d.model.hold();
  }
  d.model.complete_all();
  for (u64 n = 0; n < 3; ++n) {
    const auto done = d.q[0]->finish();
    REQUIRE(done);
    CHECK(done->cookie == n);
    CHECK(d.q[0]->data.data[0] == 0x77);
  }
  CHECK(d.m.memory.waits[static_cast<int>(waiting::reset)] >= 8);
}

TEST_CASE(
    "queue reset: it consists of these accesses, and ends when queue_reset reads zero [RESET-02][RESET-04][PCI-21]",
    "[session][reset][pci]") {
  two_queues<split> d{40};
  d.model.queue_reset_reads = 1;
  d.m.function(4).clear_log();
  REQUIRE(d.restart(1));
  const auto halves = [&](u64 part, const char* low, const char* high) {
    const u64 where = raw(d.q[1]->at[1].at) + part;
    return std::string{" w4@common+"} + low + "=" + virtio::testing::wire::hex(where & 0xffffffff) + " w4@common+" +
           high + "=" + virtio::testing::wire::hex(where >> 32);
  };
  CHECK(d.m.function(4).log() ==
        "w2@common+0x16=0x1 w2@common+0x3a=0x1 "                                // the reset
        "w2@common+0x16=0x1 r2@common+0x3a w2@common+0x16=0x1 r2@common+0x3a "  // is done
        "w2@common+0x16=0x1 r2@common+0x18 w2@common+0x16=0x1 r2@common+0x1e "  // then as at discovery
        "w2@common+0x18=0x8" +
            halves(0, "0x20", "0x24") + halves(128, "0x28", "0x2c") + halves(4096, "0x30", "0x34") +
            " w2@common+0x1c=0x1");
}

TEMPLATE_TEST_CASE("queue reset: it fails without an access while a request is staged, in flight or not released",
                   "[session][reset]", split_ring<8>, packed_ring<5>) {
  two_queues<TestType> d{{40}};
  // QEMU 7.2: after a queue reset it still writes into the buffers that it had.
  d.model.keep_held_over_queue_reset = true;
  d.model.hold();
  auto& q = *d.q[1];
  REQUIRE(q.stage());
  d.m.function(4).clear_log();
  CHECK(d.restart(1).error() == errc::busy);  // staged
  q.kick();
  REQUIRE(d.model.step() == 1);
  d.m.function(4).clear_log();
  CHECK(d.restart(1).error() == errc::busy);  // in flight
  d.model.complete_all();
  CHECK(d.restart(1).error() == errc::busy);  // completed, and not taken
  const auto done = q.ring.next_completion();
  REQUIRE(done);
  CHECK(d.restart(1).error() == errc::busy);  // the caller still has the slot
  CHECK(d.m.function(4).log().empty());
  CHECK(q.ring.is_live(done->which));
  q.ring.release(done->which);
  CHECK(d.restart(1));
  d.model.release();
  CHECK(d.works(1));
  CHECK(!q.ring.is_live(done->which));  // a token from before the restart stays stale
}

TEST_CASE(
    "queue reset: the wait for a device that never finishes is bounded, no more requests are published, and it may finish later",
    "[session][reset][hostile]") {
  two_queues<split> d{40};
  d.model.queue_reset_reads = device_model::forever;
  d.m.function(4).clear_log();
  CHECK(d.restart(1).error() == errc::device_broken);
  CHECK(d.m.memory.waits[static_cast<int>(waiting::reset)] >= d.m.memory.wait_limit[static_cast<int>(waiting::reset)]);
  CHECK(!contains(d.m.function(4).log(), "w2@common+0x1c"));
  CHECK((d.model.status() & 0x80) == 0);  // the others still run
  CHECK(d.works(0));
  d.model.queue_reset_reads = 0;
  CHECK(d.restart(1));
  CHECK(d.works(1));
}

TEST_CASE("queue reset: a removed device does not count as reset [RESET-02]", "[session][reset][hostile]") {
  two_queues<split> d{40};
  d.m.bus.unplug({0, 0, 4, 0});
  CHECK(d.restart(1).error() == errc::device_broken);
}

TEST_CASE("queue reset: it is unsupported without RING_RESET, on legacy devices, and if its register is missing",
          "[session][reset]") {
  SECTION("not offered") {
    two_queues<split> d{{}};
    d.m.function(4).clear_log();
    CHECK(d.restart(1).error() == errc::unsupported);
    CHECK(d.m.function(4).log().empty());
    CHECK(d.works(1));
  }
  SECTION("legacy") {
    two_queues<split> d{{40}, seat::legacy};
    d.m.function(4).clear_log();
    CHECK(d.restart(1).error() == errc::unsupported);
    CHECK(d.m.function(4).log().empty());
  }
  SECTION("a structure that ends before it") {
    two_queues<split> d{40};
    auto& f = d.m.function(4);
    f.poke(f.capability(0x09, 1) + 12u, 56, 4);
    report why;
    REQUIRE(d.s.transport().open(d.m.where(4), why));
    f.clear_log();
    CHECK(d.restart(1).error() == errc::unsupported);
    CHECK(f.log().empty());
    CHECK(d.works(1));
  }
}

TEST_CASE(
    "queue reset: a failed setup leaves the queue down and the device up, and the call can be repeated [RESET-04]",
    "[session][reset]") {
  two_queues<split> d{40};
  REQUIRE(d.restart(1).error() == errc::ok);
  dma_area small = d.q[1]->at[0];
  small.size = 64;
  CHECK(d.s.restart_queue(1, d.q[1]->ring, small, no_vector, d.q[1]->bell).error() == errc::no_space);
  CHECK(d.restart(1, 1, 7).error() == errc::unsupported);  // a vector while MSI-X is off
  d.model.at(1).notify_off = 0xffff;
  CHECK(d.restart(1).error() == errc::device_misbehaved);
  d.model.at(1).notify_off = 1;
  CHECK(!d.model.at(1).enabled);
  CHECK((d.model.status() & 0x80) == 0);
  CHECK(d.works(0));
  REQUIRE(d.restart(1, 0));
  CHECK(d.works(1));
}

TEST_CASE("queue reset: the size may differ afterwards [RESET-04]", "[session][reset]") {
  two_queues<split> d{40};
  auto ring = std::make_unique<split_ring<4>>();
  REQUIRE(d.s.restart_queue(1, *ring, d.q[1]->at[1], no_vector, d.q[1]->bell));
  CHECK(d.model.at(1).size == 4);
  REQUIRE(d.restart(1));
  CHECK(d.model.at(1).size == 8);
  CHECK(d.works(1));
}

TEST_CASE("queue reset: a queue that is absent afterwards ends in no_space [RESET-04]", "[session][reset]") {
  two_queues<split> d{40};
  d.model.at(1).maximum = 0;
  CHECK(d.s.restart_queue(1, d.q[1]->ring, d.q[1]->at[1], no_vector, d.q[1]->bell).error() == errc::no_space);
}

TEST_CASE("queue reset: it works over MMIO, also if QueueReset has no effect [RESET-02][RESET-04][MMIO-15][MMIO-21]",
          "[session][reset][mmio]") {
  virtio::testing::strict_machine memory;
  virtio::testing::fake_mmio row;
  device_model model{memory.memory, 4, {8}};
  memory.on_wait = [&](waiting, u64) { (void)model.step(); };
  auto& slot = row.add(model);
  model.offer({40});
  model.queue_reset_reads = 2;
  using transport_type = decltype(rig::usual_mmio<virtio::testing::fake_mmio::bus_type>());
  session<rig::platform_type, transport_type> s{};
  REQUIRE(s.open(rig::platform_type{&memory}, mmio::at(row.bus(), 0), device_type::entropy));
  REQUIRE(s.negotiate(with_reset));
  auto q = std::make_unique<queue_parts<split, transport_type>>(memory);
  REQUIRE(s.set_up(0, q->ring, q->at[0], no_vector, q->bell));
  s.go();
  slot.clear_log();
  REQUIRE(s.restart_queue(0, q->ring, q->at[1], no_vector, q->bell));
  CHECK(contains(
      slot.log(),
      "w4@0x30=0x0 w4@0xc0=0x1 w4@0x30=0x0 r4@0xc0 w4@0x30=0x0 r4@0xc0 w4@0x30=0x0 r4@0xc0 w4@0x30=0x0 r4@0x34"));
  CHECK(model.at(0).descriptors == raw(q->at[1].at));
  REQUIRE(q->stage());
  q->kick();
  REQUIRE(model.step() == 1);
  REQUIRE(q->finish());

  slot.queue_in_use = 1;  // done at once, and the queue is still enabled
  CHECK(s.restart_queue(0, q->ring, q->at[0], no_vector, q->bell).error() == errc::device_misbehaved);
  for (const auto& what : row.violations()) FAIL_CHECK(what);
  for (const auto& what : memory.violations()) FAIL_CHECK(what);
}
