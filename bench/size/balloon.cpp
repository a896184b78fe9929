// SPDX-License-Identifier: MIT
// what: balloon: find + start + follow the host, modern PCI
#include <virtio/balloon.hpp>

#include "programs.hpp"

namespace {

using balloon_t = balloon::device<board, pci::modern<board>, split_queue<16>>;
constinit dma_storage<balloon_t::dma_bytes> balloon_dma;
constinit balloon_t memory;
constinit u32 lent = 0;

}  // namespace

extern "C" int counted_program(u64 most, u8*) {
  if (const errc up = find_and_start<board>(memory, device_type::balloon, balloon_dma); up != errc::ok) return code(up);
  const auto lend = [most](u32& page) { return lent != most && (page = ++lent, true); };
  const auto recall = [](u32& page) { return lent != 0 && (page = lent--, true); };
  return code(memory.follow(lend, recall).error());
}
