// SPDX-License-Identifier: MIT
// The whole porting surface for virtual machines on 64-bit Arm, with PCI at the address in the device tree. If no
// firmware ran before, the board lets the library number the buses and place the BARs.
#pragma once

#include <virtio/pci.hpp>

#include "dma.hpp"
#include "fail.hpp"
#include "pages.hpp"
#include "runtime.hpp"
#include "tree_pci.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // the bus of programs that include this

struct mapped_on_demand {
  static bool device_memory(virtio::u64 at, virtio::u64 size) { return boot::reach_registers({at, size}); }
};

struct board : boot::tree_pci<boot::machine, mapped_on_demand>,
               boot::guest_dma,
               boot::waits_by_clock,
               boot::reports_failures<board> {};

static_assert(virtio::platform<board> && virtio::pci::host<board>);

/// Called before guest_main.
extern "C" [[gnu::used]] inline void boot_prepare_board() {
  boot::open_dma_pool();
  board::assign();
}
