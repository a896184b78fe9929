// SPDX-License-Identifier: MIT
// The handover of a PC's loader: a command line, ACPI's root, and the memory map. Each kind of loader has its own form;
// this header has one form for all.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace boot {

/// Kinds of loader, with the numbers of start.S.
enum class loader : uint32_t {
  pvh = 1,         // QEMU, Firecracker, Cloud Hypervisor, Alioth
  linux_ = 2,      // the boot protocol of Linux: crosvm, kvmtool, libkrun, GRUB, and QEMU with a bzImage
  multiboot1 = 3,  // GRUB's command `multiboot`
  multiboot2 = 4,  // GRUB's command `multiboot2`
};
[[nodiscard]] const char* name(loader which);

/// One range of the memory map. All loaders use ACPI's types (6.5, 15.2): 1 usable, 2 reserved, 3 ACPI tables, 4 ACPI
/// non-volatile storage, 5 unusable.
struct memory_range {
  uint64_t at, size;
  uint32_t type;
};

/// The handover of any loader.
struct handover {
  static constexpr unsigned most_ranges = 128;  // the zero page's limit

  loader by;
  const char* command_line;  // never null
  uint64_t rsdp;             // from the loader, or found in the BIOS's memory; 0: neither
  const void* device_tree;   // null without one
  unsigned ranges;
  memory_range memory[most_ranges];
};

/// Reads the handover of `which` at `data`, once; it must be in the first 4 GiB, which are mapped.
const handover& read_loader(loader which, const void* data);

/// Returns the result of `read_loader`.
[[nodiscard]] const handover& loaded();

/// Returns the name of a type: `usable`, `reserved`, ...
[[nodiscard]] const char* name_of_memory(uint32_t type);

/// Prints a line for each range of the memory map: `memory 0x100000 + 0x7ee0000: usable`.
void print_memory_map();

}  // namespace boot
