// SPDX-License-Identifier: MIT
// Entry, console and exit of a program under UEFI, and the functions that compilers call implicitly.
#include "machine.hpp"

#include "board.hpp"

namespace {

/// Returns the program's command line as ASCII. A boot option may have binary data instead, which is ignored.
const char* words_of(const efi::loaded_image* image) {
  static char words[1024];
  if (image == nullptr || image->options == nullptr) return words;
  const auto* from = static_cast<const char16_t*>(image->options);
  for (size_t i = 0; i < image->options_size / 2 && from[i] != 0; ++i) {
    if (i == sizeof words - 1 || from[i] < ' ' || from[i] > '~') {
      words[0] = '\0';
      return words;
    }
    words[i] = static_cast<char>(from[i]);
  }
  return words;
}

/// Returns the function of the device that the image was loaded from. Call it before a driver is disconnected, which
/// removes the device's handle.
efi::handle function_of(const efi::loaded_image* image) {
  const void* path = image != nullptr ? uefi::interface_of<efi::device_path>(image->device) : nullptr;
  efi::handle found = nullptr;
  if (path == nullptr) return nullptr;
  return efi::failed(uefi::services().locate_device_path(&efi::pci_io::id, &path, &found)) ? nullptr : found;
}

}  // namespace

namespace boot {

uint64_t counts_per_millisecond() {
  static uint64_t counts;
  if (counts == 0) {
    const uint64_t began = timestamp();
    uefi::services().stall(1000);
    counts = timestamp() - began;
    if (counts == 0) counts = 1;
  }
  return counts;
}

void put(char c) {
  char16_t text[3] = {static_cast<char16_t>(static_cast<unsigned char>(c)), 0, 0};
  if (c == '\n') text[0] = u'\r', text[1] = u'\n';
  uefi::system->output->output(uefi::system->output, text);
}

bool take(char& out) {
  efi::input_key key{};
  efi::text_input* const keys = uefi::system->input;
  if (efi::failed(keys->read_key(keys, &key)) || key.character == 0 || key.character > '~') return false;
  out = static_cast<char>(key.character);
  return true;
}

void exit(int code) {
  uefi::claimed.give_back();
  print("exit ", code, "\n");
  uefi::services().exit(uefi::self, code == 0 ? efi::status::success : efi::status::load_error, 0, nullptr);
  for (;;) pause();
}

}  // namespace boot

extern "C" efi::status efi_main(efi::handle image, efi::system_table* system) {
  uefi::self = image;
  uefi::system = system;
  system->boot->set_watchdog_timer(0, 0, 0, nullptr);  // otherwise the firmware resets the machine after five minutes
  const auto* const loaded = uefi::interface_of<efi::loaded_image>(image);
  uefi::boot_function = function_of(loaded);
  boot::run(words_of(loaded));
}

// Windows' stacks grow when touched, so its compilers call this function for frames of more than a page. The firmware's
// stack is allocated completely.
asm(".globl __chkstk\n__chkstk:\n  ret\n");

extern "C" {

void* memcpy(void* __restrict to, const void* __restrict from, size_t n) {
#if defined(__x86_64__)
  void* const start = to;
  size_t words = n / 8;  // an emulated processor takes as long for a byte as for a word
  n %= 8;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words)::"memory");
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  return start;
#else
  auto* t = static_cast<unsigned char*>(to);
  const auto* f = static_cast<const unsigned char*>(from);
  for (; n >= 8; n -= 8, t += 8, f += 8) {
    uint64_t word;
    __builtin_memcpy_inline(&word, f, 8);
    __builtin_memcpy_inline(t, &word, 8);
  }
  for (size_t i = 0; i < n; ++i) static_cast<volatile unsigned char*>(t)[i] = f[i];
  return to;
#endif
}

void* memset(void* to, int value, size_t n) {
#if defined(__x86_64__)
  void* const start = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  return start;
#else
  auto* t = static_cast<volatile unsigned char*>(to);
  for (size_t i = 0; i < n; ++i) t[i] = static_cast<unsigned char>(value);
  return to;
#endif
}

void* memmove(void* to, const void* from, size_t n) {
  auto* t = static_cast<volatile unsigned char*>(to);
  const auto* f = static_cast<const volatile unsigned char*>(from);
  if (t < f)
    for (size_t i = 0; i < n; ++i) t[i] = f[i];
  else
    while (n-- != 0) t[n] = f[n];
  return to;
}

}  // extern "C"
