// SPDX-License-Identifier: MIT
// The loop in which drivers of several queues wait: with any completion, on any queue and at any moment, no sleep
// begins without an event that ends it.
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <array>

#include <virtio/device/queue_set.hpp>
#include <virtio/queue/either.hpp>
#include <virtio/testing/hooked_barriers.hpp>

#include "machine.hpp"

using namespace virtio;

namespace {

struct sleeper : virtio::testing::strict_platform<virtio::testing::hooked_barriers> {
  static constexpr bool sleeps = true;
};

constexpr u16 queues = 3;

/// A device that makes given completions at the n-th moment of a wait: a moment is each access to shared memory, each
/// fence, and each sleep.
template <class Queue>
struct rig_of_three {
  using set = queue_set<sleeper, rig::any_pci, Queue, queues>;
  struct event {
    u32 moment;
    u16 queue;
  };

  rig::machine m{};
  device_model& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>(queues, 8));
  std::unique_ptr<dma_storage<set::dma_bytes + dma_page>> storage =
      std::make_unique<dma_storage<set::dma_bytes + dma_page>>();
  std::unique_ptr<set> all = std::make_unique<set>();
  dma_area area{};
  std::vector<event> script{};
  u32 moments = 0, woken_by = 0;
  bool in_device = false, asleep_for_ever = false;

  rig_of_three() {
    model.offer({29, 34});
    REQUIRE(all->forget());
    REQUIRE(
        all->begin({{&m.memory}}, m.where(4), *storage, set::dma_bytes + dma_page, device_type::entropy, {}, {}, area));
    for (u16 q = 0; q < queues; ++q) REQUIRE(all->set_up(q, q, area, {}));
    all->go();
    model.hold();
    m.memory.on_wait = [this](waiting why, u64) {
      if (why != waiting::reset) sleep();
    };
  }

  void complete(u16 queue) {
    in_device = true;
    const auto& held = model.held();
    const auto one = std::find_if(held.begin(), held.end(), [&](const auto& h) { return h.queue == queue; });
    REQUIRE(one != held.end());
    model.complete(static_cast<usize>(one - held.begin()));
    in_device = false;
  }
  void moment() {
    if (in_device) return;
    ++moments;
    while (!script.empty() && script.front().moment <= moments) {
      const u16 queue = script.front().queue;
      script.erase(script.begin());
      complete(queue);
    }
  }
  // As `sti; hlt`: an interrupt since the end of the last sleep ends this one at once.
  void sleep() {
    moment();
    while (model.interrupts() == woken_by && !script.empty()) {
      const u16 queue = script.front().queue;
      script.erase(script.begin());
      complete(queue);
    }
    asleep_for_ever = asleep_for_ever || model.interrupts() == woken_by;
    woken_by = model.interrupts();
  }

  void stage() {
    for (u16 q = 0; q < queues; ++q) {
      for (u32 n = (*all)[q].in_flight(); n < 2; ++n) {
        const auto slot = (*all)[q].reserve();
        REQUIRE(slot);
        segment_list<1> chain;
        chain.append(area.at + set::dma_bytes + 64u * q + 8u * *slot, 4, direction::from_device);
        REQUIRE((*all)[q].stage(*slot, chain, 0));
      }
      all->kick(q);
    }
    (void)model.step();
  }

  /// Waits for `needed` completions of queue `wanted` during these events.
  void wait_for(u16 wanted, u32 needed, std::vector<event> happens) {
    stage();
    script = std::move(happens);
    moments = 0;
    u32 seen = 0;
    auto& hooks = barrier_hooks::mine();
    hooks.before_load = hooks.after_load = hooks.before_store =
        hooks.after_store = [this](const volatile void*, usize) { moment(); };
    hooks.before_full = [this] { moment(); };
    const auto turn = [&](bool& came) {
      for (u16 q = 0; q < queues; ++q)
        for (completion one; (*all)[q].take(one) == errc::ok;) {
          (*all)[q].release(one.which);
          came = true;
          seen += q == wanted ? 1 : 0;
        }
      return errc::ok;
    };
    const errc how = all->wait_until(
        waiting::request, turn, [this] { return all->arm(); }, [&] { return seen >= needed || asleep_for_ever; });
    barrier_hooks::clear();
    CHECK(how == errc::ok);
    for (; !script.empty(); script.erase(script.begin())) complete(script.front().queue);
    bool came = false;
    (void)turn(came);
  }
};

template <class Queue>
void every_interleaving() {
  rig_of_three<Queue> r;
  // One completion: at each moment until the wait has slept twice.
  u32 lost = 0, waits = 0;
  for (u16 wanted = 0; wanted < queues; ++wanted)
    for (u32 at = 1; at < 120; ++at, ++waits) {
      r.wait_for(wanted, 1, {{at, wanted}});
      lost += std::exchange(r.asleep_for_ever, false) ? 1 : 0;
    }
  // Another completion before it, on another queue or the same, which uses up the requested interrupt.
  for (u16 wanted = 0; wanted < queues; ++wanted)
    for (u16 other = 0; other < queues; ++other)
      for (u32 first = 1; first < 60; ++first)
        for (u32 after = 0; after < 60; ++after, ++waits) {
          r.wait_for(wanted, other == wanted ? 2 : 1, {{first, other}, {first + after, wanted}});
          lost += std::exchange(r.asleep_for_ever, false) ? 1 : 0;
        }
  CHECK(lost == 0);
  CHECK(waits > 30'000);
  CHECK(r.m.objections().empty());
}

}  // namespace

TEST_CASE("queue set: a completion on any queue, at any moment of arming and of the sleep, ends the wait",
          "[device][queue_set]") {
  SECTION("split rings") { every_interleaving<split_queue<8>>(); }
  SECTION("packed rings") { every_interleaving<packed_queue<8>>(); }
}
