// SPDX-License-Identifier: MIT
// Two instructions of the processor, a rough clock, and what the loader of a PC hands over.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace boot {

/// Passes a moment, for loops that wait.
inline void pause() { __builtin_ia32_pause(); }

/// Reads the processor's time-stamp counter; its frequency is the processor's affair.
[[nodiscard]] inline uint64_t timestamp() { return __builtin_ia32_rdtsc(); }

/// Approximate, for the bounds of waits: 2^22 ticks are taken for a millisecond, which is right at 4.2 GHz. With a slower counter
/// they last longer, twice as long at 2.1 GHz.
[[nodiscard]] inline uint64_t milliseconds_since(uint64_t began) { return (timestamp() - began) >> 22; }

/// Takes a byte from the serial port, if one has come.
[[nodiscard]] bool take(char& out);

/// Where the loader found ACPI's root, the RSDP; 0 when it found none.
[[nodiscard]] uint64_t rsdp();

/// Whether any of these bytes is the machine's own memory, as the loader says; everything below 2 GiB when it does not say.
[[nodiscard]] bool is_memory(uint64_t at, uint64_t size);

/// Reads a file of QEMU's configuration device from its start, as much as there is room for. Gives the number of bytes; 0 without such a
/// device or file.
[[nodiscard]] size_t read_config_file(const char* name, void* to, size_t room);

/// How many root buses the machine says it has beside bus 0, in QEMU's configuration device; 0 without one.
[[nodiscard]] uint64_t extra_root_buses();

}  // namespace boot
