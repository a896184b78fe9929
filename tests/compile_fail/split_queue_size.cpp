// SPDX-License-Identifier: MIT
// case: a split queue has a power-of-two size
// says: a split ring has a power-of-two size up to 32768
#include <virtio/queue/split.hpp>

#if defined(FAIL)
using queue = virtio::split_queue<12>;
#else
using queue = virtio::split_queue<16>;
#endif

constexpr virtio::usize bytes = queue::ring<virtio::smp_barriers>::dma_bytes;
static_assert(bytes != 0);
