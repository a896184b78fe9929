// SPDX-License-Identifier: MIT
// case: a cell that the driver writes does not convert to its value
// gcc: cannot convert 'virtio::to_device<
// clang: no viable conversion from 'virtio::to_device<
#include <virtio/base/cells.hpp>

virtio::u32 read_back(virtio::to_device<virtio::u32>& cell) {
  const virtio::u32 value = 1;
  cell.store(value);
#if defined(FAIL)
  const virtio::u32 out = cell;
  return out;
#else
  return value;
#endif
}
