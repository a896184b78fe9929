// SPDX-License-Identifier: MIT
// Interrupts on x86-64, for guests that want to sleep: the local APIC for MSI-X and a tick, the two old controllers (PIC) for
// interrupt lines. Interrupts are off but while the processor sleeps, so the program and its handlers never run at once.
#pragma once

#include <stdint.h>

namespace boot {

/// What a device must write, and where, to interrupt this processor.
struct interrupt_message {
    uint64_t address;
    uint32_t data;
};

/// How many messages there are for devices: numbers 0 to 7.
inline constexpr unsigned interrupt_messages = 8;

using interrupt_handler = void (*)();

/// Takes over the interrupt controllers: every line masked, a tick about a hundred times a second. Once, before the others.
void interrupts_begin();

/// Calls `handler` for each interrupt by message `number`, and gives the message for the device.
interrupt_message on_message(unsigned number, interrupt_handler handler);

/// Calls `handler` for each interrupt on a line of the PIC, 0 to 15, and unmasks it. PCI devices keep theirs in configuration
/// space (offset 0x3c), where the firmware wrote it. The handler must quiet its device: the line stays up until then.
void on_line(unsigned line, interrupt_handler handler);

/// Turns the tick off, or on again.
void tick(bool on);

/// Sleeps until an interrupt has been handled, a device's or the tick. One that arrived before, while interrupts were off, is
/// taken at once: between `sti` and `hlt` none can slip through.
inline void sleep_until_interrupt() { asm volatile("sti; hlt; cli" ::: "memory"); }

}  // namespace boot
