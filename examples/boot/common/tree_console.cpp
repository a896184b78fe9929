// SPDX-License-Identifier: MIT
// The console that the device tree names, a PL011 or a 16550.
// It needs no setup: a virtual machine's console has no baud rate and takes bytes at once.
#include "runtime.hpp"

namespace {

namespace pl011 {
constexpr uintptr_t data = 0x00, flags = 0x18;
constexpr uint32_t receiver_empty = 0x10, transmitter_full = 0x20;
}  // namespace pl011

namespace ns16550 {
constexpr uintptr_t data = 0, line_status = 5;  // times the distance of its registers
constexpr uint32_t data_ready = 0x01, transmitter_empty = 0x20;
}  // namespace ns16550

template <class T>
volatile T& at(uintptr_t offset) {
  return *reinterpret_cast<volatile T*>(static_cast<uintptr_t>(boot::machine.console.base) + offset);
}

// With the access width of the tree: some hosts answer no other.
uint32_t read_register(uintptr_t offset) {
  switch (boot::machine.console.width) {
    case 1: return at<uint8_t>(offset);
    case 2: return at<uint16_t>(offset);
    default: return at<uint32_t>(offset);
  }
}

void write_register(uintptr_t offset, uint8_t value) {
  switch (boot::machine.console.width) {
    case 1: at<uint8_t>(offset) = value; break;
    case 2: at<uint16_t>(offset) = value; break;
    default: at<uint32_t>(offset) = value; break;
  }
}

uint32_t line_status() { return read_register(ns16550::line_status << boot::machine.console.shift); }

bool console_is_ready() {
  if (boot::machine.console.kind == boot::console_kind::pl011)
    return (read_register(pl011::flags) & pl011::transmitter_full) == 0;
  return (line_status() & ns16550::transmitter_empty) != 0;
}

// A console that is not ready soon after the start never is. Without it the guest can at least continue, and end.
bool has_console() {
  static bool was_asked;
  if (boot::machine.console.kind != boot::console_kind::none && !was_asked) {
    was_asked = true;
    const uint64_t began = boot::timestamp();
    while (!console_is_ready() && boot::milliseconds_since(began) < 50) boot::pause();
    if (!console_is_ready()) boot::machine.console = {};
  }
  return boot::machine.console.kind != boot::console_kind::none;
}

}  // namespace

namespace boot {

void put(char c) {
  if (!has_console()) return;
  while (!console_is_ready()) {}
  write_register(machine.console.kind == console_kind::pl011 ? pl011::data : ns16550::data, static_cast<uint8_t>(c));
}

bool take(char& out) {
  switch (machine.console.kind) {
    case console_kind::none: return false;
    case console_kind::pl011:
      if ((read_register(pl011::flags) & pl011::receiver_empty) != 0) return false;
      out = static_cast<char>(read_register(pl011::data));
      return true;
    case console_kind::ns16550:
      if ((line_status() & ns16550::data_ready) == 0) return false;
      out = static_cast<char>(read_register(ns16550::data));
      return true;
  }
  return false;
}

}  // namespace boot
