// SPDX-License-Identifier: MIT
// case: a transport that decides at run time does not compile for big-endian guests, and the message names the choices
// target: powerpc64-none-elf
// says: pci::transport: on a big-endian guest choose pci::modern or pci::legacy
#include <virtio/pci.hpp>
#include <virtio/rng.hpp>

#if defined(FAIL)
using transport = virtio::pci::transport<virtio::pci::ecam>;
#else
using transport = virtio::pci::modern<virtio::pci::ecam>;
#endif

constinit virtio::rng::device<virtio::identity_platform<>, transport, virtio::split_queue<8>> entropy;
