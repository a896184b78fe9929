// SPDX-License-Identifier: MIT
// Replaces a boot runtime: calls the example.
extern "C" int guest_main(const char*);
extern "C" [[noreturn]] void _start();

int status;

void _start() {
  status = guest_main("");
  for (;;) asm volatile("hlt");
}
