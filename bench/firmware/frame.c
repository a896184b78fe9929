/* SPDX-License-Identifier: MIT
 * Completes a firmware in C that is linked but never run: the entry point, the two functions of
 * examples/c_firmware/board, and the four memory functions. */
#include <stddef.h>
#include <stdint.h>

int guest_main(const char* command_line);
void _start(void);
uintptr_t firmware_ecam(void);
uint64_t firmware_milliseconds(void);

volatile uintptr_t configuration_space;
volatile uint64_t clock_now;

void _start(void) {
  (void)guest_main("");
  for (;;) {}
}
uintptr_t firmware_ecam(void) { return configuration_space; }
uint64_t firmware_milliseconds(void) { return clock_now; }

void* memcpy(void* to, const void* from, size_t n) {
  volatile unsigned char* out = to;
  const unsigned char* in = from;
  while (n-- != 0) *out++ = *in++;
  return to;
}
void* memmove(void* to, const void* from, size_t n) { return memcpy(to, from, n); } /* linked, never run */
void* memset(void* to, int value, size_t n) {
  volatile unsigned char* out = to;
  while (n-- != 0) *out++ = (unsigned char)value;
  return to;
}
int memcmp(const void* left, const void* right, size_t n) {
  const volatile unsigned char *a = left, *b = right;
  for (; n-- != 0; ++a, ++b)
    if (*a != *b) return *a - *b;
  return 0;
}
