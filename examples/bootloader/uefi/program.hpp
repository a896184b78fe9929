// SPDX-License-Identifier: MIT
// The header of a program for UEFI: whether a file is one, and for which processor. A kernel with an EFI stub is such a
// program.
//
// Format: PE format, 3.3 (COFF header) and 3.4 (optional header).
#pragma once

#include "../other_kernels.hpp"

namespace loader {

/// Processors, as COFF numbers them.
enum class efi_processor : u16 { x86_64 = 0x8664, aarch64 = 0xaa64 };

/// Reads the beginning of a file. Returns null, or why the file cannot be started.
[[nodiscard]] inline const char* check_program(const_bytes head, efi_processor processor) {
  constexpr u32 application = 10, subsystem_at = 24 + 68;
  const u8* const h = head.data();
  const auto other = [&] {
    const char* const known = describe(kind_of(head));
    return known != nullptr ? known : "it is no Linux kernel with an EFI stub";
  };
  if (head.size() < 0x40 || h[0] != 'M' || h[1] != 'Z') return other();
  const u32 at = number(h + 0x3c, 4);
  if (at > head.size() || head.size() - at < subsystem_at + 2 || __builtin_memcmp(h + at, "PE\0", 4) != 0)
    return other();
  if (number(h + at + 4, 2) != static_cast<u16>(processor)) return "it is for another processor";
  if (number(h + at + subsystem_at, 2) != application) return "it is no program for UEFI";
  return nullptr;
}

}  // namespace loader
