// SPDX-License-Identifier: MIT
// The block driver with a queue for any device, compiled once.
#include "disk.hpp"

template class virtio::blk::device<rig::platform_type, rig::any_pci, rig::big_queue>;
template struct rig::driver<virtio::blk::device<rig::platform_type, rig::any_pci, rig::big_queue>>;
template std::vector<virtio::blk::done> rig::polled(rig::disk<rig::big_queue>&);
template std::pair<virtio::result<void>, std::vector<virtio::blk::done>> rig::drained(rig::disk<rig::big_queue>&);
