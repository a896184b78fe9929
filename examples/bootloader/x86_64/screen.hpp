// SPDX-License-Identifier: MIT
// The text screen of a PC, if a BIOS has left one.
#pragma once

#include <stdint.h>

namespace loader {

/// Where the next character appears.
struct text_screen {
  static constexpr unsigned columns = 80, rows = 25;
  bool is_there = false;
  uint8_t column = 0, row = 0;
};
[[nodiscard]] text_screen find_text_screen();

}  // namespace loader
