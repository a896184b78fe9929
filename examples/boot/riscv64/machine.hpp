// SPDX-License-Identifier: MIT
// The machine's description from the device tree, two instructions of the processor, and its clock.
#pragma once

#include "machine_tree.hpp"

namespace boot {

/// Filled before guest_main is called.
extern machine_description machine;

/// The tree itself, empty if there is none.
[[nodiscard]] device_tree the_tree();

/// The image's privilege level: machine mode without firmware, supervisor mode under firmware, which it calls by SBI.
enum class privilege : uint8_t { machine, supervisor };
[[nodiscard]] privilege level();

/// Returns whether the processor can address this range: physical addresses have at most 56 bits. There are no page
/// tables.
[[nodiscard]] constexpr bool reach_registers(range of) {
  constexpr uint64_t end = uint64_t{1} << 56;
  return of.size != 0 && of.size <= end && of.base <= end - of.size;
}

/// Pauses briefly, for loops that wait: `pause` of Zihintpause. Other processors execute it as a fence without effect.
inline void pause() { asm volatile(".word 0x0100000f" ::: "memory"); }

/// Reads the clock; its frequency is in the tree.
[[nodiscard]] inline uint64_t timestamp() {
  uint64_t now;
  asm volatile("rdtime %0" : "=r"(now) : : "memory");
  return now;
}

/// Without a frequency in the tree every wait ends at once.
[[nodiscard]] inline uint64_t milliseconds_since(uint64_t began) {
  return machine.clock_frequency == 0 ? ~uint64_t{0} : (timestamp() - began) * 1000 / machine.clock_frequency;
}

/// Takes a byte from the console, if one has arrived.
[[nodiscard]] bool take(char& out);

/// Switches the machine off by SBI; restarts it by SBI or the test finisher. Both return if the machine cannot do it.
void switch_off();
void reset();

}  // namespace boot
