// SPDX-License-Identifier: MIT
// Shared by tests of the block driver, compiled once: the model, and the driver with its two usual queues.
#include "disk.hpp"

#ifndef VIRTIO_TEST_ONE_UNIT
template class virtio::blk::device<rig::platform_type, rig::any_pci, virtio::split_queue<16>>;
template struct rig::driver<virtio::blk::device<rig::platform_type, rig::any_pci, virtio::split_queue<16>>>;
template class virtio::blk::device<rig::platform_type, rig::any_pci, rig::big_queue>;
template struct rig::driver<virtio::blk::device<rig::platform_type, rig::any_pci, rig::big_queue>>;
template std::vector<virtio::blk::done> rig::polled(rig::disk<rig::big_queue>&);
template std::pair<virtio::result<void>, std::vector<virtio::blk::done>> rig::drained(rig::disk<rig::big_queue>&);
#endif

namespace rig {

std::unique_ptr<device_model> made(kind<blk_model>, device_memory& memory, blk_options options) {
  return std::make_unique<blk_model>(memory, std::move(options));
}

}  // namespace rig
