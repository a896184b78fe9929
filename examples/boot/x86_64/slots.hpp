// SPDX-License-Identifier: MIT
// This machine's MMIO slots, from the loader.
#pragma once

#include "mmio_slots.hpp"
#include "words.hpp"

namespace boot {

/// Returns the slots in the order of their source: the words `virtio_mmio.device=` of the command line (Firecracker,
/// libkrun, QEMU's microvm without ACPI); if there are none, the device tree of the loader (Linux's setup_data) or of
/// QEMU's configuration device (microvm). The first call finds and maps them, and prints each unusable one with the
/// reason. Make it before the command line changes.
const slot_list& mmio_slots();

/// The device tree of the loader (Linux's setup_data) or of QEMU's configuration device (microvm); null: none.
const void* machine_tree();

/// An unusable slot, and the reason; `word` is empty if the slot is from a device tree.
struct rejected_slot {
  text word;
  uint64_t base;
  const char* problem;
};
struct rejected_list {
  static constexpr size_t most = 16;  // further ones are printed only

  rejected_slot slots[most];
  size_t count;
};

/// The unusable slots that mmio_slots() has printed.
const rejected_list& rejected_slots();

}  // namespace boot
