// SPDX-License-Identifier: MIT
// Device trees for tests, written byte by byte.
// Format: Devicetree Specification 0.4, chapter 5.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// A flattened device tree under construction.
class tree_blob {
 public:
  void begin(std::string_view name) {
    cell(structure_, 1);
    structure_.append(name).push_back('\0');
    fill(structure_);
  }
  void end() { cell(structure_, 2); }
  void property(std::string_view name, std::string_view value) {
    cell(structure_, 3);
    cell(structure_, value.size());
    cell(structure_, strings_.size());
    structure_.append(value);
    fill(structure_);
    strings_.append(name).push_back('\0');
  }
  void reserve(std::uint64_t at, std::uint64_t size) {
    number(reservations_, at);
    number(reservations_, size);
  }
  /// The tree, at a multiple of 8.
  [[nodiscard]] std::vector<std::uint64_t> finish() const {
    std::string reservations = reservations_, structure = structure_, out;
    number(reservations, 0);
    number(reservations, 0);
    cell(structure, 9);
    const std::uint64_t first = 40, second = first + reservations.size(), third = second + structure.size();
    for (const std::uint64_t one :
         {std::uint64_t{0xd00dfeed}, third + strings_.size(), second, third, first, std::uint64_t{17},
          std::uint64_t{16}, std::uint64_t{0}, std::uint64_t{strings_.size()}, std::uint64_t{structure.size()}})
      cell(out, one);
    out += reservations + structure + strings_;
    std::vector<std::uint64_t> words((out.size() + 7) / 8);
    std::memcpy(words.data(), out.data(), out.size());
    return words;
  }
  static std::string cells(std::uint64_t value) {
    std::string out;
    number(out, value);
    return out;
  }

 private:
  static void cell(std::string& to, std::uint64_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<char>(value >> shift));
  }
  static void number(std::string& to, std::uint64_t value) {
    cell(to, value >> 32);
    cell(to, value & 0xffffffff);
  }
  static void fill(std::string& to) { to.resize((to.size() + 3) / 4 * 4); }

  std::string reservations_, structure_, strings_;
};
