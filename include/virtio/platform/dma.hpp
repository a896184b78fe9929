// SPDX-License-Identifier: MIT
// Memory that a device addresses: its addresses, pieces of buffers, and the storage for rings and headers.
// Three kinds of memory never share a page: DMA storage (both sides write), private state (the device objects; only the
// driver writes) and user buffers (the device writes between submit and completion).
// Spec: virtio 1.4, 2.6.13. Layer: platform.
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/config.hpp>
#include <virtio/base/result.hpp>

namespace virtio {

/// An address as the device uses it; 64 bits on every CPU.
enum class dma_addr : u64 {};

[[nodiscard]] constexpr u64 raw(dma_addr at) { return static_cast<u64>(at); }  // the address as a number
/// Returns the address `offset` bytes after `at`.
[[nodiscard]] constexpr dma_addr operator+(dma_addr at, u64 offset) { return dma_addr{raw(at) + offset}; }

/// Which side reads and writes a piece of memory while the device has it. The first two values are those of the flag in
/// a descriptor, so that a ring stores them unchanged.
enum class direction : u32 {
  to_device = 0,    // the device reads
  from_device = 2,  // the device writes
  shared = 4,       // both read and write, until the device is reset: DMA storage. Never copied, never in a chain
};

/// The most bytes of one request, and of one piece of it, that every known host accepts. No field states a limit of the
/// total, but hosts have one: QEMU counts the bytes of a request in a signed int. Linux's preadv and pwritev stop at
/// 0x7ffff000 bytes, including header and status if the host passes those on. Half of that is as fast. A power of two
/// contains whole blocks and pages of any size, also after halving.
inline constexpr u32 largest_transfer = 0x4000'0000;

/// One contiguous piece of a buffer, as the device addresses it.
struct segment {  // not initialized: a request uses three of a list on the stack, and initializing all of it costs
  dma_addr at;    // its first byte
  u32 length;     // bytes
  direction way;  // which side reads and writes it
  u64 handle;     // the platform's, for its unmap(): a bounce slot, an IOTLB entry. Any value but `continued`

  /// A value of `handle`: this piece starts where the previous one ends, and belongs to the same mapping.
  static constexpr u64 continued = ~u64{0};
  /// Whether the piece belongs to the previous mapping.
  [[nodiscard]] constexpr bool continues() const { return handle == continued; }

  /// Returns length and direction as in the second half of a descriptor: on little-endian machines one load.
  [[nodiscard]] u64 length_and_way() const {
    if constexpr (native_order != byte_order::little) return length | u64{static_cast<u32>(way)} << 32;
    u64 both;
    __builtin_memcpy(&both, reinterpret_cast<const u8*>(this) + sizeof at, sizeof both);
    return both;
  }
};

/// A bounded list of segments that a platform's map() appends to. Segments that the device reads are before those that
/// it writes, as in every chain (2.7.4.2, 2.8.6). The list enforces the order and counts the bytes of both.
class segments {
 public:
  /// An empty list in the caller's storage.
  constexpr segments(segment* storage, u16 capacity) : first_{storage}, capacity_{capacity} {}
  /// An empty list in an array of the caller.
  template <u16 Capacity>
  constexpr explicit segments(segment (&storage)[Capacity]) : segments{storage, Capacity} {}

  /// Appends one mapping: `length` bytes at `at`, in pieces of at most `largest_piece()`. The first piece has `handle`,
  /// the others are `continued`. Length 0 appends no piece. Errors: `no_space`: the list is full; the pieces before
  /// that remain in it, and the caller discards them. `invalid_argument`: a piece for the device to read after one for
  /// it to write.
  VIRTIO_INLINE_ON_GCC constexpr result<void> push(dma_addr at, u64 length, direction way, u64 handle = 0) {
    if (way == direction::to_device && writable_ != 0) [[unlikely]]
      return errc::invalid_argument;
    for (; length != 0; handle = segment::continued) {
      if (count_ == capacity_) [[unlikely]]
        return errc::no_space;
      const u32 piece = static_cast<u32>(detail::smaller(length, u64{largest_}));
      first_[count_++] = segment{at, piece, way, handle};
      add(piece, way);
      length -= piece;
      if (length == 0) [[likely]]
        break;
      at = at + piece;
    }
    return {};
  }

  /// Appends one piece without checks: the caller ensures length, room and order. Sets no handle: the piece is never
  /// unmapped.
  constexpr void append(dma_addr at, u32 length, direction way) {
    segment& one = first_[count_++];
    one.at = at;
    one.length = length;
    one.way = way;
    add(length, way);
  }

  /// The longest piece that push() makes, in bytes, not 0. A device may require less than `largest_transfer` (SIZE_MAX
  /// of block devices).
  [[nodiscard]] constexpr u32 largest_piece() const { return largest_; }
  constexpr void limit_pieces(u32 largest) { largest_ = largest; }  // sets `largest_piece()`

  /// Limits the capacity to `most` segments.
  constexpr void limit_count(u16 most) { capacity_ = detail::smaller(most, capacity_); }

  [[nodiscard]] constexpr u16 size() const { return count_; }                             // segments in the list
  [[nodiscard]] constexpr u16 capacity() const { return capacity_; }                      // the most segments
  [[nodiscard]] constexpr const segment& operator[](usize i) const { return first_[i]; }  // below `size()`
  [[nodiscard]] constexpr const segment* begin() const { return first_; }                 // the first segment
  [[nodiscard]] constexpr const segment* end() const { return first_ + count_; }          // the end of the list

  [[nodiscard]] constexpr u64 bytes() const { return bytes_; }              // bytes of all segments
  [[nodiscard]] constexpr u64 writable_bytes() const { return writable_; }  // bytes that the device may write

  /// Removes the segments from `count` on. A map() that fails may use it, but callers ignore the list after an error.
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

/// A `segments` with room for `Capacity` of them. It points to itself, which makes compilers keep it in memory. Use two
/// objects where each instruction counts.
template <u16 Capacity>
class segment_list : public segments {
 public:
  constexpr segment_list() : segments{room_, Capacity} {}  // empty
  segment_list(const segment_list&) = delete;
  segment_list& operator=(const segment_list&) = delete;

 private:
  segment room_[Capacity];
};

/// The alignment and granule of DMA storage, in bytes.
inline constexpr usize dma_page = 4096;

/// Storage for all memory of one device that both sides access, sized by the driver's type:
/// `constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;`
/// It is in .bss. It must be coherent with the device: cacheable if DMA snoops, else uncached.
template <usize Bytes>
struct alignas(dma_page) dma_storage {
  static constexpr usize size = detail::round_up(Bytes, dma_page);  // bytes, in whole pages
  u8 memory[size]{};                                                // for the driver only
};

/// A range of DMA storage as the CPU addresses it. Does not own it.
struct dma_region {
  u8* data = nullptr;  // its first byte, aligned to `dma_page`
  usize size = 0;      // bytes

  constexpr dma_region() = default;                                             // empty
  constexpr dma_region(u8* first, usize length) : data{first}, size{length} {}  // `length` bytes from `first` on
  /// All of `storage`.
  template <usize Bytes>
  constexpr dma_region(dma_storage<Bytes>& storage) : dma_region{storage.memory, storage.size} {}
};

/// A range of DMA storage, with its addresses for the CPU and for the device.
struct dma_area {
  u8* data = nullptr;  // its first byte for the CPU
  usize size = 0;      // bytes
  dma_addr at{};       // its first byte for the device

  /// Returns `length` bytes from `offset` on. The caller has checked the range.
  [[nodiscard]] constexpr dma_area part(usize offset, usize length) const {
    return {data + offset, length, at + offset};
  }
};

}  // namespace virtio
