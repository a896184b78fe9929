// SPDX-License-Identifier: MIT
// what: balloon with statistics, poison, a report and hints
#include <virtio/balloon.hpp>

#include "programs.hpp"

namespace {

using balloon_t = balloon::device<board, pci::modern<board>, split_queue<16>>;
constinit dma_storage<balloon_t::dma_bytes> balloon_dma;
constinit balloon_t memory;
constinit u32 lent = 0;

}  // namespace

extern "C" int counted_program(u64 most, u8* to) {
  const auto where = pci::find(board{}, device_type::balloon);
  if (!where) return code(where.error());
  const balloon::sample free[] = {{balloon::statistic::free_memory, most}};
  const balloon::poison held{0, [](u32 page) { return reinterpret_cast<u8*>(uptr{page} * balloon::page_bytes); }};
  if (const auto up = memory.start(board{}, *where, balloon_dma, {}, free, held); !up) return code(up.error());
  const auto lend = [most](u32& page) { return lent != most && (page = ++lent, true); };
  const auto recall = [](u32& page) { return lent != 0 && (page = lent--, true); };
  if (const auto in = memory.follow(lend, recall); !in) return code(in.error());
  if (const auto asked = memory.answer_statistics(free); !asked) return code(asked.error());
  if (const auto told = memory.report_free(bytes{to, 4096}); !told) return code(told.error());
  if (const auto now = memory.hints(); !now || *now != balloon::hinting::wanted) return code(now.error());
  return code(memory.hint([&](bytes& stretch) { return stretch = bytes{to, 4096}, lent-- != 0; }).error());
}
