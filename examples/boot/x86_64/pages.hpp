// SPDX-License-Identifier: MIT
// Page tables after the start code: device memory is mapped where it is met, for monitors put BARs anywhere, up to the last address
// that the processor has.
#pragma once

#include <stdint.h>

namespace boot {

/// Maps `size` bytes of device memory from physical address `at` on, where the identity mapping does not have them yet. The start code has
/// mapped the first 4 GiB, 512 GiB where the processor has pages of 1 GiB. False: beyond the addresses that the processor has, or the 47
/// bits of this half of the address space, or there is no room for one more page table. 32 bits run without paging: false from 4 GiB on.
[[nodiscard]] bool map_device_memory(uint64_t at, uint64_t size);

}  // namespace boot
