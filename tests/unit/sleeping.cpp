// SPDX-License-Identifier: MIT
// Drivers on a platform that waits by sleeping until an interrupt or a tick: the checks after each wake-up, and their
// cost.
#include <catch2/generators/catch_generators.hpp>

#include <functional>

#include <virtio/testing/hooked_barriers.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "vsock.hpp"

using namespace virtio;

namespace {

struct sleeping : rig::platform_type {
  static constexpr bool sleeps = true;
};

/// A test acts at each full fence, and so whenever the driver arms a queue.
struct flooded : virtio::testing::strict_platform<virtio::testing::hooked_barriers> {
  static constexpr bool sleeps = true;
};

using disk = rig::driver<blk::device<sleeping, rig::any_pci, split_queue<8>>>;
using entropy = rig::driver<rng::device<sleeping, rig::any_pci, packed_queue<8>>>;
using sleeping_sockets = rig::driver<vsock::device<sleeping, rig::modern_pci, split_queue<64>>>;

/// A machine that sleeps until its device interrupts it, or until a tick.
struct machine : rig::machine {
  u32 sleeps = 0;
  std::function<void(u32)> during{};  // the n-th sleep, from 1

  machine() {
    for (auto& limit : memory.wait_limit) limit = 1'000'000;
    memory.on_wait = [this](waiting why, u64) {
      if (why == waiting::reset) return;
      ++sleeps;
      if (during) during(sleeps);
      if (running)
        for (auto& one : models) (void)one->step();
    };
  }
  template <class Driver>
  result<void> begin(Driver& d) {
    return rig::bring_up(*d, sleeping{{&memory}}, where(4), d.storage());
  }
};

}  // namespace

TEST_CASE("sleeping: every blocking call detects a failed device at the wake-up by the failure's interrupt [STATUS-04]",
          "[blk][rng][vsock]") {
  machine m;
  u8 buffer[512];
  SECTION("a read, a wait for any request, a drain") {
    auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
    rig::driver<blk::device<sleeping, rig::any_pci, rig::legacy_queue>> d;
    REQUIRE(m.begin(d));
    model.hold();
    m.during = [&](u32 n) {
      if (n == 3) model.set_needs_reset();
    };
    const int which = GENERATE(0, 1, 2);
    if (which != 0) REQUIRE(d->submit_read(0, buffer));
    const errc how = which == 0   ? d->read(0, buffer).error()
                     : which == 1 ? d->wait_next().error()
                                  : d->drain([](blk::done) {}).error();
    CHECK(how == errc::needs_reset);
    (void)d->drain([](blk::done) {});
  }
  SECTION("fill") {
    auto& model = m.add<rng_model>(seat::modern, 4);
    model.offer({34});
    entropy e;
    REQUIRE(m.begin(e));
    model.hold();
    m.during = [&](u32 n) {
      if (n == 3) model.set_needs_reset();
    };
    CHECK(e->fill(buffer).error() == errc::needs_reset);
  }
  SECTION("sockets") {
    auto& model = m.add<vsock_model>(seat::modern, 4);
    sleeping_sockets s;
    REQUIRE(m.begin(s));
    REQUIRE(s->listen(80, 1));
    m.during = [&](u32 n) {
      if (n == 3) model.set_needs_reset();
    };
    CHECK(s->accept(80).error() == errc::needs_reset);
  }
  CHECK(m.sleeps == 3);
}

TEST_CASE("sleeping: a failure together with another request's completion is detected at the next wake-up [STATUS-04]",
          "[blk]") {
  machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk d;
  REQUIRE(m.begin(d));
  model.hold();
  u8 a[512], b[512];
  REQUIRE(d->submit_read(1, a, 1));
  m.during = [&](u32 n) {
    if (n == 2) {
      model.complete(0);
      model.set_needs_reset();
    }
  };
  CHECK(d->read(0, b).error() == errc::needs_reset);
  CHECK(m.sleeps == 2);  // nothing else would wake the driver
  CHECK(d->next_completion()->status == errc::ok);
}

TEST_CASE("sleeping: a request that ends with the first interrupt costs no status read", "[blk]") {
  machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk d;
  REQUIRE(m.begin(d));
  u8 a[512];
  model.counts = {};
  for (int i = 0; i < 20; ++i) REQUIRE(d->read(0, a));
  CHECK(m.sleeps == 20);
  CHECK(model.counts.common == 0);
  CHECK(model.counts.notify == 20);
}

TEST_CASE("sleeping: a wait for a peer ends on a device that always has packets for another guest",
          "[vsock][hostile]") {
  machine m;
  m.running = false;
  auto& model = m.add<vsock_model>(seat::modern, 4);
  rig::driver<vsock::device<flooded, rig::modern_pci, split_queue<64>>> s;
  REQUIRE(s->start(flooded{{&m.memory}}, m.where(4), s.storage(), vsock::seed{1}));
  REQUIRE(s->listen(80, 1));
  m.memory.wait_limit[static_cast<int>(waiting::peer)] = 20;
  auto stranger = vsock_model::packet({.guest_port = 1, .host_port = 2}, 5);  // RW, to another guest
  stranger.dst_cid = model.cid() + 1;
  u32 asked = 0;
  virtio::testing::barrier_hooks::mine().before_full = [&] {
    if (++asked > 100'000) return;  // so that the test ends
    model.inject(stranger);
    (void)model.step();
  };
  const errc how = s->accept(80).error();
  virtio::testing::barrier_hooks::clear();
  CHECK(how == errc::peer_silent);
  CHECK(asked < 10'000);
}
