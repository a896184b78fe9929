// SPDX-License-Identifier: MIT
// The C library's functions that libfdt calls, except those that every guest has (examples/boot).
#include <stddef.h>

extern "C" {

size_t strnlen(const char* s, size_t most) {
  size_t n = 0;
  while (n < most && s[n] != '\0') ++n;
  return n;
}
size_t strlen(const char* s) { return strnlen(s, ~size_t{0}); }

void* memchr(const void* in, int c, size_t n) {
  const auto* at = static_cast<const unsigned char*>(in);
  for (; n != 0; --n, ++at)
    if (*at == static_cast<unsigned char>(c)) return const_cast<unsigned char*>(at);
  return nullptr;
}

char* strrchr(const char* s, int c) {
  const char* last = nullptr;
  for (;; ++s) {
    if (*s == static_cast<char>(c)) last = s;
    if (*s == '\0') return const_cast<char*>(last);
  }
}

}  // extern "C"
