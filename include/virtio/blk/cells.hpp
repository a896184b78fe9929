// SPDX-License-Identifier: MIT
// Where the driver's own parts of requests lie in DMA memory: for each slot of the queue a header, room for extents (or another answer
// of the device's), and a status byte. The data of reads and writes stays where the user has it.
// Spec: virtio 1.4, 5.2.6. Layer: blk.
#pragma once

#include <virtio/blk/protocol.hpp>
#include <virtio/platform/dma.hpp>

namespace virtio::blk {

/// That memory, for requests in byte order `Order` in `Slots` slots, with room for `Extents` extents each. A view; all-zero: of nothing.
template <byte_order Order, u32 Slots, u16 Extents>
class request_cells {
  using header_cells = header<Order>;

  static constexpr usize own_bytes = sizeof(extent_cells<Order>) * Extents;
  static constexpr usize own_offset = sizeof(header_cells) * Slots;
  static constexpr usize status_offset = own_offset + own_bytes * Slots;

 public:
  static constexpr byte_order order = Order;
  static constexpr u16 extents = Extents;
  static constexpr usize header_bytes = sizeof(header_cells);
  static constexpr u64 exact_bytes = (u64{sizeof(header_cells)} + own_bytes + 1) * Slots;
  static constexpr usize bytes = static_cast<usize>(exact_bytes);  // what it takes, where that is a size

  constexpr request_cells() = default;
  constexpr explicit request_cells(const dma_area& area) : area_{area} {}

  // Where the device finds them.
  [[nodiscard]] dma_addr header_at(u16 slot) const { return area_.at + sizeof(header_cells) * slot; }
  [[nodiscard]] dma_addr own_at(u16 slot) const { return area_.at + own_offset + own_bytes * slot; }
  [[nodiscard]] dma_addr status_at(u16 slot) const { return area_.at + status_offset + slot; }

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
  [[nodiscard]] from_device<u8>& status(u16 slot) const {
    return reinterpret_cast<from_device<u8>*>(area_.data + status_offset)[slot];
  }

 private:
  dma_area area_{};
};

}  // namespace virtio::blk
