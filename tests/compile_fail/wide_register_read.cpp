// SPDX-License-Identifier: MIT
// case: a register cannot be read 64 bits wide
// says: no 64-bit register is read in one access
#include <virtio/platform/mmio.hpp>

#if defined(FAIL)
using width = virtio::u64;
#else
using width = virtio::u32;
#endif

width get(const virtio::mmio_space& space) { return virtio::read(space, virtio::reg<width>{0x20}); }
