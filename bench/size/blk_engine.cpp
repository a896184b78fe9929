// SPDX-License-Identifier: MIT
// what: find + start + a batch of reads, writes and a flush, drained
#include "programs.hpp"

namespace {

using disk_t = blk::device<board, pci::modern<board>, split_queue<256>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) {
  if (const errc up = find_and_start<board>(disk, device_type::block, disk_dma); up != errc::ok) return code(up);
  for (u64 i = 0; i < 8; ++i) {
    const auto sent = i % 2 == 0 ? disk.submit_read(sector + i, bytes{to + 512 * i, 512}, i)
                                 : disk.submit_write(sector + i, const_bytes{to + 512 * i, 512}, i);
    if (!sent) return code(sent.error());
  }
  if (const auto sent = disk.submit_flush(); !sent) return code(sent.error());
  int failed = 0;
  const auto drained = disk.drain([&](const blk::done& one) { failed += one.status != errc::ok; });
  return drained ? failed : code(drained.error());
}
