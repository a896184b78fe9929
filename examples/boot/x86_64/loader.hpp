// SPDX-License-Identifier: MIT
// What the loader of a PC leaves behind: a command line, where ACPI begins, and where there is memory. Each kind of loader has a form of
// its own for that; here they become one.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace boot {

/// Kinds of loader, with the numbers that start.S gives them.
enum class loader : uint32_t {
    pvh = 1,         // QEMU, Firecracker, Cloud Hypervisor, Alioth
    linux_ = 2,      // the boot protocol of Linux: crosvm, kvmtool, libkrun, GRUB, and QEMU with a bzImage
    multiboot1 = 3,  // GRUB's command `multiboot`
    multiboot2 = 4,  // GRUB's command `multiboot2`
};
[[nodiscard]] const char* name(loader which);

/// One range of the memory map. All loaders number the types as ACPI does (6.5, 15.2): 1 usable, 2 reserved, 3 ACPI tables, 4 ACPI
/// non-volatile storage, 5 unusable.
struct memory_range {
    uint64_t at, size;
    uint32_t type;
};

/// What a loader has left, whichever it was.
struct handover {
    static constexpr unsigned most_ranges = 128;  // the zero page has no room for more

    loader by;
    const char* command_line;  // never null
    uint64_t rsdp;             // given by the loader or found where a BIOS leaves it; 0: neither
    const void* device_tree;   // null without one
    unsigned ranges;
    memory_range memory[most_ranges];
};

/// Reads what `which` has left at `data`, once; all of it lies in the first 4 GiB, which are mapped.
const handover& read_loader(loader which, const void* data);

/// Gives what `read_loader` has read.
[[nodiscard]] const handover& loaded();

/// `usable`, `reserved` and so on.
[[nodiscard]] const char* name_of_memory(uint32_t type);

/// Prints a line for each range of the memory map: `memory 0x100000 + 0x7ee0000: usable`.
void print_memory_map();

}  // namespace boot
