// SPDX-License-Identifier: MIT
// what: a split ring alone: attach, stage, publish, take, release
#include "programs.hpp"

namespace {

using ring_t = split_ring<256>;
constinit dma_storage<ring_t::dma_bytes> ring_dma;
constinit ring_t ring;

}  // namespace

extern "C" int counted_program(u64 features, u8* to) {
  feature_set chosen;
  chosen.set_word(0, static_cast<u32>(features));
  const dma_area area{ring_dma.memory, sizeof ring_dma.memory, dma_addr{reinterpret_cast<uptr>(ring_dma.memory)}};
  if (const auto laid = ring.attach(area, 256, chosen); !laid) return code(laid.error());
  const auto slot = ring.reserve();
  if (!slot) return code(slot.error());
  segment room[1];
  segments chain{room};
  chain.append(dma_addr{reinterpret_cast<uptr>(to)}, 512, direction::from_device);
  if (const auto staged = ring.stage(*slot, chain, 0); !staged) return code(staged.error());
  ring.publish();
  if (!ring.needs_kick()) return 0;
  for (;;) {
    const auto done = ring.next_completion();
    if (done) {
      ring.release(done->which);
      return static_cast<int>(done->length);
    }
    if (done.error() != errc::not_ready) return code(done.error());
  }
}
