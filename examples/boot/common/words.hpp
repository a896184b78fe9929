// SPDX-License-Identifier: MIT
// The words of a command line. It reads only the line, so it runs anywhere.
#pragma once

#include <stddef.h>

namespace boot {

// A range of characters, not terminated; `data` is null if there is none.
struct text {
  const char* data{};
  size_t size{};

  [[nodiscard]] constexpr explicit operator bool() const { return data != nullptr; }
  [[nodiscard]] constexpr bool operator==(const char* other) const {
    size_t i = 0;
    while (i < size && other[i] != '\0' && other[i] == data[i]) ++i;
    return i == size && other[i] == '\0';
  }
};

/// Calls `visit(word)` for each word of a terminated line. Spaces, tabs and ends of lines separate words; quotes are
/// ordinary characters.
template <class Visit>
constexpr void each_word(const char* line, Visit&& visit) {
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (*line != '\0') {
    const char* const word = line;
    while (*line != '\0' && !is_space(*line)) ++line;
    if (line != word) visit(text{word, static_cast<size_t>(line - word)});
    while (is_space(*line)) ++line;
  }
}

/// Returns the value of the last word `key=value` of a line, or no text.
[[nodiscard]] constexpr text option_in(const char* line, const char* key) {
  text found;
  each_word(line, [&](text word) {
    size_t i = 0;
    while (key[i] != '\0' && i < word.size && word.data[i] == key[i]) ++i;
    if (key[i] == '\0' && i < word.size && word.data[i] == '=') found = {word.data + i + 1, word.size - i - 1};
  });
  return found;
}

}  // namespace boot
