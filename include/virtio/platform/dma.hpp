// SPDX-License-Identifier: MIT
// Memory that a device addresses: its addresses, pieces of buffers, and the storage that rings and headers live in.
// Three kinds of memory never share a page: DMA storage (both sides write), private state (the device objects; the driver
// alone writes) and user buffers (the device writes between submit and completion).
// Spec: virtio 1.4, 2.6.13. Layer: platform.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/config.hpp>
#include <virtio/base/result.hpp>

namespace virtio {

/// An address as the device sees it; 64 bits on every CPU.
enum class dma_addr : u64 {};

[[nodiscard]] constexpr u64 raw(dma_addr at) { return static_cast<u64>(at); }
[[nodiscard]] constexpr dma_addr operator+(dma_addr at, u64 offset) { return dma_addr{raw(at) + offset}; }

/// Who reads and who writes a piece of memory while the device has it. The first two have the numbers that descriptors have for
/// it, so that a ring takes them as they are.
enum class direction : u32 {
  to_device = 0,    // the device reads
  from_device = 2,  // the device writes
  shared = 4,       // both, at any time, until the device is reset: DMA storage. Never a copy, never in a chain.
};

/// The most bytes of one request that every known host takes, and of one piece of it. No field states a limit of the total, and
/// hosts have one: QEMU counts a request in a signed int, Linux's preadv and pwritev stop at 0x7ffff000 bytes, header and status
/// included where a host hands them on. Half of that is as fast, and a power of two holds whole blocks and pages of any size, however
/// often it is halved.
inline constexpr u32 largest_transfer = 0x4000'0000;

/// One contiguous piece of a buffer, as the device addresses it.
struct segment {  // no initial values: a list of them on the stack, of which a request uses three, would pay for all
  dma_addr at;
  u32 length;
  direction way;
  u64 handle;  // the platform's own, handed back to its unmap(): a bounce slot, an IOTLB entry. Any but `continued`

  /// In the place of a handle: this piece goes on where the one before it ends, and is of the same mapping.
  static constexpr u64 continued = ~u64{0};
  [[nodiscard]] constexpr bool continues() const { return handle == continued; }

  /// Both as the second half of a descriptor has them: on little-endian machines one load.
  [[nodiscard]] u64 length_and_way() const {
    if constexpr (native_order != byte_order::little) return length | u64{static_cast<u32>(way)} << 32;
    u64 both;
    __builtin_memcpy(&both, reinterpret_cast<const u8*>(this) + sizeof at, sizeof both);
    return both;
  }
};

/// A bounded list of segments that a platform's map() appends to. What the device reads comes before what it writes, as in every
/// chain (2.7.4.2, 2.8.6): the list sees to it, and adds up the bytes of both.
class segments {
 public:
  constexpr segments(segment* storage, u16 capacity) : first_{storage}, capacity_{capacity} {}
  template <u16 Capacity>
  constexpr explicit segments(segment (&storage)[Capacity]) : segments{storage, Capacity} {}

  /// Appends one mapping: `length` bytes at `at`, cut into pieces of at most `largest_piece()`, of which the first has `handle` and
  /// the others are `continued`. Nothing is appended for length 0. Errors: `no_space` when the list is full; what was appended until
  /// then is still in it, for the caller to forget. `invalid_argument`: something for the device to read, behind something to write.
  VIRTIO_INLINE_ON_GCC constexpr result<void> push(dma_addr at, u64 length, direction way, u64 handle = 0) {
    if (way == direction::to_device && writable_ != 0) [[unlikely]] return errc::invalid_argument;
    for (; length != 0; handle = segment::continued) {
      if (count_ == capacity_) [[unlikely]] return errc::no_space;
      const u32 piece = static_cast<u32>(detail::smaller(length, u64{largest_}));
      first_[count_++] = segment{at, piece, way, handle};
      add(piece, way);
      length -= piece;
      if (length == 0) [[likely]] break;
      at = at + piece;
    }
    return {};
  }

  /// Appends one piece as it is, which the caller knows to be short enough, to have room, and to be in its place.
  /// It has no handle: it is never unmapped.
  constexpr void append(dma_addr at, u32 length, direction way) {
    segment& one = first_[count_++];
    one.at = at;
    one.length = length;
    one.way = way;
    add(length, way);
  }

  /// The longest piece push() makes, not 0. A device may ask for less than `largest_transfer` (SIZE_MAX of block devices).
  [[nodiscard]] constexpr u32 largest_piece() const { return largest_; }
  constexpr void limit_pieces(u32 largest) { largest_ = largest; }

  /// The most segments the list takes, when that is fewer than it has room for.
  constexpr void limit_count(u16 most) { capacity_ = detail::smaller(most, capacity_); }

  [[nodiscard]] constexpr u16 size() const { return count_; }
  [[nodiscard]] constexpr u16 capacity() const { return capacity_; }
  [[nodiscard]] constexpr const segment& operator[](usize i) const { return first_[i]; }
  [[nodiscard]] constexpr const segment* begin() const { return first_; }
  [[nodiscard]] constexpr const segment* end() const { return first_ + count_; }

  /// Bytes that the device may read and write, and those that it may write.
  [[nodiscard]] constexpr u64 bytes() const { return bytes_; }
  [[nodiscard]] constexpr u64 writable_bytes() const { return writable_; }

  /// Forgets the segments from `count` on: a map() that fails half-way may tidy up, though nobody looks at the list then.
  constexpr void truncate(u16 count) {
    while (count_ > count) {
      const segment& last = first_[--count_];
      bytes_ -= last.length;
      if (last.way != direction::to_device) writable_ -= last.length;
    }
  }

 private:
  constexpr void add(u32 length, direction way) {
    bytes_ += length;
    if (way != direction::to_device) writable_ += length;
  }

  segment* first_;
  u16 count_ = 0;
  u16 capacity_;
  u32 largest_ = largest_transfer;
  u64 bytes_ = 0;
  u64 writable_ = 0;
};

/// A `segments` with room for `Capacity` of them. Where each instruction counts, two objects are better: this one points to itself,
/// and compilers keep what does in memory.
template <u16 Capacity>
class segment_list : public segments {
 public:
  constexpr segment_list() : segments{room_, Capacity} {}
  segment_list(const segment_list&) = delete;
  segment_list& operator=(const segment_list&) = delete;

 private:
  segment room_[Capacity];
};

inline constexpr usize dma_page = 4096;

/// Storage for everything of one device that both sides touch, sized by the device's type:
/// `constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;`
/// Lands in .bss. Must be coherent with the device: cacheable where DMA snoops, uncached where it does not.
template <usize Bytes>
struct alignas(dma_page) dma_storage {
  static constexpr usize size = detail::round_up(Bytes, dma_page);
  u8 memory[size]{};
};

/// A range of DMA storage on the CPU's side.
struct dma_region {
  u8* data = nullptr;
  usize size = 0;

  constexpr dma_region() = default;
  constexpr dma_region(u8* first, usize length) : data{first}, size{length} {}
  template <usize Bytes>
  constexpr dma_region(dma_storage<Bytes>& storage) : dma_region{storage.memory, storage.size} {}
};

/// A range of DMA storage on both sides: where the CPU finds it, and where the device does.
struct dma_area {
  u8* data = nullptr;
  usize size = 0;
  dma_addr at{};

  /// The part from `offset` on, `length` bytes. The caller has checked that it lies inside.
  [[nodiscard]] constexpr dma_area part(usize offset, usize length) const {
    return {data + offset, length, at + offset};
  }
};

}  // namespace virtio
