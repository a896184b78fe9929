// SPDX-License-Identifier: MIT
// The machine's description from the device tree, two instructions of the processor, and its clock.
#pragma once

#include "machine_tree.hpp"

namespace boot {

/// Filled before guest_main is called. Mapped: all memory, and all registers except PCI's BARs.
extern machine_description machine;

/// The tree itself, empty if there is none.
[[nodiscard]] device_tree the_tree();
/// The tree's memory; size 0 if there is none.
[[nodiscard]] range tree_place();

/// Pauses briefly, for loops that wait.
inline void pause() { asm volatile("yield" ::: "memory"); }

/// Reads the virtual counter; its frequency depends on the machine.
[[nodiscard]] inline uint64_t timestamp() {
  uint64_t now;
  asm volatile("isb; mrs %0, cntvct_el0" : "=r"(now) : : "memory");
  return now;
}

[[nodiscard]] inline uint64_t milliseconds_since(uint64_t began) {
  uint64_t ticks_per_second;
  asm("mrs %0, cntfrq_el0" : "=r"(ticks_per_second));
  return (timestamp() - began) * 1000 / ticks_per_second;
}

/// Takes a byte from the console, if one has arrived.
[[nodiscard]] bool take(char& out);

/// Restarts the machine by PSCI; returns if it cannot.
void reset();

}  // namespace boot
