// SPDX-License-Identifier: MIT
// The description of a 64-bit RISC-V machine. Its ids are registers of machine mode, so they are not read.
#pragma once

#include "machine_of_tree.hpp"

namespace lsvirtio {

inline constexpr const char* processor = "riscv64";

using memory_half = virtio::identity_mapped<>;  // of a board

inline void show_processor(writer& out) {
  out.text("processor", processor);
  out.text("mode", boot::level() == boot::privilege::machine ? "machine" : "supervisor");
}

inline void show_firmware(writer& out, const boot::machine_description& m) {
  show_range(out, "test_finisher", "", m.test_finisher);
}

}  // namespace lsvirtio
