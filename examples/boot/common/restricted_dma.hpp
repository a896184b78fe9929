// SPDX-License-Identifier: MIT
// Memory for devices that see only one pool (a device tree's restricted-dma-pool: pKVM, AVF). Buffers are copied
// through slots of the pool. A driver's storage, which both sides write, is not copied: its pages are replaced by pages
// of the pool, so a program for an ordinary machine needs no change. Without a pool, addresses are not translated.
#pragma once

#include <virtio/platform/bounce.hpp>

#include "machine_tree.hpp"

namespace boot {

/// `Hooks` are the machine's: `share(dma_area)` makes pages visible to the host, and `replace_pages(at, dma_region)`
/// replaces the pages at `at` by those of the region; both return false on failure. All-zero until `open` or `refuse`:
/// without a pool.
///
/// There are `Slots` slots of a page. If the pool is twice as large as both kinds need, there are also `LargeSlots` of
/// `LargeBytes` for larger buffers, since the number of pieces of a request is limited.
template <class Hooks, virtio::u16 Slots, virtio::u16 LargeSlots = 1, virtio::u32 LargeBytes = 65536>
class restricted_dma {
  using small_pool = virtio::bounce_pool<Slots>;
  using large_pool = virtio::bounce_pool<LargeSlots, LargeBytes>;

 public:
  /// Restricts devices to this memory: whole pages of the guest without other data. Errors: `no_space`, `misaligned`,
  /// and `dma_unreachable` if it cannot be shared. After an error, devices see no memory.
  [[nodiscard]] virtio::result<void> open(const virtio::dma_area& pool) {
    restricted_ = restriction::pool;
    if (!Hooks::share(pool)) return virtio::errc::dma_unreachable;
    virtio::dma_area rest = pool;
    if (pool.size / 2 >= small_pool::bytes + large_pool::bytes) {
      rest = pool.part(0, pool.size - large_pool::bytes);
      VIRTIO_TRY(large_.open(pool.part(rest.size, large_pool::bytes)));
      large_at_ = virtio::raw(rest.at) + rest.size;
    }
    return slots_.open(rest);
  }
  /// Restricts devices to no memory: a pool is required, and there is no place for it.
  void refuse() { restricted_ = restriction::pool; }

  [[nodiscard]] bool is_restricted() const { return restricted_ == restriction::pool; }
  [[nodiscard]] virtio::u16 free_slots() const {
    return static_cast<virtio::u16>(slots_.free_slots() + large_.free_slots());
  }

  /// For a platform's map(). Storage has its own whole pages; see `virtio::bounce_pool` for buffers, and for the
  /// errors.
  [[nodiscard, gnu::noinline]] virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way,
                                                        virtio::segments& out) {
    if (!is_restricted()) return out.push(virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)}, n, way);
    if (way != virtio::direction::shared) {
      // Buffers of several pages use large slots, unless all are in use: then more pieces, if the request allows it.
      if (large_at_ != 0 && n > virtio::dma_page)
        if (const auto mapped = large_.map(va, n, way, out); mapped || mapped.error() != virtio::errc::queue_full)
          return mapped;
      return slots_.map(va, n, way, out);
    }
    VIRTIO_TRY_ASSIGN(const virtio::dma_region there, moved(reinterpret_cast<virtio::uptr>(va), n));
    return slots_.map(there.data, n, way, out);
  }
  void unmap(const virtio::segment& piece, virtio::u32 written) {
    if (!is_restricted()) return;
    if (large_at_ != 0 && virtio::raw(piece.at) >= large_at_) large_.unmap(piece, written);
    else slots_.unmap(piece, written);
  }

 private:
  enum class restriction : virtio::u8 { none, pool };
  static constexpr virtio::usize most_storages = 32;

  struct storage {
    virtio::uptr at;
    virtio::dma_region there;
  };

  // Returns the storage of `at` in the pool, and moves it there at its first use.
  [[nodiscard]] virtio::result<virtio::dma_region> moved(virtio::uptr at, virtio::usize size) {
    storage* room = nullptr;
    for (storage& one : storages_) {
      if (one.there.size == 0) room = &one;
      else if (one.at == at && size <= one.there.size) return one.there;
    }
    if (at % virtio::dma_page != 0 || size % virtio::dma_page != 0) return virtio::errc::dma_unreachable;
    // Takes pages of the pool from other storage, which is moved again at its next use.
    for (storage& one : storages_)
      if (one.there.size != 0 && one.at < at + size && at < one.at + one.there.size) *(room = &one) = {};
    if (room == nullptr) return virtio::errc::no_space;
    VIRTIO_TRY_ASSIGN(const virtio::dma_region there, slots_.reserve(size));
    __builtin_memset(there.data, 0, there.size);  // the host sees it, and may have written to it
    if (!Hooks::replace_pages(at, there)) return virtio::errc::dma_unreachable;
    *room = {at, there};
    return there;
  }

  small_pool slots_;
  large_pool large_;
  virtio::u64 large_at_{};  // 0: there are none
  restriction restricted_{};
  storage storages_[most_storages]{};
};

}  // namespace boot
