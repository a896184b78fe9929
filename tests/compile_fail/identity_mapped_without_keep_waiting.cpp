// SPDX-License-Identifier: MIT
// case: a board that inherits where its memory is, and does not say how long it waits, is no platform; nothing waits for it unasked
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
