// SPDX-License-Identifier: MIT
// Linux on 64-bit Arm: the place of its parts, and the jump, at the exception level at which this program was entered.
#pragma once

#include "../../boot/aarch64/machine.hpp"
#include "../../boot/aarch64/pages.hpp"
#include "../memory.hpp"
#include "../other_kernels.hpp"
#include "image.hpp"
#include "tree.hpp"

extern "C" {
/// Cleans memory to the point of coherency, and invalidates its lines.
void boot_clean(const void* at, size_t size);
[[noreturn]] void boot_enter_linux(uint64_t entry, const void* tree);
extern char boot_start[], boot_image_end[];  // of this program
}

namespace loader {

/// The name that boot entries have for this processor.
inline const_bytes architecture() { return text("aa64"); }

class kernel {
 public:
  static constexpr usize head_bytes = arm64_image::head_bytes;

  /// Reads the first `head_bytes` of the file. Returns null, or what is wrong with it.
  [[nodiscard]] const char* open(const_bytes head, u64 file_size) {
    const image_flaw wrong = arm64_image::read(head, file_size, image_);
    initrd_size_ = 0;
    if (wrong == image_flaw::not_linux) {
      const char* const other = describe(kind_of(head));
      return other != nullptr ? other : describe(wrong);
    }
    if (wrong != image_flaw::none) return describe(wrong);
    if (!has_pages_of(image_.page_kib)) return "it has pages of a size that this processor does not have";
    // The list may be incomplete: the loader would overwrite reserved memory that is not in it.
    if (boot::machine.reserved_count == boot::machine_description::most_reserved)
      return "the machine reserves too many pieces of memory";
    return nullptr;
  }
  /// The part of the file that is loaded: its offset, and its size in bytes.
  [[nodiscard]] u32 code_at() const { return 0; }
  [[nodiscard]] u32 code_size() const { return image_.file_size; }

  /// Finds a place for the kernel. Error: `no_space`.
  [[nodiscard]] result<u8*> place() {
    free_ = {};  // an entry that failed may have taken a part
    const boot::machine_description& machine = boot::machine;
    boot::each_mappable(machine, [&](boot::range one) { free_.add(one.base, one.size); });
    for (usize i = 0; i < machine.reserved_count; ++i) free_.take(machine.reserved[i].base, machine.reserved[i].size);
    const boot::range tree = boot::tree_place();
    free_.take(tree.base, tree.size);
    free_.take(machine.dma_pool.base, machine.dma_pool.size);
    const auto begin = reinterpret_cast<uintptr_t>(boot_start);
    free_.take(begin, reinterpret_cast<uintptr_t>(boot_image_end) - begin);
    free_.take(0, 4096);                                                 // reserved for the null pointer
    VIRTIO_TRY_ASSIGN(at_, image_.place(free_, largest_block, mapped));  // the last block is read whole
    return reached(at_, image_.memory + largest_block);
  }

  /// Finds a place for all initrds, one after the other. Error: `no_space`.
  [[nodiscard]] result<u8*> place_initrd(u64 size) {
    VIRTIO_TRY_ASSIGN(initrd_, image_.place_initrd(free_, size + largest_block, at_));
    initrd_size_ = size;
    return reached(initrd_, size + largest_block);
  }

  [[nodiscard]] u32 most_options() const { return 2047; }

  /// Writes the device tree. Returns null, or what is wrong with the machine's tree.
  [[nodiscard]] const char* prepare(const char* options) {
    // Linux maps it in blocks of 2 MiB, and takes no larger one.
    const auto at = free_.take_highest(tree_bytes, tree_bytes, mapped);
    if (!at || !reached(*at, tree_bytes)) return "there is no room in memory for a device tree";
    tree_ = reinterpret_cast<u8*>(static_cast<uintptr_t>(*at));
    const boot::range old = boot::tree_place();
    return write_tree(reinterpret_cast<const void*>(static_cast<uintptr_t>(old.base)), static_cast<usize>(old.size),
                      {tree_, tree_bytes}, {options, initrd_, initrd_size_});
  }

  /// Starts the kernel. No device may be active.
  [[noreturn]] void start() {
    clean(at_, image_.memory);
    clean(initrd_, initrd_size_);
    boot_clean(tree_, tree_bytes);
    boot_enter_linux(at_, tree_);
  }

 private:
  static constexpr u64 largest_block = 4096;  // of a disk; partitions.hpp rejects larger ones
  static constexpr u64 mapped = u64{1} << 48;
  static constexpr usize tree_bytes = 2 << 20;

  [[nodiscard]] static bool has_pages_of(u32 kib) {
    u64 features;
    asm("mrs %0, id_aa64mmfr0_el1" : "=r"(features));
    switch (kib) {
      case 4: return (features >> 28 & 15) < 8;
      case 16: return (features >> 20 & 15) != 0;
      case 64: return (features >> 24 & 15) < 8;
      default: return true;
    }
  }
  // Maps memory that the start code has not mapped. It fails beyond the processor's addresses, which a wrong tree may
  // list.
  [[nodiscard]] static result<u8*> reached(u64 at, u64 size) {
    constexpr u64 page = 4096;
    if (!boot::map_memory({at & ~(page - 1), (at % page + size + page - 1) & ~(page - 1)})) return errc::no_space;
    return reinterpret_cast<u8*>(static_cast<uintptr_t>(at));
  }
  static void clean(u64 at, u64 size) {
    boot_clean(reinterpret_cast<const void*>(static_cast<uintptr_t>(at)), static_cast<usize>(size));
  }

  arm64_image image_{};
  memory free_{};
  u64 at_ = 0, initrd_ = 0, initrd_size_ = 0;
  u8* tree_ = nullptr;
};

}  // namespace loader
