// SPDX-License-Identifier: MIT
// The same program linked with nothing, neither a C library nor start code, so that it also runs where the target has
// no library: 32 bits on a 64-bit machine. It uses two system calls of Linux, to write and to end.
#include "disk.hpp"

namespace {

long ask_linux(long what, long a, const void* b, virtio::usize c) {
  long result;
#if defined(__x86_64__)
  asm volatile("syscall" : "=a"(result) : "a"(what), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
#else
  asm volatile("int $0x80" : "=a"(result) : "a"(what), "b"(a), "c"(b), "d"(c) : "memory");
#endif
  return result;
}

constexpr long write_call = sizeof(void*) == 8 ? 1 : 4;
constexpr long exit_call = sizeof(void*) == 8 ? 60 : 1;

void say(const char* text) {
  virtio::usize length = 0;
  while (text[length] != '\0') ++length;
  (void)ask_linux(write_call, 1, text, length);
}

}  // namespace

extern "C" [[noreturn]] void begin() {
  const char* const wrong = memory_disk::drive();
  say("virtio " EXPECTED_VERSION ": ");
  say(wrong != nullptr ? wrong : "wrote and read back");
  say("\n");
  for (;;) (void)ask_linux(exit_call, wrong != nullptr, nullptr, 0);
}

// Linux aligns the stack; a call gives it the alignment that a function expects.
asm(".globl _start\n_start: call begin");
