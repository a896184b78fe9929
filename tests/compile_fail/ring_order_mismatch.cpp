// SPDX-License-Identifier: MIT
// case: a legacy device of a big-endian guest does not accept a little-endian ring
// target: powerpc64-none-elf
// says: the ring's byte order is not the transport's: choose ring_options::order
#include <virtio/pci.hpp>
#include <virtio/rng.hpp>

#if defined(FAIL)
using queue = virtio::split_queue<8>;
#else
using queue = virtio::split_queue<8, virtio::ring_options{.order = virtio::native_order}>;
#endif

using transport = virtio::pci::legacy<virtio::pci::ecam>;
template class virtio::rng::device<virtio::identity_platform<>, transport, queue>;
