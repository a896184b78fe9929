// SPDX-License-Identifier: MIT
// A driver on a platform that sleeps until an interrupt, and a device that acts at any moment of a wait.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <vector>

#include <virtio/testing/hooked_barriers.hpp>
#include <virtio/testing/strict_platform.hpp>

#include "machine.hpp"

namespace rig {

struct sleeper : virtio::testing::strict_platform<virtio::testing::hooked_barriers> {
  static constexpr bool sleeps = true;
};

/// The device's actions at the n-th moment of a wait: a moment is an access to shared memory, a fence or a sleep.
struct happening {
  u32 moment;
  int what;
};

/// `Rig` derives from it and has the device as `model`; its `happen(what)` makes the device act. An interrupt must end
/// every sleep.
template <class Rig>
struct asleep {
  machine m{};
  std::vector<happening> script{};
  u32 moments = 0, woken_by = 0;
  bool in_device = false, for_ever = false;

  asleep() = default;
  asleep(const asleep&) = delete;
  ~asleep() { virtio::testing::barrier_hooks::clear(); }

  /// Waits sleep from now on.
  void begin() {
    m.memory.on_wait = [this](waiting why, u64) {
      if (why != waiting::reset) sleep();
    };
  }
  void happen_next() {
    const int what = script.front().what;
    script.erase(script.begin());
    in_device = true;
    self().happen(what);
    in_device = false;
  }
  void moment() {
    if (in_device) return;
    ++moments;
    while (!script.empty() && script.front().moment <= moments) happen_next();
  }
  // As `sti; hlt`: an interrupt since the end of the last sleep ends this one at once.
  void sleep() {
    moment();
    while (self().model.interrupts() == woken_by && !script.empty()) happen_next();
    for_ever = for_ever || self().model.interrupts() == woken_by;
    woken_by = self().model.interrupts();
  }
  template <class Wait>
  void during(std::vector<happening> happens, Wait&& wait) {
    script = std::move(happens);
    moments = 0;
    auto& hooks = virtio::testing::barrier_hooks::mine();
    hooks.before_load = hooks.after_load = hooks.before_store =
        hooks.after_store = [this](const volatile void*, usize) { moment(); };
    hooks.before_full = [this] { moment(); };
    wait();
    virtio::testing::barrier_hooks::clear();
    CHECK_FALSE(for_ever);
  }

 private:
  Rig& self() { return static_cast<Rig&>(*this); }
};

}  // namespace rig
