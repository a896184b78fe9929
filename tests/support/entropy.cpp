// SPDX-License-Identifier: MIT
// Shared by tests of the entropy driver, compiled once.
#include "entropy.hpp"

#ifndef VIRTIO_TEST_ONE_UNIT
template class virtio::rng::device<rig::platform_type, rig::any_pci, virtio::split_queue<8>>;
template struct rig::driver<virtio::rng::device<rig::platform_type, rig::any_pci, virtio::split_queue<8>>>;
#endif

namespace rig {

std::unique_ptr<device_model> made(kind<rng_model>, device_memory& memory, u16 queue_size) {
  return std::make_unique<rng_model>(memory, queue_size);
}

}  // namespace rig
