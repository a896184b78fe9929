// SPDX-License-Identifier: MIT
// Shared by tests of the entropy driver.
#pragma once

#include <virtio/rng.hpp>
#include <virtio/testing/rng_model.hpp>

#include "machine.hpp"

namespace rig {

using virtio::testing::rng_model;

std::unique_ptr<device_model> made(kind<rng_model>, device_memory& memory, u16 queue_size = 8);

template <class Queue = split_queue<8>, class Transport = any_pci>
using entropy = driver<rng::device<platform_type, Transport, Queue>>;

}  // namespace rig

using rig::rng_model;

#ifdef VIRTIO_TEST_ONE_UNIT
#include "entropy.cpp"
#else  // compiled in entropy.cpp
extern template class virtio::rng::device<rig::platform_type, rig::any_pci, virtio::split_queue<8>>;
extern template struct rig::driver<virtio::rng::device<rig::platform_type, rig::any_pci, virtio::split_queue<8>>>;
#endif
