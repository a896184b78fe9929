// SPDX-License-Identifier: MIT
// Memory for devices that see one pool of it and nothing else (a device tree's restricted-dma-pool: pKVM, AVF). Buffers go through slots of the
// pool. A driver's storage, which both sides write, is not copied: its pages are replaced by pages of the pool, so that a program for an
// ordinary machine needs no change. Without a pool all addresses are as they are.
#pragma once

#include <virtio/platform/bounce.hpp>

#include "machine_tree.hpp"

namespace boot {

/// `Hooks` are the machine's: `share(dma_area)` makes the host see these pages, and `replace_pages(at, dma_region)` puts those of the region in the place of the
/// ones at `at`; both false when it cannot. All-zero until `open` or `refuse`: without a pool.
///
/// There are `Slots` slots of a page, and, where the pool is twice as large as both need, `LargeSlots` of `LargeBytes` for larger buffers: a
/// request has room for so many pieces only.
template <class Hooks, virtio::u16 Slots, virtio::u16 LargeSlots = 1, virtio::u32 LargeBytes = 65536>
class restricted_dma {
  using small_pool = virtio::bounce_pool<Slots>;
  using large_pool = virtio::bounce_pool<LargeSlots, LargeBytes>;

 public:
  /// Devices see this memory alone from now on: whole pages of the guest's, which nothing else is in. Errors: `no_space`, `misaligned`, and
  /// `dma_unreachable` when it cannot be shared. After any, devices see nothing.
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
  /// Devices see nothing: there shall be a pool, and there is no place for it.
  void refuse() { restricted_ = restriction::pool; }

  [[nodiscard]] bool is_restricted() const { return restricted_ == restriction::pool; }
  [[nodiscard]] virtio::u16 free_slots() const { return static_cast<virtio::u16>(slots_.free_slots() + large_.free_slots()); }

  /// For a platform's map(). Storage is in whole pages of its own; see `virtio::bounce_pool` for buffers, and for the errors.
  [[nodiscard, gnu::noinline]] virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way, virtio::segments& out) {
    if (!is_restricted()) return out.push(virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)}, n, way);
    if (way != virtio::direction::shared) {
      // What needs several pages goes through large slots, unless those are all in use: then in more pieces, if it may.
      if (large_at_ != 0 && n > virtio::dma_page)
        if (const auto mapped = large_.map(va, n, way, out); mapped || mapped.error() != virtio::errc::queue_full) return mapped;
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

  // Where the storage at `at` is now: in the pool, moved there once.
  [[nodiscard]] virtio::result<virtio::dma_region> moved(virtio::uptr at, virtio::usize size) {
    storage* room = nullptr;
    for (storage& one : storages_) {
      if (one.there.size == 0) room = &one;
      else if (one.at == at && size <= one.there.size) return one.there;
    }
    if (at % virtio::dma_page != 0 || size % virtio::dma_page != 0) return virtio::errc::dma_unreachable;
    // Pages that belonged to other storage are this one's now: that one is moved anew when it is used again.
    for (storage& one : storages_)
      if (one.there.size != 0 && one.at < at + size && at < one.at + one.there.size) *(room = &one) = {};
    if (room == nullptr) return virtio::errc::no_space;
    VIRTIO_TRY_ASSIGN(const virtio::dma_region there, slots_.reserve(size));
    __builtin_memset(there.data, 0, there.size);  // the host has seen it, and may have written it
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
