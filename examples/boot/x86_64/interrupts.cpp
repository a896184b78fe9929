// SPDX-License-Identifier: MIT
#include "interrupts.hpp"

namespace {

// Vectors: 0-31 exceptions, 32-47 the PICs' lines, 48-55 messages, 62 the tick, 63 spurious.
constexpr unsigned first_line = 32, lines = 16, first_message = 48, tick_vector = 62, spurious = 63, vectors = 64;

struct gate {
  uint16_t offset_low, selector, type, offset_middle;
  uint32_t offset_high, reserved;
};

struct [[gnu::packed]] table_pointer {
  uint16_t limit;
  const void* base;
};

gate gates[vectors];
boot::interrupt_handler handlers[vectors];

void out8(uint16_t port, uint8_t value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

uint8_t in8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

// The local APIC's registers, at their usual address.
constexpr uintptr_t apic = 0xfee00000;
constexpr uintptr_t apic_id = 0x20, task_priority = 0x80, end_of_interrupt = 0xb0, spurious_vector = 0xf0,
                    timer = 0x320, line0 = 0x350, timer_count = 0x380, timer_divider = 0x3e0;

volatile uint32_t& apic_register(uintptr_t at) { return *reinterpret_cast<volatile uint32_t*>(apic + at); }

constexpr uint32_t tick_count = 625'000;  // QEMU's timer counts nanoseconds, one in 16 of them here: 10 ms

// The PICs: the second is connected to line 2 of the first.
constexpr uint16_t pic_command[2] = {0x20, 0xa0}, pic_data[2] = {0x21, 0xa1};
constexpr uint8_t second_pic = 2;

}  // namespace

extern "C" {

extern const char boot_interrupt_stubs[];

void boot_interrupt(uint64_t vector) {
  if (vector >= first_line && vector < first_line + lines) {
    if (handlers[vector] != nullptr) handlers[vector]();
    if (vector >= first_line + 8) out8(pic_command[1], 0x20);
    out8(pic_command[0], 0x20);
    return;
  }
  if (vector == spurious) return;  // needs no acknowledgement
  if (handlers[vector] != nullptr) handlers[vector]();
  apic_register(end_of_interrupt) = 0;
}

}  // extern "C"

namespace boot {

void interrupts_begin() {
  // Exceptions keep their handlers.
  table_pointer table;
  asm volatile("sidt %0" : "=m"(table));
  __builtin_memcpy(gates, table.base, 32 * sizeof(gate));
  for (unsigned i = 32; i < vectors; ++i) {
    const auto stub = reinterpret_cast<uintptr_t>(boot_interrupt_stubs) + 16 * (i - 32);
    gates[i] = {.offset_low = static_cast<uint16_t>(stub),
                .selector = 8,
                .type = 0x8e00,  // present, interrupt gate
                .offset_middle = static_cast<uint16_t>(stub >> 16),
                .offset_high = static_cast<uint32_t>(stub >> 32),
                .reserved = 0};
  }
  table = {sizeof gates - 1, gates};
  asm volatile("lidt %0" : : "m"(table));

  // Both PICs are set up again, since their lines would raise exceptions otherwise; all are masked except the second
  // PIC.
  for (unsigned i = 0; i < 2; ++i) {
    out8(pic_command[i], 0x11);  // begin; four words follow
    out8(pic_data[i], static_cast<uint8_t>(first_line + 8 * i));
    out8(pic_data[i], i == 0 ? 1 << second_pic : second_pic);
    out8(pic_data[i], 1);  // 8086 mode
    out8(pic_data[i], i == 0 ? static_cast<uint8_t>(~(1 << second_pic)) : uint8_t{0xff});
  }

  apic_register(task_priority) = 0;
  apic_register(spurious_vector) = 0x100 | spurious;  // on
  apic_register(line0) = 0x700;                       // the PICs' input
  apic_register(timer_divider) = 3;                   // one in 16
  apic_register(timer) = 0x20000 | tick_vector;       // periodic
  tick(true);
}

void tick(bool on) { apic_register(timer_count) = on ? tick_count : 0; }

interrupt_message on_message(unsigned number, interrupt_handler handler) {
  handlers[first_message + number % interrupt_messages] = handler;
  const uint64_t processor = apic_register(apic_id) >> 24;
  return {0xfee00000 | processor << 12, first_message + number % interrupt_messages};
}

void on_line(unsigned line, interrupt_handler handler) {
  handlers[first_line + line % lines] = handler;
  const uint16_t data = pic_data[line % lines / 8];
  out8(data, static_cast<uint8_t>(in8(data) & ~(1u << line % 8)));
}

}  // namespace boot
