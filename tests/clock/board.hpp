// SPDX-License-Identifier: MIT
// A guest's board where there is no guest: its bus is a model of vmd's control device, its time the model's. For
// tests/unit/clock_example.cpp, which runs examples/10_clock on it.
#pragma once

#include <functional>

#include <virtio/pci.hpp>
#include <virtio/testing/vmmci_model.hpp>

#include "../support/boot_console.hpp"

namespace boot {

/// The machine that the program is on. Its counter makes `ticks_per_turn` steps while the host's clock goes on by
/// `turn`.
struct world {
  virtio::testing::vmmci_model model{};
  virtio::u64 ticks = 0, turns = 0;
  virtio::u64 ticks_per_turn = 29'000'000, turn = 10'000;  // microseconds: a counter of 2.9 GHz
  std::function<void(world&)> on_turn{};
};
static world* here = nullptr;

struct no_end {};

static void pause() {
  here->ticks += here->ticks_per_turn;
  here->model.pass(here->turn);
  if (++here->turns > 1'000'000) throw no_end{};
  if (here->on_turn) here->on_turn(*here);
}
static virtio::u64 timestamp() { return here->ticks; }
static virtio::u64 milliseconds_since(virtio::u64 began) { return (here->ticks - began) >> 22; }  // as on a PC

}  // namespace boot

namespace bus = virtio::pci;

struct board {
  using barriers = virtio::smp_barriers;
  using function_id = virtio::pci::address;
  using bar_space = virtio::testing::vmmci_registers;

  virtio::result<void> map(const volatile void*, virtio::usize, virtio::direction, virtio::segments&) const {
    return virtio::errc::dma_unreachable;
  }
  bool keep_waiting(virtio::waiting, virtio::u64 attempt) const { return attempt < 100; }

  [[nodiscard]] virtio::u32 config_read32(function_id at, virtio::u16 offset) const {
    return boot::here->model.config_read(at, offset);
  }
  void config_write32(function_id at, virtio::u16 offset, virtio::u32 value) const {
    boot::here->model.config_write(at, offset, value);
  }
  [[nodiscard]] virtio::result<bar_space> bar(function_id at, virtio::u8 index) const {
    return virtio::testing::vmmci_host{&boot::here->model}.bar(at, index);
  }
  template <class Visit>
  void each_function(Visit&& visit) const {
    virtio::pci::each_numbered_function(*this, 0, visit);
  }

  template <class Where>
  static int fail(const char* what, const virtio::result<Where>& where) {
    return fail(what, where.error());
  }
  static int fail(const char* what, virtio::errc why) {
    boot::print(what, ": ", virtio::describe(why), "\n");
    return 1;
  }
  static int fail(const char* what, virtio::errc why, const virtio::report&) { return fail(what, why); }
};
