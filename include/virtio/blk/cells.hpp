// SPDX-License-Identifier: MIT
// The driver's parts of requests in DMA memory: for each slot of the queue a header, room for extents (or for another
// answer of the device), and a status byte. The data of reads and writes stays in the user's memory.
// Spec: virtio 1.4, 5.2.6. Layer: blk.
#pragma once

#include <virtio/blk/protocol.hpp>
#include <virtio/platform/dma.hpp>

namespace virtio::blk {

/// A view of that memory, for requests in byte order `Order` in `Slots` slots, with room for `Extents` extents each.
/// All-zero: a view of no memory.
template <byte_order Order, u32 Slots, u16 Extents>
class request_cells {
  using header_cells = header<Order>;

  static constexpr usize own_bytes = sizeof(extent_cells<Order>) * Extents;
  static constexpr usize own_offset = sizeof(header_cells) * Slots;
  static constexpr usize status_offset = own_offset + own_bytes * Slots;

 public:
  static constexpr byte_order order = Order;                   // of the fields
  static constexpr u16 extents = Extents;                      // maximum number of extents in a request
  static constexpr usize header_bytes = sizeof(header_cells);  // bytes of one header
  /// Bytes of the memory, without overflow.
  static constexpr u64 exact_bytes = (u64{sizeof(header_cells)} + own_bytes + 1) * Slots;
  static constexpr usize bytes = static_cast<usize>(exact_bytes);  // the same, if it fits in a size

  constexpr request_cells() = default;
  constexpr explicit request_cells(const dma_area& area) : area_{area} {}  // of this memory

  // Addresses for the device.
  [[nodiscard]] dma_addr header_at(u16 slot) const { return area_.at + sizeof(header_cells) * slot; }  // of a header
  [[nodiscard]] dma_addr own_at(u16 slot) const { return area_.at + own_offset + own_bytes * slot; }   // of the room
  [[nodiscard]] dma_addr status_at(u16 slot) const { return area_.at + status_offset + slot; }         // of a status

  /// Fills in the header of a slot.
  void write_header(u16 slot, request what, u64 sector) const {
    header_cells& cells = reinterpret_cast<header_cells*>(area_.data)[slot];
    cells.type.store(static_cast<u32>(what));
    cells.reserved.store(0);
    cells.sector.store(sector);
  }
  /// The slot's room, as an array of `Cells`.
  template <class Cells>
  [[nodiscard]] Cells* own(u16 slot) const {
    static_assert(sizeof(Cells) <= own_bytes);
    return reinterpret_cast<Cells*>(area_.data + own_offset + own_bytes * slot);
  }
  /// The slot's status byte.
  [[nodiscard]] from_device<u8>& status(u16 slot) const {
    return reinterpret_cast<from_device<u8>*>(area_.data + status_offset)[slot];
  }

 private:
  dma_area area_{};
};

}  // namespace virtio::blk
