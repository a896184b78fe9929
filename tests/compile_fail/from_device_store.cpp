// SPDX-License-Identifier: MIT
// case: a cell that the device writes cannot be stored
// gcc: virtio::from_device<.*has no member named 'store'
// clang: no member named 'store' in 'virtio::from_device<
#include <virtio/base/cells.hpp>

void put(virtio::from_device<virtio::u16>& cell) {
#if defined(FAIL)
  cell.store(1);
#else
  cell.clear_before_use(1);
#endif
}
