// SPDX-License-Identifier: MIT
// Bounce buffers for guests whose devices reach only some of their memory (pKVM, SEV, TDX). One window is shared with the host,
// once; in it lie the DMA storage of the drivers and a pool of slots. A buffer elsewhere is copied into slots on its way to
// the device, and out of them on its way back; a buffer in the window is used where it is.
// Which slot belongs to which buffer is in the object, which the host does not see. Nothing is allocated.
// Spec: virtio 1.4, 6 (ACCESS_PLATFORM). Layer: platform.
#pragma once

#include <virtio/platform/concepts.hpp>

namespace virtio {

/// A pool of `Slots` slots of `SlotBytes` each, for a platform's map() and unmap() (see `bounced`). All-zero until `open`. Has one
/// owner, like the drivers that use it: those of several contexts have a pool each, or one lock.
template <u16 Slots, u32 SlotBytes = 4096>
class bounce_pool {
  static_assert(Slots >= 1, "a pool has at least one slot");
  static_assert(detail::is_power_of_two(SlotBytes) && SlotBytes >= 512 && SlotBytes <= 0x4000'0000,
                "a slot is a power of two of 512 bytes or more, so that no sector is cut in two");
  static_assert(u64{Slots} * SlotBytes < 0x4000'0000, "the pool must stay below 1 GiB");

 public:
  /// What the slots take of the window.
  static constexpr usize bytes = detail::round_up(usize{Slots} * SlotBytes, dma_page);

  /// Takes over `window`, which is shared with the host in whole pages and holds nothing else. The slots are at its end; what is
  /// ahead of them is for `reserve`. Not while buffers are mapped. Errors: `no_space`, `misaligned`.
  [[nodiscard]] result<void> open(const dma_area& window) {
    if (window.size < bytes) return errc::no_space;
    if (reinterpret_cast<uptr>(window.data) % dma_page != 0 || raw(window.at) % dma_page != 0 || window.size % dma_page != 0)
      return errc::misaligned;
    window_ = window;
    reserved_ = 0;
    free_ = 0;
    free_count_ = Slots;
    for (u32 i = 0; i < Slots; ++i) {
      next_[i] = static_cast<u16>(i + 1);
      owner_[i] = nullptr;
    }
    return {};
  }

  /// DMA storage in the window, for a driver's `start`. It is never given back. Error: `no_space`.
  [[nodiscard]] result<dma_region> reserve(usize size) {
    const usize left = window_.size == 0 ? 0 : window_.size - bytes - reserved_;
    if (size > left) return errc::no_space;
    const dma_region out{window_.data + reserved_, detail::round_up(size, dma_page)};
    reserved_ += out.size;
    return out;
  }

  /// Slots that no buffer has.
  [[nodiscard]] u16 free_slots() const { return free_count_; }

  /// For a platform's map(). A buffer in the window, which shared memory has to be, is given as it is; any other goes through
  /// slots: a copy of what the device will read, zeroes where it will write, so that one which writes nothing passes on nobody
  /// else's data. Errors, without effect: `queue_full`, too few slots are free until requests end; `no_space`, more than the pool
  /// has, or more pieces than the list takes: ask for less at a time; `dma_unreachable`, shared memory outside of the window, or
  /// any before `open`.
  [[nodiscard]] result<void> map(const volatile void* va, usize n, direction way, segments& out) {
    u8* const data = const_cast<u8*>(static_cast<const volatile u8*>(va));
    if (window_.size == 0) return errc::dma_unreachable;
    const uptr inside = reinterpret_cast<uptr>(data) - reinterpret_cast<uptr>(window_.data);
    if (inside < window_.size && n <= window_.size - inside) return out.push(window_.at + inside, n, way);
    if (way == direction::shared) return errc::dma_unreachable;
    const u32 piece = detail::smaller(SlotBytes, out.largest_piece());
    const usize needed = n / piece + (n % piece != 0 ? 1 : 0);
    if (needed > Slots || needed > usize{out.capacity()} - out.size()) return errc::no_space;
    if (needed > free_count_) return errc::queue_full;
    for (usize done = 0; done < n; done += piece) take(data + done, detail::smaller(usize{piece}, n - done), way, out);
    return {};
  }

  /// For a platform's unmap(): copies out what the device wrote, and frees the slot.
  void unmap(const segment& piece, u32 written) {
    if (piece.handle == 0) return;  // a buffer in the window
    const u16 slot = static_cast<u16>(piece.handle - 1);
    VIRTIO_ASSERT(slot < Slots && owner_[slot] != nullptr);  // mapped, and not unmapped yet
    if (piece.way == direction::from_device)
      __builtin_memcpy(owner_[slot], place(slot).data, detail::smaller(written, piece.length));
    owner_[slot] = nullptr;
    next_[slot] = free_;
    free_ = slot;
    ++free_count_;
  }

 private:
  [[nodiscard]] dma_area place(u16 slot) const {
    return window_.part(window_.size - bytes + usize{SlotBytes} * slot, SlotBytes);
  }

  // One slot for one piece more; there is one, and room in the list.
  void take(u8* data, usize length, direction way, segments& out) {
    const u16 slot = free_;
    const dma_area where = place(slot);
    if (way == direction::to_device) __builtin_memcpy(where.data, data, length);
    else __builtin_memset(where.data, 0, length);
    owner_[slot] = data;
    free_ = next_[slot];
    --free_count_;
    (void)out.push(where.at, length, way, u64{slot} + 1);
  }

  dma_area window_{};
  usize reserved_ = 0;
  u16 free_ = 0;        // head of the free slots, which next_ links
  u16 free_count_ = 0;
  u16 next_[Slots]{};
  u8* owner_[Slots]{};  // the buffer that a slot stands for; nullptr: free
};

/// What makes a platform go through a pool, an object with static storage: `struct board : virtio::bounced<pool>,
/// virtio::pci::ecam`. It accepts ACCESS_PLATFORM, since the addresses are right for a device that is held to the window.
template <auto& Pool>
struct bounced {
  static constexpr access_policy access_platform = access_policy::through_map;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const { return Pool.map(va, n, way, out); }
  void unmap(const segment& piece, u32 written) const { Pool.unmap(piece, written); }
};

}  // namespace virtio
