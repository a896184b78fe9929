// SPDX-License-Identifier: MIT
// Console, exit and exceptions of a guest on x86, 64 bits or 32, and three of the four functions that compilers call.
// The serial port needs no setup: a virtual machine's port has no baud rate and takes bytes at once.
#include "loader.hpp"
#include "runtime.hpp"

namespace {

constexpr uint16_t serial_data = 0x3f8;
constexpr uint16_t serial_line_status = 0x3fd;
constexpr uint8_t receiver_full = 0x01, transmitter_empty = 0x20;
constexpr uint16_t debug_exit = 0xf4, behind_debug_exit = 0xf8;  // of four ports
constexpr uint16_t sleep_control = 0x600;
constexpr uint16_t keyboard_command = 0x64;

struct gate {
  uint16_t offset_low, selector, type, offset_middle;
#if defined(__x86_64__)
  uint32_t offset_high, reserved;
#endif
};
static_assert(sizeof(gate) == 2 * sizeof(void*));

struct [[gnu::packed]] table_pointer {
  uint16_t limit;
  const void* base;
};

// The stack's layout, by start.S and the processor.
struct exception_frame {
  uintptr_t vector, error, ip, cs, flags;
};

constexpr unsigned vectors = 32;
constexpr unsigned page_fault = 14;
gate gates[vectors];

void out8(uint16_t port, uint8_t value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }

uint8_t in8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

// QEMU's configuration device: the selected file is read byte by byte.
constexpr uint16_t config_selector = 0x510, config_data = 0x511;
constexpr uint16_t config_signature = 0x00, config_directory = 0x19;

bool transmitter_is_empty() { return (in8(serial_line_status) & transmitter_empty) != 0; }

// Without a serial port its status reads as ones, or as 0 under KVM with hosts that do not write the result of a read.
// An existing port is empty after a reset, or soon after a loader has written to it.
bool has_serial_port() {
  static enum { unknown, absent, present } serial_port;
  if (serial_port == unknown) {
    const uint64_t began = boot::timestamp();
    while (!transmitter_is_empty() && boot::milliseconds_since(began) < 50) boot::pause();
    const uint8_t status = in8(serial_line_status);
    serial_port = (status & transmitter_empty) != 0 && status != 0xff ? present : absent;
  }
  return serial_port == present;
}

void select_config(uint16_t what) { asm volatile("outw %0, %1" : : "a"(what), "Nd"(config_selector) : "memory"); }

uint32_t read_config(unsigned bytes) {  // big-endian
  uint32_t value = 0;
  while (bytes-- != 0) value = value << 8 | in8(config_data);
  return value;
}

struct config_file {
  uint16_t key;  // 0: there is no such file
  uint32_t size;
};

config_file find_config_file(const char* name) {
  select_config(config_signature);
  if (read_config(4) != 0x51454d55) return {};  // "QEMU"
  select_config(config_directory);
  config_file found{};
  for (uint32_t left = read_config(4); left != 0 && found.key == 0; --left) {
    const uint32_t size = read_config(4);
    const auto key = static_cast<uint16_t>(read_config(2));
    (void)read_config(2);
    bool same = true, ended = false;
    for (size_t i = 0; i < 56; ++i) {
      const char c = static_cast<char>(in8(config_data));
      same = same && (ended || c == name[i]);
      ended = ended || c == '\0';
    }
    if (same) found = {key, size};
  }
  return found;
}

}  // namespace

namespace boot {

void put(char c) {
  if (!has_serial_port()) return;
  while (!transmitter_is_empty()) {}
  out8(serial_data, static_cast<uint8_t>(c));
}

bool take(char& out) {
  if (!has_serial_port() || (in8(serial_line_status) & receiver_full) == 0) return false;
  out = static_cast<char>(in8(serial_data));
  return true;
}

void exit(int code) {
  // QEMU's own status becomes (code << 1) | 1 and has eight bits, hence the range.
  out8(debug_exit, static_cast<uint8_t>(code < 0 || code > 127 ? 127 : code));
  // QEMU ends a moment later, and the port reads as 0 until then. Without the device it reads as ones, or, like all
  // such ports on some hosts under KVM, as 0.
  const auto is_ending = [] { return in8(debug_exit) == 0 && in8(behind_debug_exit) != 0; };
  const uint64_t began = timestamp();
  while (is_ending() && milliseconds_since(began) < 10'000) pause();
  if (is_ending()) print("port ", hex(debug_exit), " ends nothing\n");
  // Only QEMU passes a status on, so it is printed for other monitors.
  print("exit ", static_cast<unsigned long long>(static_cast<unsigned>(code)), "\n");
  out8(sleep_control, 0x34);     // S5, sleep enabled: Cloud Hypervisor and Alioth
  out8(keyboard_command, 0xfe);  // the processor's reset line: Firecracker, crosvm, kvmtool, libkrun
  const table_pointer none{0, nullptr};
  asm volatile("lidt %0; int3" : : "m"(none));  // a triple fault
  for (;;) asm volatile("cli; hlt");
}

size_t read_config_file(const char* name, void* to, size_t room) {
  const config_file file = find_config_file(name);
  if (file.key == 0) return 0;
  select_config(file.key);
  const size_t bytes = file.size < room ? file.size : room;
  size_t left = bytes;
  asm volatile("rep insb" : "+D"(to), "+c"(left) : "d"(config_data) : "memory");
  return bytes;
}

uint64_t extra_root_buses() {
  uint8_t count = 0;  // the lowest byte of the file, of 256 buses
  return read_config_file("etc/extra-pci-roots", &count, sizeof count) == 0 ? 0 : count;
}

}  // namespace boot

extern "C" {

extern const char boot_exception_stubs[];

[[noreturn]] void boot_exception(const exception_frame& frame) {
  static bool entered;
  if (!entered) {  // a fault while printing must end, not recurse
    entered = true;
    boot::print("exception ", frame.vector, " at IP ", boot::hex(frame.ip), " error ", boot::hex(frame.error));
    if (frame.vector == page_fault) {
      uintptr_t address;
      asm("mov %%cr2, %0" : "=r"(address));
      boot::print(" address ", boot::hex(address));
    }
    boot::print("\n");
  }
  boot::exit(125);
}

[[noreturn]] void boot_enter(boot::loader which, const void* data) {
  for (unsigned i = 0; i < vectors; ++i) {
    const auto stub = reinterpret_cast<uintptr_t>(boot_exception_stubs) + 16 * i;
    gate& g = gates[i];
    g.offset_low = static_cast<uint16_t>(stub);
    g.selector = 8;
    g.type = 0x8e00;  // present, interrupt gate
    g.offset_middle = static_cast<uint16_t>(stub >> 16);
#if defined(__x86_64__)
    g.offset_high = static_cast<uint32_t>(stub >> 32);
#endif
  }
  const table_pointer table{sizeof gates - 1, gates};
  asm volatile("lidt %0" : : "m"(table));

  boot::run(boot::read_loader(which, data).command_line);
}

// Compilers emit calls to these implicitly. They are single instructions in assembler, because a compiler may turn a
// copy loop into a call of memcpy, that is of itself.
#if defined(__x86_64__)
#define WORD "q"
#else
#define WORD "l"
#endif
void* memcpy(void* to, const void* from, size_t n) {
  void* const result = to;
  size_t words = n / sizeof n;  // an emulated processor takes as long for a byte as for a word
  n %= sizeof n;
  asm volatile("rep movs" WORD : "+D"(to), "+S"(from), "+c"(words) : : "memory");
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
  return result;
}

void* memmove(void* to, const void* from, size_t n) {
  // One unsigned comparison: a destination below the source wraps round to a large distance.
  if (reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(from) >= n) return memcpy(to, from, n);
  auto* to_last = static_cast<char*>(to) + n - 1;
  const auto* from_last = static_cast<const char*>(from) + n - 1;
  asm volatile("std; rep movsb; cld" : "+D"(to_last), "+S"(from_last), "+c"(n) : : "memory");
  return to;
}

void* memset(void* to, int value, size_t n) {
  void* const result = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  return result;
}

}  // extern "C"
