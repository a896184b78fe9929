// SPDX-License-Identifier: MIT
// The screen and the keyboard of a PC that a BIOS has left in text mode. The loader's output appears on the screen and
// on the serial port, and input comes from the keyboard or the serial port. Without a BIOS, or in another mode, both
// are off.
// The linker substitutes these functions for `boot::put` and `boot::take` (--wrap), so other guests do not contain
// them.
#include "screen.hpp"

#include "../../boot/common/runtime.hpp"

namespace {

using loader::text_screen;

uint8_t in8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}
void out8(uint16_t port, uint8_t value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

// Reads a byte of the BIOS data area, by an address that compilers treat as an offset from a null pointer.
uint8_t bios_data(uintptr_t at) {
  asm("" : "+r"(at));
  return *reinterpret_cast<const volatile uint8_t*>(at);
}

class screen {
 public:
  [[nodiscard]] text_screen state() {
    if (!known_) open();
    return at_;
  }

  void put(char c) {
    if (!state().is_there) return;
    if (c == '\r') {
      at_.column = 0;
    } else if (c != '\n') {
      const unsigned cell = at_.row * text_screen::columns + at_.column++;
      cells_[cell] = static_cast<uint16_t>(blank & 0xff00) | static_cast<uint8_t>(c);
      memory()[cell] = cells_[cell];
    }
    if (c != '\n' && at_.column < text_screen::columns) return;
    at_.column = 0;
    if (at_.row + 1u < text_screen::rows) ++at_.row;
    else scroll();
    show_cursor();
  }

 private:
  static constexpr uint16_t blank = 0x0720;  // grey on black

  static volatile uint16_t* memory() {
    uintptr_t at = 0xb8000;
    asm("" : "+r"(at));
    return reinterpret_cast<volatile uint16_t*>(at);
  }
  void open() {
    known_ = true;
    at_.is_there =
        bios_data(0x449) == 3 && bios_data(0x44a) == text_screen::columns && bios_data(0x484) == text_screen::rows - 1;
    at_.column = bios_data(0x450);
    at_.row = bios_data(0x451);
    if (at_.column >= text_screen::columns || at_.row >= text_screen::rows) at_.column = at_.row = 0;
    for (unsigned i = 0; at_.is_there && i < cells; ++i) cells_[i] = memory()[i];
  }
  // Reading the screen's memory takes long in a virtual machine, so there is a copy.
  void scroll() {
    constexpr unsigned kept = cells - text_screen::columns;
    __builtin_memmove(cells_, cells_ + text_screen::columns, kept * sizeof *cells_);
    for (unsigned i = kept; i < cells; ++i) cells_[i] = blank;
    for (unsigned i = 0; i < cells; ++i) memory()[i] = cells_[i];
  }
  void show_cursor() const {
    const unsigned cell = at_.row * text_screen::columns + at_.column;
    constexpr uint16_t index = 0x3d4, data = 0x3d5;
    out8(index, 0x0e);
    out8(data, static_cast<uint8_t>(cell >> 8));
    out8(index, 0x0f);
    out8(data, static_cast<uint8_t>(cell));
  }

  static constexpr unsigned cells = text_screen::columns * text_screen::rows;
  text_screen at_{};
  bool known_ = false;
  uint16_t cells_[cells]{};
};

constinit screen the_screen;

// Indexed by codes of set 1, to which the keyboard controller translates. Other keys are blanks: they stop the menu's
// clock.
char key_of(uint8_t code) {
  constexpr const char* keys = "  123456789       e           a dfg           c b";
  constexpr uint8_t enter = 0x1c;
  return code == enter ? '\r' : code < 49 ? keys[code] : ' ';
}

bool take_key(char& out) {
  constexpr uint16_t status_port = 0x64, data_port = 0x60;
  constexpr uint8_t full = 0x01, from_mouse = 0x20, absent = 0xff, released = 0x80, prefix = 0xe0;
  static bool is_prefixed;
  const uint8_t status = in8(status_port);
  if (status == absent || (status & full) == 0) return false;
  const uint8_t code = in8(data_port);
  if ((status & from_mouse) != 0) return false;
  const bool is_second = is_prefixed;
  is_prefixed = code == prefix;
  if ((code & released) != 0) return false;
  out = key_of(code);
  if (is_second && out != '\r') out = ' ';  // the second of two codes, for example of a cursor key
  return true;
}

}  // namespace

namespace loader {

text_screen find_text_screen() { return the_screen.state(); }

}  // namespace loader

// The mangled names of boot::put(char) and boot::take(char&).
extern "C" {
void __real__ZN4boot3putEc(char c);
bool __real__ZN4boot4takeERc(char& out);

void __wrap__ZN4boot3putEc(char c) {
  __real__ZN4boot3putEc(c);
  the_screen.put(c);
}
bool __wrap__ZN4boot4takeERc(char& out) {
  return __real__ZN4boot4takeERc(out) || (the_screen.state().is_there && take_key(out));
}
}
