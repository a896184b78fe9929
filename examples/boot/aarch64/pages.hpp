// SPDX-License-Identifier: MIT
// The identity map of 64-bit Arm. The start code maps the image and the first page of the device tree; the rest is
// mapped after the tree has been read. Mappings do not change, except for pages of the image that receive other memory.
#pragma once

#include "machine_tree.hpp"

namespace boot {

/// Identity-maps memory or device registers. Returns false beyond the processor's addresses, or without a free table.
bool map_memory(range);
bool map_device_memory(range);

/// Makes memory visible to a host that does not see all of it. Returns false on failure.
bool share_memory(range);

/// Maps registers, and registers them with the hypervisor.
bool reach_registers(range);

/// Returns the pool's place, or a new one if it has none: outside the image and the device tree, and a new place also
/// outside reserved memory. Size 0 if there is no place.
[[nodiscard]] range place_of(const dma_pool_tree&);

/// Maps `size` bytes of the image at `at` to other memory at `to`, both in whole pages of 4 KiB. Their contents are
/// lost.
bool replace_pages(uintptr_t at, uint64_t to, size_t size);

}  // namespace boot
