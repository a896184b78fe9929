// SPDX-License-Identifier: MIT
// case: a cell that the device writes cannot be published
// gcc: virtio::from_device<.*has no member named 'publish'
// clang: no member named 'publish' in 'virtio::from_device<
#include <virtio/base/cells.hpp>
#include <virtio/platform/barriers.hpp>

#if defined(FAIL)
using cell_type = virtio::from_device<virtio::u16>;
#else
using cell_type = virtio::to_device<virtio::u16>;
#endif

void show(cell_type& cell) { cell.publish<virtio::smp_barriers>(1); }
