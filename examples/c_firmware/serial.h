/* SPDX-License-Identifier: MIT
 * Text output to the serial port of QEMU's machines. */
#ifndef SERIAL_H
#define SERIAL_H

#include <stdint.h>

static void put(char c) {
#if defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((unsigned short)0x3f8));
#elif defined(__riscv)
  *(volatile unsigned char*)(uintptr_t)0x10000000 = (unsigned char)c; /* a 16550 */
#elif defined(__aarch64__)
  *(volatile uint32_t*)(uintptr_t)0x9000000 = (unsigned char)c; /* a PL011 */
#endif
}

static void print(const char* text) {
  while (*text != '\0') put(*text++);
}

#endif
