// SPDX-License-Identifier: MIT
// case: a board that inherits its memory map but has no keep_waiting is not a platform
// says: keep_waiting\(why, attempt\)' (is invalid|would be invalid)
#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/rng.hpp>

#if defined(FAIL)
struct board : virtio::pci::ecam, virtio::identity_mapped<> {};
#else
struct board : virtio::pci::ecam, virtio::identity_mapped<>, virtio::polling<> {};
#endif

constinit virtio::rng::device<board, virtio::pci::modern<board>, virtio::split_queue<8>> entropy;
