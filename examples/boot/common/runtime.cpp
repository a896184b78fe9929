// SPDX-License-Identifier: MIT
// Output and the command line, for every processor; and memcmp, which compilers call implicitly.
#include "runtime.hpp"

extern "C" [[gnu::weak]] void boot_prepare_board();  // a board.hpp's optional preparation

namespace {

const char* arguments = nullptr;

void put_digits(uint64_t value, unsigned base) {
  char digits[20];
  unsigned n = 0;
  do {
    digits[n++] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value != 0);
  while (n != 0) boot::put(digits[--n]);
}

}  // namespace

namespace boot {

void put(const char* s) {
  while (*s != '\0') put(*s++);
}

void put(text t) {
  for (size_t i = 0; i < t.size; ++i) put(t.data[i]);
}

void put(hex h) {
  put("0x");
  put_digits(h.value, 16);
}

void put(unsigned long long n) { put_digits(n, 10); }

void put(long long n) {
  const auto bits = static_cast<uint64_t>(n);
  if (n < 0) put('-');
  put_digits(n < 0 ? 0 - bits : bits, 10);  // negated unsigned: the smallest number has no positive counterpart
}

void run(const char* given) {
  arguments = given != nullptr ? given : "";
  if (boot_prepare_board != nullptr) boot_prepare_board();
  exit(guest_main(arguments));
}

const char* command_line() { return arguments; }

text option(const char* key) { return option_in(arguments, key); }

}  // namespace boot

extern "C" int memcmp(const void* left, const void* right, size_t n) {
  const auto* a = static_cast<const unsigned char*>(left);
  const auto* b = static_cast<const unsigned char*>(right);
  for (size_t i = 0; i < n; ++i)
    if (a[i] != b[i]) return a[i] - b[i];
  return 0;
}
