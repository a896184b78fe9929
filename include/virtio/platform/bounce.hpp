// SPDX-License-Identifier: MIT
// Bounce buffers for guests whose devices reach only part of memory (pKVM, SEV, TDX). One window is shared with the
// host. It contains the DMA storage of the drivers and a pool of slots. A buffer outside the window is copied into
// slots before the device reads, and out of slots after the device has written. A buffer in the window is used in
// place. The owner of each slot is recorded in the object, which the host cannot access. No memory is allocated.
// Spec: virtio 1.4, 6 (ACCESS_PLATFORM). Layer: platform.
#pragma once

#include <virtio/platform/concepts.hpp>

namespace virtio {

/// A pool of `Slots` slots of `SlotBytes` each, for a platform's map() and unmap() (see `bounced`). All-zero until
/// `open`. Has one owner, like a driver: use one pool per context, or a lock.
template <u16 Slots, u32 SlotBytes = 4096>
class bounce_pool {
  static_assert(Slots >= 1, "a pool has at least one slot");
  static_assert(detail::is_power_of_two(SlotBytes) && SlotBytes >= 512 && SlotBytes <= 0x4000'0000,
                "a slot is a power of two of 512 bytes or more, so that no sector is cut in two");
  static_assert(u64{Slots} * SlotBytes < 0x4000'0000, "the pool must stay below 1 GiB");

 public:
  /// Bytes of the window that the slots need.
  static constexpr usize bytes = detail::round_up(usize{Slots} * SlotBytes, dma_page);

  /// Takes over `window`, which consists of whole pages shared with the host, without other content. The slots are at
  /// its end; the bytes before them are for `reserve`. Not while buffers are mapped. Errors: `no_space`, `misaligned`.
  [[nodiscard]] result<void> open(const dma_area& window) {
    if (window.size < bytes) return errc::no_space;
    if (reinterpret_cast<uptr>(window.data) % dma_page != 0 || raw(window.at) % dma_page != 0 ||
        window.size % dma_page != 0)
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

  /// Reserves DMA storage in the window, for a driver's `start`. It cannot be released. Error: `no_space`.
  [[nodiscard]] result<dma_region> reserve(usize size) {
    const usize left = window_.size == 0 ? 0 : window_.size - bytes - reserved_;
    if (size > left) return errc::no_space;
    const dma_region out{window_.data + reserved_, detail::round_up(size, dma_page)};
    reserved_ += out.size;
    return out;
  }

  /// The number of free slots.
  [[nodiscard]] u16 free_slots() const { return free_count_; }

  /// Implements a platform's map(). A buffer in the window is mapped in place; shared memory must be in the window. Any
  /// other buffer gets slots: with a copy for the device to read, or filled with zeroes for the device to write, so
  /// that a device which writes nothing does not reveal old data. Errors, without effect: `queue_full`: too few slots
  /// are free until requests complete; `no_space`: more than the pool has, or more pieces than the list holds, so
  /// request less at a time; `dma_unreachable`: shared memory outside the window, or a call before `open`.
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

  /// Implements a platform's unmap(): copies what the device wrote into the buffer, and frees the slot.
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

  // Adds one piece with a slot. The caller has checked for a free slot and for room in the list.
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
  u16 free_ = 0;  // head of the free slots, which next_ links
  u16 free_count_ = 0;
  u16 next_[Slots]{};
  u8* owner_[Slots]{};  // the buffer of each slot; nullptr: free
};

/// The part of a platform that uses a pool with static storage: `struct board : virtio::bounced<pool>,
/// virtio::pci::ecam`. It accepts ACCESS_PLATFORM: its addresses are valid for a device that is restricted to the
/// window.
template <auto& Pool>
struct bounced {
  /// `platform` concept: accepts ACCESS_PLATFORM.
  static constexpr access_policy access_platform = access_policy::through_map;

  /// `platform` concept: maps a buffer through the pool.
  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return Pool.map(va, n, way, out);
  }
  /// `platform` concept: ends a mapping.
  void unmap(const segment& piece, u32 written) const { Pool.unmap(piece, written); }
};

}  // namespace virtio
