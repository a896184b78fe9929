// SPDX-License-Identifier: MIT
// The description of a 64-bit Arm machine.
#pragma once

#include "machine_of_tree.hpp"

namespace lsvirtio {

inline constexpr const char* processor = "aarch64";

using memory_half = boot::guest_dma;  // of a board

inline void show_processor(writer& out) {
  u64 id;
  asm("mrs %0, midr_el1" : "=r"(id));
  out.text("processor", processor);
  out.hex("midr", id);
}

inline void show_firmware(writer& out, const boot::machine_description& m) {
  static constexpr const char* conduits[] = {"none", "HVC", "SMC"};
  out.text("psci", conduits[static_cast<u8>(m.psci)]);
  show_range(out, "dma_pool", "", m.dma_pool);
}

}  // namespace lsvirtio
