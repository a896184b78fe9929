// SPDX-License-Identifier: MIT
// The console of examples/boot for tests on this machine: a string.
#pragma once

#include <cstdio>
#include <string>

#include "../../examples/boot/common/runtime.hpp"

namespace boot {

inline std::string console;

inline void put(char c) { console += c; }
inline void put(const char* words) { console += words; }
inline void put(text words) { console.append(words.data, words.size); }
inline void put(long long n) { console += std::to_string(n); }
inline void put(unsigned long long n) { console += std::to_string(n); }
inline void put(hex n) {
  char digits[19];
  std::snprintf(digits, sizeof digits, "0x%llx", static_cast<unsigned long long>(n.value));
  console += digits;
}

}  // namespace boot
