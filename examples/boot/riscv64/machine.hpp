// SPDX-License-Identifier: MIT
// What the device tree says of the machine, and two instructions of the processor, and its clock.
#pragma once

#include "machine_tree.hpp"

namespace boot {

/// Filled before guest_main is called.
extern machine_description machine;

/// The tree itself, empty when there is none.
[[nodiscard]] device_tree the_tree();

/// Where the image was entered: as the machine starts, or behind firmware that has the machine's own level and is called (SBI).
enum class privilege : uint8_t { machine, supervisor };
[[nodiscard]] privilege level();

/// Whether the processor can have registers there: it has 56 bits of physical addresses at most. Nothing is mapped, so that is all.
[[nodiscard]] constexpr bool reach_registers(range of) {
    constexpr uint64_t end = uint64_t{1} << 56;
    return of.size != 0 && of.size <= end && of.base <= end - of.size;
}

/// Passes a moment, for loops that wait: `pause` of Zihintpause, which every processor has in it as a fence that orders nothing.
inline void pause() { asm volatile(".word 0x0100000f" ::: "memory"); }

/// Reads the clock; the tree says how often it ticks.
[[nodiscard]] inline uint64_t timestamp() {
    uint64_t now;
    asm volatile("rdtime %0" : "=r"(now) : : "memory");
    return now;
}

/// Without a frequency in the tree all the time in the world is over.
[[nodiscard]] inline uint64_t milliseconds_since(uint64_t began) {
    return machine.clock_frequency == 0 ? ~uint64_t{0} : (timestamp() - began) * 1000 / machine.clock_frequency;
}

/// Takes a byte from the console, if one has come.
[[nodiscard]] bool take(char& out);

/// Switches the machine off by SBI, and starts it anew by SBI or the test finisher; where that is not possible they return.
void switch_off();
void reset();

}  // namespace boot
