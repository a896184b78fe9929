// SPDX-License-Identifier: MIT
// The transport for slots that most tests use: for both interfaces, if one transport can serve both.
#pragma once

#include <virtio/mmio.hpp>

#include "processor.hpp"

namespace rig {

template <class Bus>
auto usual_mmio() {
  if constexpr (one_transport_serves_all) return virtio::mmio::transport<Bus>{};
  else return virtio::mmio::modern<Bus>{};
}

}  // namespace rig
