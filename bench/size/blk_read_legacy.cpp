// SPDX-License-Identifier: MIT
// what: find + start + read(), legacy PCI
#include "programs.hpp"

namespace {

using disk_t = blk::device<board_with_ports, pci::legacy<board_with_ports>, split_queue<256>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) {
  return find_and_read<board_with_ports>(disk, disk_dma, sector, to);
}
