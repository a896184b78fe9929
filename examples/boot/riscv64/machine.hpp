// SPDX-License-Identifier: MIT
// What the device tree says of the machine, and two instructions of the processor, and its clock.
#pragma once

#include "machine_tree.hpp"

namespace boot {

/// Filled before guest_main is called.
extern machine_description machine;

/// The tree itself, empty when there is none.
[[nodiscard]] device_tree the_tree();

/// The level that the image runs at: machine mode without firmware, supervisor mode under firmware that it calls by SBI.
enum class privilege : uint8_t { machine, supervisor };
[[nodiscard]] privilege level();

/// Whether the processor can address this: physical addresses have at most 56 bits. Without page tables there is nothing to map.
[[nodiscard]] constexpr bool reach_registers(range of) {
    constexpr uint64_t end = uint64_t{1} << 56;
    return of.size != 0 && of.size <= end && of.base <= end - of.size;
}

/// Passes a moment, for loops that wait: `pause` of Zihintpause. Processors without it execute the encoding as a fence that orders nothing.
inline void pause() { asm volatile(".word 0x0100000f" ::: "memory"); }

/// Reads the clock, whose frequency is in the tree.
[[nodiscard]] inline uint64_t timestamp() {
    uint64_t now;
    asm volatile("rdtime %0" : "=r"(now) : : "memory");
    return now;
}

/// Without a frequency in the tree every wait is over at once.
[[nodiscard]] inline uint64_t milliseconds_since(uint64_t began) {
    return machine.clock_frequency == 0 ? ~uint64_t{0} : (timestamp() - began) * 1000 / machine.clock_frequency;
}

/// Takes a byte from the console, if one has come.
[[nodiscard]] bool take(char& out);

/// Switches the machine off by SBI; starts it anew by SBI or the test finisher. Both return when the machine has no such way.
void switch_off();
void reset();

}  // namespace boot
