// SPDX-License-Identifier: MIT
// what: find + start + read(), and for entropy find + start + fill()
#include "programs.hpp"

namespace {

using disk_t = blk::device<board, pci::modern<board>, split_queue<256>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;
using rng_t = rng::device<board, pci::modern<board>, split_queue<8>>;
constinit dma_storage<rng_t::dma_bytes> rng_dma;
constinit rng_t entropy;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) {
  if (const int read = find_and_read<board>(disk, disk_dma, sector, to); read != 0) return read;
  if (const errc up = find_and_start<board>(entropy, device_type::entropy, rng_dma); up != errc::ok) return code(up);
  return code(entropy.fill(bytes{to, 32}).error());
}
