// SPDX-License-Identifier: MIT
// case: a driver with a queue of an invalid size does not compile, and the message states the rule
// says: a split ring has a power-of-two size up to 32768
#include <virtio/pci.hpp>
#include <virtio/rng.hpp>

#if defined(FAIL)
using queue = virtio::split_queue<12>;
#else
using queue = virtio::split_queue<16>;
#endif

constinit virtio::rng::device<virtio::identity_platform<>, virtio::pci::modern<virtio::pci::ecam>, queue> entropy;
