// SPDX-License-Identifier: MIT
// What depends on the processor that the tests run on, beside x86-64 a big-endian one: s390x.
#pragma once

#include <virtio/platform/barriers.hpp>

namespace rig {

/// The barriers of a hardware device: the library's, or, where it has none, such as a program there writes them.
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
