// SPDX-License-Identifier: MIT
// Linux on 64-bit Arm: the header of an Image.
//
// Format: Linux, Documentation/arm64/booting.rst, of Linux 3.17 and later.
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/config.hpp>

#include "../../files/number.hpp"
#include "../memory.hpp"

namespace loader {

/// The reason why an Image is not started.
enum class image_flaw : u8 { none, not_linux, too_old, big_endian, bad_size };

[[nodiscard]] constexpr const char* describe(image_flaw f) {
  switch (f) {
    case image_flaw::none: return "nothing";
    case image_flaw::not_linux: return "it is no Linux kernel for 64-bit Arm (no Image)";
    case image_flaw::too_old: return "its header has no size, as before Linux 3.17";
    case image_flaw::big_endian: return "it is a big-endian kernel";
    case image_flaw::bad_size: return "its header has an invalid offset or size";
  }
  return "?";
}

/// The part of an Image's header that the loader needs.
struct arm64_image {
  static constexpr usize head_bytes = 4096;  // of the file: `read` looks at 64 of them, `kind_of` at more
  static constexpr u64 alignment = 2 << 20;  // of the address that `offset` counts from

  u32 file_size = 0;
  u64 offset = 0;    // of the kernel, from a multiple of `alignment`
  u64 memory = 0;    // bytes that it needs from its address on; not less than the file has
  u32 page_kib = 0;  // size of its pages; 0: unspecified

  [[nodiscard]] static image_flaw read(const_bytes head, u64 size, arm64_image& out) {
    const u8* const h = head.data();
    if (head.size() < 64 || size < 64 || __builtin_memcmp(h + 56, "ARM\x64", 4) != 0) return image_flaw::not_linux;
    const u64 flags = long_number(h + 24);
    out.offset = long_number(h + 8);
    out.memory = long_number(h + 16);
    if (out.memory == 0) return image_flaw::too_old;
    if ((flags & 1) != 0) return image_flaw::big_endian;
    constexpr u64 most = u64{1} << 32;  // FAT's limit, and larger than any kernel
    if (out.offset >= alignment || out.offset % 4096 != 0 || out.memory > most || size >= most)
      return image_flaw::bad_size;
    out.file_size = static_cast<u32>(size);
    if (out.memory < size) out.memory = size;
    constexpr u32 kib[4] = {0, 4, 16, 64};
    out.page_kib = kib[flags >> 1 & 3];
    return image_flaw::none;
  }

  /// Takes the lowest place for it, with `more` bytes after those that it needs. Before Linux 4.6 (bit 3 of the flags
  /// is 0) a kernel does not use the memory below it, so the lowest place is the best for every kernel. Error:
  /// `no_space`.
  [[nodiscard]] result<u64> place(loader::memory& free, u64 more, u64 below) const {
    VIRTIO_TRY_ASSIGN(const u64 base, free.take_lowest(offset + memory + more, alignment, 0, below));
    return base + offset;
  }

  /// Takes the highest place for initrds of `size` bytes for a kernel at `at`: both have to be in a window of 32 GiB
  /// that begins at a multiple of 1 GiB. Error: `no_space`.
  [[nodiscard]] result<u64> place_initrd(loader::memory& free, u64 size, u64 at) const {
    VIRTIO_TRY_ASSIGN(const u64 initrd, free.take_highest(size, 4096, window_end(at)));
    if (initrd < at && at + memory > window_end(initrd)) return errc::no_space;
    return initrd;
  }

 private:
  [[nodiscard]] static u64 window_end(u64 first) {
    constexpr u64 gib = u64{1} << 30;
    return (first & ~(gib - 1)) + 32 * gib;
  }
};

}  // namespace loader
