// SPDX-License-Identifier: MIT
// Linux on x86-64: the header of a bzImage, and the kernel's zero page.
//
// Format: Linux, Documentation/arch/x86/boot.rst and zero-page.rst, protocol 2.12 and later.
#pragma once

#include <virtio/base/result.hpp>

#include "../../files/number.hpp"
#include "../memory.hpp"

namespace loader {

/// The reason why a file is not started.
enum class kernel_flaw : u8 { none, not_linux, too_old, not_64_bit, cut_short };

[[nodiscard]] constexpr const char* describe(kernel_flaw f) {
  switch (f) {
    case kernel_flaw::none: return "nothing";
    case kernel_flaw::not_linux: return "it is no Linux kernel for x86 (no bzImage)";
    case kernel_flaw::too_old: return "its boot protocol is older than 2.12, of Linux 3.8";
    case kernel_flaw::not_64_bit: return "it has no 64-bit entry: it is for 32-bit processors";
    case kernel_flaw::cut_short: return "the file ends within its setup code";
  }
  return "?";
}

/// The part of a bzImage's header that the loader needs.
struct bzimage {
  static constexpr usize head_bytes = 4096;  // of the file: all that `read` looks at
  static constexpr u64 entry = 0x200;        // of the 64-bit protocol, from the kernel's address

  u32 code_at = 0;  // offset of the kernel proper in the file, a multiple of 512
  u32 code_size = 0;
  u64 preferred = 0;  // address
  u64 alignment = 0;
  u64 memory = 0;      // bytes from its address on that it needs until it has read the memory map
  u64 initrd_end = 0;  // an initrd ends at this address or below
  u32 most_options = 0;
  bool is_relocatable = false;

  [[nodiscard]] static kernel_flaw read(const_bytes head, u64 file_size, bzimage& out) {
    if (head.size() < head_bytes && head.size() < file_size) return kernel_flaw::cut_short;
    if (head.size() < 0x268) return kernel_flaw::not_linux;
    const u8* const h = head.data();
    if (number(h + 0x1fe, 2) != 0xaa55 || __builtin_memcmp(h + 0x202, "HdrS", 4) != 0) return kernel_flaw::not_linux;
    if (number(h + 0x206, 2) < 0x020c) return kernel_flaw::too_old;
    if ((number(h + 0x236, 2) & 1) == 0) return kernel_flaw::not_64_bit;
    const u32 sectors = h[0x1f1] == 0 ? 4 : h[0x1f1];
    out.code_at = (sectors + 1) * 512;
    if (file_size <= out.code_at + entry || file_size > 0x8000'0000) return kernel_flaw::cut_short;
    out.code_size = static_cast<u32>(file_size) - out.code_at;
    out.preferred = long_number(h + 0x258);
    out.alignment = number(h + 0x230, 4);
    if (out.alignment < 4096 || (out.alignment & (out.alignment - 1)) != 0) return kernel_flaw::not_linux;
    out.memory = number(h + 0x260, 4);
    if (out.memory < out.code_size) out.memory = out.code_size;
    out.initrd_end = u64{number(h + 0x22c, 4)} + 1;
    out.most_options = number(h + 0x238, 4);
    out.is_relocatable = h[0x234] != 0;
    return kernel_flaw::none;
  }

  /// Takes a place for it that ends at `below` or before, with `more` bytes after its memory. A kernel that was loaded
  /// below its preferred address moves itself there (boot.rst, init_size), so the place is never below. Error:
  /// `no_space`.
  [[nodiscard]] result<u64> place(loader::memory& free, u64 more, u64 below) const {
    const u64 size = memory + more;
    if (preferred % alignment == 0 && preferred <= below && size <= below - preferred &&
        free.is_free(preferred, size)) {
      free.take(preferred, size);
      return preferred;
    }
    if (!is_relocatable) return errc::no_space;
    constexpr u64 lowest = 1 << 20;
    return free.take_lowest(size, alignment, preferred < lowest ? lowest : preferred, below);
  }
};

/// The page with the kernel's parameters. Zero at first.
class zero_page {
 public:
  static constexpr unsigned most_ranges = 128;

  /// `head` is the beginning of the file, as `bzimage::read` takes it.
  void begin(const_bytes head) {
    __builtin_memset(page_, 0, sizeof page_);
    const u8* const h = head.data();
    const usize end = 0x202 + h[0x201];  // the jump before the header leads to its end
    __builtin_memcpy(page_ + 0x1f1, h + 0x1f1, end < 0x290 ? end - 0x1f1 : 0x290 - 0x1f1);
    page_[0x210] = 0xff;   // a loader without an assigned number
    page_[0x211] |= 0x01;  // loaded high
  }
  /// Describes the screen: text mode 3, of 80 by 25 characters, and the cursor's place.
  void put_text_screen(u8 column, u8 row) {
    page_[0x000] = column;
    page_[0x001] = row;
    page_[0x006] = 3;
    page_[0x007] = 80;
    page_[0x00e] = 25;
    page_[0x00f] = 1;   // a VGA
    page_[0x010] = 16;  // lines of a character
  }
  void put_root_of_acpi(u64 at) { put_number(page_ + 0x070, at, 8); }
  void put_options(u64 at) { put_split(at, 0x228, 0x0c8); }
  void put_initrd(u64 at, u64 size) {
    put_split(at, 0x218, 0x0c0);
    put_split(size, 0x21c, 0x0c4);
  }
  /// Adds a range of the memory map; types as in ACPI. Ranges after `most_ranges` are dropped.
  void add_range(u64 at, u64 size, u32 type) {
    if (page_[0x1e8] == most_ranges) return;
    u8* const to = page_ + 0x2d0 + 20 * page_[0x1e8]++;
    put_number(to, at, 8);
    put_number(to + 8, size, 8);
    put_number(to + 16, type, 4);
  }
  [[nodiscard]] const u8* data() const { return page_; }

 private:
  void put_split(u64 value, unsigned low, unsigned high) {
    put_number(page_ + low, value, 4);
    put_number(page_ + high, value >> 32, 4);
  }
  alignas(4096) u8 page_[4096];
};
static_assert(sizeof(zero_page) == 4096);

}  // namespace loader
