// SPDX-License-Identifier: MIT
// Shared by tests of the socket driver, compiled once: the driver with its usual layout, and the model.
#include "vsock.hpp"

#ifndef VIRTIO_TEST_ONE_UNIT
template class virtio::vsock::device<rig::platform_type, rig::modern_pci, virtio::split_queue<64>>;
template struct rig::basic_sockets<>;
#endif

namespace rig {

std::unique_ptr<device_model> made(kind<vsock_model>, device_memory& memory, vsock_options options) {
  return std::make_unique<vsock_model>(memory, std::move(options));
}

}  // namespace rig
