// SPDX-License-Identifier: MIT
// Page tables after the start code: device memory is mapped at its first use, since monitors place BARs anywhere up to
// the processor's last address.
#pragma once

#include <stdint.h>

namespace boot {

/// Identity-maps `size` bytes of device memory from physical address `at` on, unless they are mapped. The start code
/// has mapped the first 4 GiB, or 512 GiB if the processor has pages of 1 GiB. Returns false beyond the processor's
/// addresses or the 47 bits of this half of the address space, or without a free page table. 32 bits run without
/// paging: false from 4 GiB on.
[[nodiscard]] bool map_device_memory(uint64_t at, uint64_t size);

}  // namespace boot
