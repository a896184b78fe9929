// SPDX-License-Identifier: MIT
// Interrupts on x86-64, for guests that sleep: the local APIC for MSI-X and a tick, the two old controllers (PIC) for
// interrupt lines. Interrupts are on only while the processor sleeps, so the program and its handlers never run at
// once.
#pragma once

#include <stdint.h>

namespace boot {

/// The address and the data that a device writes to interrupt this processor.
struct interrupt_message {
  uint64_t address;
  uint32_t data;
};

/// The number of messages for devices: 0 to 7.
inline constexpr unsigned interrupt_messages = 8;

using interrupt_handler = void (*)();

/// Sets up the interrupt controllers: every line masked, a tick about a hundred times a second. Call it once, first.
void interrupts_begin();

/// Calls `handler` for each interrupt by message `number`. Returns the message for the device.
interrupt_message on_message(unsigned number, interrupt_handler handler);

/// Calls `handler` for each interrupt on a line of the PIC, 0 to 15, and unmasks it. A PCI device's line is in
/// configuration space (offset 0x3c), written by the firmware. The handler must acknowledge the device, which deasserts
/// the line.
void on_line(unsigned line, interrupt_handler handler);

/// Turns the tick off, or on again.
void tick(bool on);

/// Sleeps until an interrupt has been handled, a device's or the tick. An interrupt that arrived while interrupts were
/// off is taken at once: `sti` takes effect only after `hlt` has begun, so none is lost between them.
inline void sleep_until_interrupt() { asm volatile("sti; hlt; cli" ::: "memory"); }

}  // namespace boot
