// SPDX-License-Identifier: MIT
// The differences between the processors of the tests: x86-64, and s390x, which is big-endian.
#pragma once

#include <virtio/platform/barriers.hpp>

namespace rig {

/// The barriers of a hardware device: the library's, or those that a program writes for a processor without them.
#if defined(__s390x__)
struct hardware_barriers : virtio::smp_barriers {
  static constexpr bool orders_platform = true;
};
#else
using hardware_barriers = virtio::dma_barriers;
#endif

/// Whether one transport can serve modern and legacy devices: a ring has one byte order.
inline constexpr bool one_transport_serves_all = virtio::native_order == virtio::byte_order::little;

}  // namespace rig
