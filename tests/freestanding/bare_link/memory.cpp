// SPDX-License-Identifier: MIT
// The four functions that compilers may call implicitly. In an archive, so that only those that are called are linked.
#include <stddef.h>

using byte = unsigned char;

#if defined(MEMCPY)
extern "C" void* memcpy(void* to, const void* from, size_t n) {
  for (size_t i = 0; i < n; ++i) static_cast<volatile byte*>(to)[i] = static_cast<const byte*>(from)[i];
  return to;
}
#elif defined(MEMMOVE)
extern "C" void* memmove(void* to, const void* from, size_t n) {
  volatile byte* const out = static_cast<byte*>(to);
  const byte* const in = static_cast<const byte*>(from);
  if (out < in)
    for (size_t i = 0; i < n; ++i) out[i] = in[i];
  else
    for (size_t i = n; i != 0; --i) out[i - 1] = in[i - 1];
  return to;
}
#elif defined(MEMSET)
extern "C" void* memset(void* to, int value, size_t n) {
  for (size_t i = 0; i < n; ++i) static_cast<volatile byte*>(to)[i] = static_cast<byte>(value);
  return to;
}
#elif defined(MEMCMP)
extern "C" int memcmp(const void* a, const void* b, size_t n) {
  const volatile byte* const x = static_cast<const byte*>(a);
  const volatile byte* const y = static_cast<const byte*>(b);
  for (size_t i = 0; i < n; ++i)
    if (const int difference = x[i] - y[i]; difference != 0) return difference;
  return 0;
}
#endif
