// SPDX-License-Identifier: MIT
// What the device tree says of the machine, and two instructions of the processor, and its clock.
#pragma once

#include "machine_tree.hpp"

namespace boot {

/// Filled before guest_main is called, and mapped: all memory, and the registers of everything but PCI's BARs.
extern machine_description machine;

/// The tree itself, empty when there is none.
[[nodiscard]] device_tree the_tree();
/// Where it is; size 0 when there is none.
[[nodiscard]] range tree_place();

/// Passes a moment, for loops that wait.
inline void pause() { asm volatile("yield" ::: "memory"); }

/// Reads the virtual counter; its frequency is the machine's affair.
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

/// Takes a byte from the console, if one has come.
[[nodiscard]] bool take(char& out);

/// Starts the machine anew: by PSCI, or not at all.
void reset();

}  // namespace boot
