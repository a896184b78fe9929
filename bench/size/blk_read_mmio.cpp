// SPDX-License-Identifier: MIT
// what: find + start + read(), MMIO version 2
#include "programs.hpp"

#include <virtio/mmio.hpp>

namespace {

struct eight_slots {
  using slot_space = mmio_space;
  [[nodiscard]] mmio_space slot(usize n) const { return {0xfeb00000 + 0x200 * n, 0x200}; }
  [[nodiscard]] usize slot_count() const { return 8; }
};

using mmio_board = board_on<eight_slots>;
using disk_t = blk::device<mmio_board, mmio::modern<mmio_board>, split_queue<256>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) {
  const auto where = mmio::find(mmio_board{}, device_type::block);
  if (!where) return code(where.error());
  if (const auto up = disk.start(mmio_board{}, *where, disk_dma); !up) return code(up.error());
  return code(disk.read(sector, bytes{to, 512}).error());
}
