// SPDX-License-Identifier: MIT
// The functions that a 32-bit compiler calls to divide 64-bit numbers; usually its own library has them. The drivers do
// not divide.
#include <stdint.h>

namespace {

struct quotient {
  uint64_t whole, rest;
};

// Bit by bit. Division by zero gives zeros and the number itself.
quotient divide(uint64_t number, uint64_t by) {
  quotient out{0, 0};
  for (int bit = 63; bit >= 0; --bit) {
    const bool carry = out.rest >> 63 != 0;
    out.rest = out.rest << 1 | (number >> bit & 1);
    if (by == 0 || (!carry && out.rest < by)) continue;
    out.rest -= by;
    out.whole |= uint64_t{1} << bit;
  }
  return out;
}

}  // namespace

extern "C" {
uint64_t __udivdi3(uint64_t number, uint64_t by) { return divide(number, by).whole; }
uint64_t __umoddi3(uint64_t number, uint64_t by) { return divide(number, by).rest; }
}
