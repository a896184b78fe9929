// SPDX-License-Identifier: MIT
// Two instructions of the processor, a rough clock, and the handover of a PC's loader.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace boot {

/// Pauses briefly, for loops that wait.
inline void pause() { __builtin_ia32_pause(); }

/// Reads the processor's time-stamp counter; its frequency depends on the processor.
[[nodiscard]] inline uint64_t timestamp() { return __builtin_ia32_rdtsc(); }

/// Approximate, for the limits of waits: 2^22 ticks count as a millisecond, which is right at 4.2 GHz. With a slower
/// counter waits last longer, twice as long at 2.1 GHz.
[[nodiscard]] inline uint64_t milliseconds_since(uint64_t began) { return (timestamp() - began) >> 22; }

/// Takes a byte from the serial port, if one has arrived.
[[nodiscard]] bool take(char& out);

/// The address of ACPI's root, the RSDP; 0 if there is none.
[[nodiscard]] uint64_t rsdp();

/// Returns whether any of these bytes is the machine's own memory, by the loader's map; without a map, all below 2 GiB
/// is.
[[nodiscard]] bool is_memory(uint64_t at, uint64_t size);

/// Reads a file of QEMU's configuration device from its start, as much as fits. Returns the number of bytes; 0 without
/// such a device or file.
[[nodiscard]] size_t read_config_file(const char* name, void* to, size_t room);

/// Returns the number of root buses besides bus 0, from QEMU's configuration device; 0 without one.
[[nodiscard]] uint64_t extra_root_buses();

}  // namespace boot
