// SPDX-License-Identifier: MIT
// what: start + polled read, modern PCI
#include "programs.hpp"

namespace {

using disk_t = blk::device<board, pci::modern<board>, split_queue<256>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) { return read_polled<board>(disk, disk_dma, sector, to); }
