// SPDX-License-Identifier: MIT
// The identity map of 64-bit Arm. The start code maps the image and the first page of the device tree; everything else is mapped once the
// tree has said what it is. What is mapped is not changed, but for pages of the image that are given other memory.
#pragma once

#include "machine_tree.hpp"

namespace boot {

/// Makes memory and device registers reachable, where they are. False: beyond the processor's addresses, or there are no tables left.
bool map_memory(range);
bool map_device_memory(range);

/// Makes the host see memory, where it does not see all of it. False when it cannot.
bool share_memory(range);

/// Makes registers reachable, and known to the hypervisor as such.
bool reach_registers(range);

/// Where a pool is, or a place for it when it has none: apart from the image, the device tree and, unless it has its place, what is reserved.
/// Size 0 when that cannot be.
[[nodiscard]] range place_of(const dma_pool_tree&);

/// Gives `size` bytes of the image at `at` other memory, which lies at `to`: both in whole pages of 4 KiB. What they held is gone.
bool replace_pages(uintptr_t at, uint64_t to, size_t size);

}  // namespace boot
