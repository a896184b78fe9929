// SPDX-License-Identifier: MIT
// MMIO slots from the words of a command line, `virtio_mmio.device=<size>@<base>:<interrupt>[:<id>]`: Firecracker,
// libkrun and QEMU's microvm without ACPI append one for each device. It does not include the library, and reads only
// the line.
// Spec: virtio 1.4, 4.2.1 leaves the description of slots to the platform; the form is Linux's
// (Documentation/admin-guide/kernel-parameters.txt).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "words.hpp"

namespace boot {

struct mmio_slot {
  uint64_t base{}, size{};
  uint32_t interrupt{};
};

/// The slot of one word; `problem` is null, or a message if the word is invalid.
struct mmio_word {
  mmio_slot slot{};
  const char* problem{};
};

/// Characters to be read once, from the front.
class word_reader {
 public:
  constexpr word_reader(const char* text, size_t size) : at_{text}, left_{size} {}

  [[nodiscard]] constexpr bool is_empty() const { return left_ == 0; }
  constexpr bool take(char wanted) {
    if (left_ == 0 || *at_ != wanted) return false;
    step();
    return true;
  }

  /// Takes a number: decimal, hexadecimal after 0x, octal after 0. Returns false if there is none, or if it has more
  /// than 64 bits.
  constexpr bool number(uint64_t& out) {
    unsigned base = 10;
    const size_t began = left_;
    if (take('0')) {
      base = 8;
      if (left_ > 1 && lower(*at_) == 'x' && digit(at_[1]) < 16) {
        step();
        base = 16;
      }
    }
    out = 0;
    for (; left_ != 0 && digit(*at_) < base; step()) {
      const unsigned next = digit(*at_);
      if (out > (~uint64_t{0} - next) / base) return false;
      out = out * base + next;
    }
    return left_ != began;
  }

  /// Takes K, M, G, T, P or E, of either case, as a power of 1024. Returns false if the product has more than 64
  /// bits.
  constexpr bool scale(uint64_t& value) {
    constexpr char units[] = "kmgtpe";
    for (unsigned i = 0; left_ != 0 && units[i] != '\0'; ++i) {
      if (lower(*at_) != units[i]) continue;
      step();
      const unsigned bits = 10 * (i + 1);
      if (value >> (64 - bits) != 0) return false;
      value <<= bits;
      break;
    }
    return true;
  }

 private:
  static constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
  static constexpr unsigned digit(char c) {
    c = lower(c);
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    return c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a' + 10) : 99;
  }
  constexpr void step() {
    ++at_;
    --left_;
  }

  const char* at_;
  size_t left_;
};

/// Parses the text after the `=`.
[[nodiscard]] constexpr mmio_word parse_mmio_word(const char* text, size_t size) {
  constexpr uint64_t registers = 0x100;  // offset of the device's configuration
  word_reader rest{text, size};
  mmio_word out;
  mmio_slot& slot = out.slot;
  uint64_t interrupt = 0, id = 0;
  if (!rest.number(slot.size) || !rest.scale(slot.size)) out.problem = "no size in front";
  else if (!rest.take('@') || !rest.number(slot.base)) out.problem = "no @ and address behind the size";
  else if (!rest.take(':') || !rest.number(interrupt) || interrupt > 0xffffffff)
    out.problem = "no : and interrupt behind the address";
  else if (rest.take(':') && (!rest.number(id) || id > 0x7fffffff)) out.problem = "no number behind the second :";
  else if (!rest.is_empty()) out.problem = "something is left at the end";
  else if (slot.size < registers) out.problem = "smaller than the registers of a slot, 256 bytes";
  else if (slot.base % 4 != 0) out.problem = "the address is no multiple of 4";
  else if (slot.base + (slot.size - 1) < slot.base) out.problem = "it reaches past the last address";
  slot.interrupt = static_cast<uint32_t>(interrupt);
  return out;
}

/// Calls `visit(text, size)` with the text after the `=` of each `virtio_mmio.device=` of a command line, in the line's
/// order. As in Linux, a - in the name is an underscore.
template <class Visit>
constexpr void each_mmio_word(const char* line, Visit&& visit) {
  constexpr char name[] = "virtio_mmio.device=";
  constexpr size_t length = sizeof name - 1;
  each_word(line, [&](text word) {
    size_t same = 0;
    while (same < length && same < word.size &&
           (word.data[same] == name[same] || (name[same] == '_' && word.data[same] == '-')))
      ++same;
    if (same == length) visit(word.data + same, word.size - same);
  });
}

/// Slots from any source; they do not overlap.
struct slot_list {
  static constexpr size_t most = 64;

  mmio_slot slots[most]{};
  size_t count{};

  /// Returns null if the slot was added, otherwise the reason why not.
  constexpr const char* add(const mmio_slot& one) {
    for (size_t i = 0; i < count; ++i)
      if (one.base <= slots[i].base + (slots[i].size - 1) && slots[i].base <= one.base + (one.size - 1))
        return "another slot is there";
    if (count == most) return "there is no room for more slots";
    slots[count++] = one;
    return nullptr;
  }
};

}  // namespace boot
