// SPDX-License-Identifier: MIT
// Where this machine's MMIO slots are, as the loader says.
#pragma once

#include "mmio_slots.hpp"

namespace boot {

/// The slots, in the order in which they were told: by the words `virtio_mmio.device=` of the command line (Firecracker, libkrun, QEMU's
/// microvm without ACPI); if there are none, by the device tree of the loader (Linux's setup_data) or of QEMU's configuration device
/// (microvm). The first call looks, maps them, and prints each that it cannot use with the reason; it must come before the command line
/// is changed.
const slot_list& mmio_slots();

}  // namespace boot
