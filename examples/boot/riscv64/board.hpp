// SPDX-License-Identifier: MIT
// The porting surface, whole, for virtual machines on 64-bit RISC-V: PCI where the device tree says it is. No firmware has placed anything,
// OpenSBI neither, so the board lets the library number the buses and place the BARs.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "tree_pci.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // how programs that include this reach their devices

struct not_mapped {
  static bool device_memory(virtio::u64 at, virtio::u64 size) { return boot::reach_registers({at, size}); }
};

struct board : boot::tree_pci<boot::machine, not_mapped>, virtio::identity_mapped<>, boot::waits_by_clock, boot::reports_failures<board> {};

static_assert(virtio::platform<board> && virtio::pci::host<board>);

/// Called before guest_main.
extern "C" [[gnu::used]] inline void boot_prepare_board() { board::assign(); }
