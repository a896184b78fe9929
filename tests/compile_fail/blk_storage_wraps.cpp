// SPDX-License-Identifier: MIT
// case: DMA storage of a disk whose bytes wrap on a 32-bit target does not compile, and the message names the remedy
// target: i686-none-elf
// says: the DMA storage of a blk::device must stay below 2 GiB: fewer options::extents, or a smaller queue
#include <virtio/blk.hpp>
#include <virtio/mmio.hpp>

#if defined(FAIL)
constexpr virtio::blk::options options{.extents = 65535};  // 16 bytes each, for 4096 slots: 118784 bytes, modulo 2^32
#else
constexpr virtio::blk::options options{.extents = 8000};
#endif

constinit virtio::blk::device<virtio::identity_platform<>, virtio::mmio::modern<virtio::mmio::slots>,
                              virtio::split_queue<4096>, options>
    disk;
