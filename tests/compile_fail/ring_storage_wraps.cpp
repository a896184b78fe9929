// SPDX-License-Identifier: MIT
// case: a ring whose indirect tables wrap on a 32-bit target does not compile, also in a driver
// target: i686-none-elf
// says: the indirect tables of all slots must stay below 1 GiB
#include <virtio/mmio.hpp>
#include <virtio/rng.hpp>

#if defined(FAIL)
using queue = virtio::split_queue<32768, virtio::ring_options{.indirect = 8192}>;  // 4 GiB
#else
using queue = virtio::split_queue<32768, virtio::ring_options{.indirect = 2000}>;
#endif

constinit virtio::rng::device<virtio::identity_platform<>, virtio::mmio::modern<virtio::mmio::slots>, queue> entropy;
