// SPDX-License-Identifier: MIT
// What an example needs besides the library: a console, a command line, an exit. The processors' folders have the rest:
// machine.hpp has `pause()`, `timestamp()` and `milliseconds_since()`.
// Single processor, interrupts off, no heap, no global constructors. The program defines
// `extern "C" int guest_main(const char* command_line)`, which returns the guest's exit status.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "machine.hpp"
#include "words.hpp"

extern "C" int guest_main(const char* command_line);

namespace boot {

// Prints a number or an address as 0x...
struct hex {
  uint64_t value;
  constexpr explicit hex(uint64_t number) : value{number} {}
  template <class T>  // a template, or hex(0) would be ambiguous: 0 is a null pointer too
  explicit hex(T* address) : value{reinterpret_cast<uintptr_t>(address)} {}
};

void put(char);
void put(const char*);
void put(text);
void put(hex);
void put(long long);
void put(unsigned long long);
inline void put(int n) { put(static_cast<long long>(n)); }
inline void put(long n) { put(static_cast<long long>(n)); }
inline void put(unsigned n) { put(static_cast<unsigned long long>(n)); }
inline void put(unsigned long n) { put(static_cast<unsigned long long>(n)); }
void put(bool) = delete;                  // would print 0 or 1: print words instead
void put(const volatile void*) = delete;  // use boot::hex(pointer)

/// Writes each argument to the console: `boot::print("sector ", n, " ", boot::hex(x), "\n")`.
/// Waits for the console to take each character.
template <class... Parts>
void print(const Parts&... parts) {
  (put(parts), ...);
}

/// Ends the guest with this status, 0 to 127; any other number ends it with 127, never as a success.
[[noreturn]] void exit(int code);

/// Returns the command line as the loader passed it; empty, never null, if there is none.
[[nodiscard]] const char* command_line();

/// Finds `key=value` among the words of the command line and returns the value, or no text. The last of several is
/// used. words.hpp defines words.
[[nodiscard]] text option(const char* key);

/// Runs the guest with this command line, null for none, and ends it with the result of `guest_main`. For the start
/// code.
[[noreturn]] void run(const char* arguments);

}  // namespace boot
