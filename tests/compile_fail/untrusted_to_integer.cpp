// SPDX-License-Identifier: MIT
// case: a value that a device wrote does not convert to an integer
// gcc: cannot convert 'const virtio::untrusted<
// clang: no viable conversion from 'const virtio::untrusted<
#include <virtio/base/cells.hpp>
#include <virtio/platform/barriers.hpp>

virtio::u32 taken(const virtio::from_device<virtio::u32>& cell) {
  const virtio::untrusted<virtio::u32> value = cell.fetch<virtio::smp_barriers>();
#if defined(FAIL)
  const virtio::u32 number = value;
#else
  const virtio::u32 number = value.clamped(7);
#endif
  return number;
}
