// SPDX-License-Identifier: MIT
// Linux on x86-64: the place of its parts, and the jump. The machine's description from this program's loader is passed
// on.
#pragma once

#include "../../boot/x86_64/loader.hpp"
#include "../memory.hpp"
#include "../other_kernels.hpp"
#include "bzimage.hpp"
#include "screen.hpp"

extern "C" {
[[noreturn]] void boot_enter_linux(uint64_t entry, const void* zero_page);
extern const char boot_zeros_end[];  // the end of this program
}

namespace loader {

/// The name that boot entries have for this processor.
inline const_bytes architecture() { return text("x64"); }

class kernel {
 public:
  static constexpr usize head_bytes = bzimage::head_bytes;

  /// Reads the first `head_bytes` of the file. Returns null, or what is wrong with it.
  [[nodiscard]] const char* open(const_bytes head, u64 file_size) {
    const kernel_flaw wrong = bzimage::read(head, file_size, image_);
    if (const char* const other = describe(kind_of(head)); wrong == kernel_flaw::not_linux && other != nullptr)
      return other;
    if (wrong != kernel_flaw::none) return describe(wrong);
    page_.begin(head);
    return nullptr;
  }
  /// The part of the file that is loaded: its offset, and its size in bytes.
  [[nodiscard]] u32 code_at() const { return image_.code_at; }
  [[nodiscard]] u32 code_size() const { return image_.code_size; }

  /// Finds a place for the kernel. Error: `no_space`.
  [[nodiscard]] result<u8*> place() {
    free_ = {};  // an entry that failed may have taken a part
    const boot::handover& machine = boot::loaded();
    constexpr u32 usable = 1;
    for (unsigned i = 0; i < machine.ranges; ++i)
      if (machine.memory[i].type == usable) free_.add(machine.memory[i].at, machine.memory[i].size);
    for (unsigned i = 0; i < machine.ranges; ++i)
      if (machine.memory[i].type != usable) free_.take(machine.memory[i].at, machine.memory[i].size);
    constexpr u64 image_begin = 4 << 20;
    free_.take(0, 1 << 20);
    free_.take(image_begin, reinterpret_cast<uintptr_t>(boot_zeros_end) - image_begin);
    // GRUB's multiboot2 puts it into usable memory above 1 MiB, and it is read again for the next entry if this one
    // fails.
    free_.take(reinterpret_cast<uintptr_t>(machine.command_line), text_of(machine.command_line).size() + 1);
    free_.take(machine.rsdp, 36);  // and so is its copy of ACPI's root pointer, which the kernel reads
    VIRTIO_TRY_ASSIGN(at_, image_.place(free_, largest_block, mapped));  // the last block is read whole
    return reinterpret_cast<u8*>(static_cast<uintptr_t>(at_));
  }

  /// Finds a place for all initrds, one after the other. Error: `no_space`.
  [[nodiscard]] result<u8*> place_initrd(u64 size) {
    VIRTIO_TRY_ASSIGN(const u64 at, free_.take_highest(size + largest_block, 4096,
                                                       image_.initrd_end < mapped ? image_.initrd_end : mapped));
    page_.put_initrd(at, size);
    return reinterpret_cast<u8*>(static_cast<uintptr_t>(at));
  }

  [[nodiscard]] u32 most_options() const { return image_.most_options; }

  /// Fills the zero page. Always returns null.
  [[nodiscard]] const char* prepare(const char* options) {
    const boot::handover& machine = boot::loaded();
    for (unsigned i = 0; i < machine.ranges; ++i)
      page_.add_range(machine.memory[i].at, machine.memory[i].size, machine.memory[i].type);
    page_.put_root_of_acpi(machine.rsdp);
    page_.put_options(reinterpret_cast<uintptr_t>(options));
    if (const text_screen screen = find_text_screen(); screen.is_there)
      page_.put_text_screen(screen.column, screen.row);
    return nullptr;
  }

  /// Starts the kernel. No device may be active.
  [[noreturn]] void start() { boot_enter_linux(at_ + bzimage::entry, page_.data()); }

 private:
  static constexpr u64 largest_block = 4096;   // of a disk; partitions.hpp rejects larger ones
  static constexpr u64 mapped = u64{1} << 32;  // by start.S, on every processor

  bzimage image_{};
  zero_page page_{};
  memory free_{};
  u64 at_ = 0;
};

}  // namespace loader
