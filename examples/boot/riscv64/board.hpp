// SPDX-License-Identifier: MIT
// The whole porting surface for virtual machines on 64-bit RISC-V, with PCI at the address in the device tree. No
// firmware, OpenSBI included, assigns addresses, so the board lets the library number the buses and place the BARs.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "tree_pci.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // the bus of programs that include this

struct not_mapped {
  static bool device_memory(virtio::u64 at, virtio::u64 size) { return boot::reach_registers({at, size}); }
};

struct board : boot::tree_pci<boot::machine, not_mapped>,
               virtio::identity_mapped<>,
               boot::waits_by_clock,
               boot::reports_failures<board> {};

static_assert(virtio::platform<board> && virtio::pci::host<board>);

/// Called before guest_main.
extern "C" [[gnu::used]] inline void boot_prepare_board() { board::assign(); }
