// SPDX-License-Identifier: MIT
// The C library's functions that lwIP calls, except those that every guest has (examples/boot). They meet the standard.
#include <stdarg.h>
#include <stddef.h>

extern "C" {

size_t strlen(const char* s) {
  size_t n = 0;
  while (s[n] != '\0') ++n;
  return n;
}

int strncmp(const char* left, const char* right, size_t n) {
  for (; n != 0; --n, ++left, ++right) {
    if (*left != *right) return static_cast<unsigned char>(*left) - static_cast<unsigned char>(*right);
    if (*left == '\0') return 0;
  }
  return 0;
}
int strcmp(const char* left, const char* right) { return strncmp(left, right, ~size_t{0}); }

char* strchr(const char* s, int c) {
  for (; *s != static_cast<char>(c); ++s)
    if (*s == '\0') return nullptr;
  return const_cast<char*>(s);
}
char* strstr(const char* s, const char* part) {
  const size_t n = strlen(part);
  for (;; ++s) {
    if (strncmp(s, part, n) == 0) return const_cast<char*>(s);
    if (*s == '\0') return nullptr;
  }
}

int atoi(const char* s) {
  const bool is_negative = *s == '-';
  if (is_negative) ++s;
  int n = 0;
  for (; *s >= '0' && *s <= '9' && n <= (2147483647 - 9) / 10; ++s) n = n * 10 + (*s - '0');
  return is_negative ? -n : n;
}

int snprintf(char* to, size_t size, const char* format, ...) {
  size_t n = 0;  // the full length
  const auto put = [&](char c) {
    if (n + 1 < size) to[n] = c;
    ++n;
  };
  va_list arguments;
  va_start(arguments, format);
  for (; *format != '\0'; ++format) {
    if (*format != '%') {
      put(*format);
    } else if (*++format == 's') {
      for (const char* s = va_arg(arguments, const char*); *s != '\0'; ++s) put(*s);
    } else {
      const int number = va_arg(arguments, int);
      char digits[10];
      size_t count = 0;
      unsigned rest = number < 0 ? 0u - static_cast<unsigned>(number) : static_cast<unsigned>(number);
      do digits[count++] = static_cast<char>('0' + rest % 10);
      while ((rest /= 10) != 0);
      if (number < 0) put('-');
      while (count != 0) put(digits[--count]);
    }
  }
  va_end(arguments);
  if (size != 0) to[n < size ? n : size - 1] = '\0';
  return static_cast<int>(n);
}

}  // extern "C"
