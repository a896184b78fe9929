// SPDX-License-Identifier: MIT
// Kernel formats, by their first bytes: for the message about a file that this processor's loader does not start.
#pragma once

#include "../files/number.hpp"

namespace loader {

enum class kernel_kind : u8 { unknown, x86, arm64, riscv64, self_extracting, gzip, elf };

/// `head` is the beginning of the file.
[[nodiscard]] inline kernel_kind kind_of(const_bytes head) {
  const auto has = [&](usize at, const_bytes what) {
    return head.size() >= at + what.size() && __builtin_memcmp(head.data() + at, what.data(), what.size()) == 0;
  };
  if (has(56, text("ARM\x64"))) return kernel_kind::arm64;
  if (has(56, text("RSC\x05"))) return kernel_kind::riscv64;
  if (has(0x202, text("HdrS"))) return kernel_kind::x86;
  if (has(0, text("MZ")) && has(4, text("zimg"))) return kernel_kind::self_extracting;
  if (has(0, text("\x1f\x8b"))) return kernel_kind::gzip;
  if (has(0, text("\x7f"
                  "ELF")))
    return kernel_kind::elf;
  return kernel_kind::unknown;
}

/// Describes a file of this format for an error message; null for `unknown`.
[[nodiscard]] constexpr const char* describe(kernel_kind kind) {
  switch (kind) {
    case kernel_kind::unknown: return nullptr;
    case kernel_kind::x86: return "it is a Linux kernel for x86 (bzImage)";
    case kernel_kind::arm64: return "it is a Linux kernel for 64-bit Arm";
    case kernel_kind::riscv64: return "it is a Linux kernel for 64-bit RISC-V";
    case kernel_kind::self_extracting:
      return "it is an EFI program that unpacks a kernel (CONFIG_EFI_ZBOOT): only firmware starts it";
    case kernel_kind::gzip: return "it is compressed: unpack it with gunzip";
    case kernel_kind::elf: return "it is an ELF file (vmlinux), which has no boot protocol";
  }
  return nullptr;
}

}  // namespace loader
