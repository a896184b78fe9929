// SPDX-License-Identifier: MIT
// The memory half of the boards in this folder: devices see all memory at its physical addresses, or only the pool that
// the device tree restricts them to.
#pragma once

#include <virtio/platform/barriers.hpp>

#include "pages.hpp"
#include "restricted_dma.hpp"
#include "runtime.hpp"

namespace boot {

struct dma_hooks {
  static bool share(const virtio::dma_area& pool) { return share_memory({virtio::raw(pool.at), pool.size}); }
  static bool replace_pages(virtio::uptr at, const virtio::dma_region& by) {
    return boot::replace_pages(at, reinterpret_cast<virtio::uptr>(by.data), by.size);
  }
};
// 2 MiB of the pool for a queue of 256 entries with two pages each; 4 MiB for large transfers, in a pool of 12 MiB or
// more: AVF has 14.
inline constinit restricted_dma<dma_hooks, 512, 32, 128 * 1024> dma{};

/// Called before guest_main.
inline void open_dma_pool() {
  dma_pool_tree& pool = machine.dma_pool;
  if (pool.size == 0) return;
  dma.refuse();
  static_cast<range&>(pool) = place_of(pool);
  if (pool.size == 0 || !map_memory(pool)) return print("no room for the pool of devices\n");
  if (const auto opened = dma.open({reinterpret_cast<virtio::u8*>(pool.base), static_cast<virtio::usize>(pool.size),
                                    virtio::dma_addr{pool.base}});
      !opened)
    print("the pool of devices: ", virtio::describe(opened.error()), "\n");
}

/// Inherit it in place of `identity_mapped`.
struct guest_dma {
  using barriers = virtio::smp_barriers;
  static constexpr virtio::access_policy access_platform = virtio::access_policy::through_map;

  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way,
                           virtio::segments& out) const {
    return dma.map(va, n, way, out);
  }
  void unmap(const virtio::segment& piece, virtio::u32 written) const { dma.unmap(piece, written); }
};

}  // namespace boot
