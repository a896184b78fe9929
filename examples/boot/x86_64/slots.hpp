// SPDX-License-Identifier: MIT
// Where this machine's MMIO slots are, as the loader says.
#pragma once

#include "mmio_slots.hpp"
#include "words.hpp"

namespace boot {

/// The slots, in the order in which they were told: by the words `virtio_mmio.device=` of the command line (Firecracker, libkrun, QEMU's
/// microvm without ACPI); if there are none, by the device tree of the loader (Linux's setup_data) or of QEMU's configuration device
/// (microvm). The first call looks, maps them, and prints each that it cannot use with the reason; it must come before the command line
/// is changed.
const slot_list& mmio_slots();

/// The device tree of the loader (Linux's setup_data) or of QEMU's configuration device (microvm); null: none.
const void* machine_tree();

/// A slot that cannot be used, and why; `word` is empty when a device tree has it.
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

/// Those that mmio_slots() has printed.
const rejected_list& rejected_slots();

}  // namespace boot
