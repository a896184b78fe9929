// SPDX-License-Identifier: MIT
// The text screen of a PC, if a BIOS has left one.
#pragma once

#include <stdint.h>

namespace loader {

/// The cursor: the place of the next character.
struct text_screen {
  static constexpr unsigned columns = 80, rows = 25;
  bool is_there = false;
  uint8_t column = 0, row = 0;
};
[[nodiscard]] text_screen find_text_screen();

}  // namespace loader
