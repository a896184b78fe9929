// SPDX-License-Identifier: MIT
// What the device tree says of the machine, and two instructions of the processor, and its clock.
#pragma once

#include "device_tree.hpp"

namespace boot {

/// Where things are; sizes of 0 for what the machine has not. Filled before guest_main is called.
struct machine_description {
    static constexpr size_t most_slots = 64;

    range slots[most_slots];  // virtio-mmio, in the tree's order
    size_t slot_count;
    range ecam;               // PCI configuration space
    range pci_ports;          // where the CPU finds I/O ports, from 0 on
    range pci_memory;         // for BARs below 4 GiB; bus addresses are the CPU's
    range pci_high_memory;    // for 64-bit BARs
    range console;            // a PL011
};
extern machine_description machine;

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

}  // namespace boot
