// SPDX-License-Identifier: MIT
// What surrounds the counted program and is not counted: the entry point, and the four functions that compilers call.
#include <stddef.h>
#include <stdint.h>

extern "C" {

int read_sector(uint64_t sector, unsigned char* to);
unsigned char sector_buffer[512];

[[noreturn]] void frame_start() {
  (void)read_sector(0, sector_buffer);
  for (;;) asm volatile("hlt");
}

void* memcpy(void* to, const void* from, size_t n) {
  void* const result = to;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
  return result;
}
void* memmove(void* to, const void* from, size_t n) { return memcpy(to, from, n); }  // never run, only linked
void* memset(void* to, int value, size_t n) {
  void* const result = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  return result;
}
int memcmp(const void*, const void*, size_t) { return 0; }
}
