// SPDX-License-Identifier: MIT
// what: entropy: start + polled request, modern PCI
#include "programs.hpp"

namespace {

using rng_t = rng::device<board, pci::modern<board>, split_queue<8>>;
constinit dma_storage<rng_t::dma_bytes> rng_dma;
constinit rng_t entropy;

}  // namespace

extern "C" int counted_program(u64, u8* to) {
  const auto where = pci::at(board{}, known_place);
  if (const auto up = entropy.start(board{}, where, rng_dma); !up) return code(up.error());
  if (const auto sent = entropy.submit(bytes{to, 32}); !sent) return code(sent.error());
  entropy.kick();
  for (;;) {
    const auto done = entropy.next_completion();
    if (done) return code(done->status);
    if (done.error() != errc::not_ready) return code(done.error());
  }
}
