// SPDX-License-Identifier: MIT
// case: a cell that the driver writes cannot be loaded
// gcc: virtio::to_device<.*has no member named 'fetch'
// clang: no member named 'fetch' in 'virtio::to_device<
#include <virtio/base/cells.hpp>
#include <virtio/platform/barriers.hpp>

#if defined(FAIL)
using cell_type = virtio::to_device<virtio::u32>;
#else
using cell_type = virtio::from_device<virtio::u32>;
#endif

virtio::u32 read_back(cell_type& cell) { return cell.fetch<virtio::smp_barriers>().unchecked(); }
