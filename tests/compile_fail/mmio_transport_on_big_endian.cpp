// SPDX-License-Identifier: MIT
// case: an MMIO transport that decides at run time does not compile for big-endian guests, and the choices are named
// target: powerpc64-none-elf
// says: mmio::transport: on a big-endian guest choose mmio::modern or mmio::legacy
#include <virtio/mmio.hpp>
#include <virtio/rng.hpp>

#if defined(FAIL)
using transport = virtio::mmio::transport<virtio::mmio::slots>;
#else
using transport = virtio::mmio::modern<virtio::mmio::slots>;
#endif

constinit virtio::rng::device<virtio::identity_platform<>, transport, virtio::split_queue<8>> entropy;
