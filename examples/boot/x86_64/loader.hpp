// SPDX-License-Identifier: MIT
// What the loader of a PC leaves behind: a command line, where ACPI begins, and where there is memory. Each kind of loader has a form of
// its own for that.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace boot {

/// Kinds of loader, with the numbers that start.S gives them.
enum class loader : uint32_t {
    pvh = 1,     // QEMU, Firecracker, Cloud Hypervisor, Alioth
    linux_ = 2,  // the boot protocol of Linux: crosvm, kvmtool, libkrun, GRUB, and QEMU with a bzImage
};
[[nodiscard]] const char* name(loader which);

struct memory_range {
    uint64_t at, size;
};

/// Reads what `which` has left at `data`, once; all of it lies in the first 4 GiB, which are mapped. Returns the command line, never null.
const char* hear_loader(loader which, const void* data);
[[nodiscard]] loader loaded_by();

}  // namespace boot
