// SPDX-License-Identifier: MIT
#include "loader.hpp"

#include "loader_tables.hpp"
#include "runtime.hpp"

namespace boot {
namespace {

// Types of memory, with ACPI's numbers. Reserved ranges may contain devices.
constexpr uint32_t usable = 1, acpi_tables = 3, acpi_storage = 4;

handover found;

// Finds ACPI's root pointer of a BIOS: on a 16-byte boundary of the first KiB of its extended data area, or below 1
// MiB. The sum of its first 20 bytes is 0.
uint64_t find_root(uint64_t begin, uint64_t end) {
  for (; begin + 20 <= end; begin += 16) {
    const auto* const here = reinterpret_cast<const uint8_t*>(static_cast<uintptr_t>(begin));
    if (__builtin_memcmp(here, "RSD PTR ", 8) != 0) continue;
    uint8_t sum = 0;
    for (unsigned i = 0; i < 20; ++i) sum = static_cast<uint8_t>(sum + here[i]);
    if (sum == 0) return begin;
  }
  return 0;
}

uint64_t look_for_root() {
  uint16_t segment;
  asm("movw 0x40e, %0" : "=r"(segment));  // an address that compilers treat as an offset from a null pointer
  const uint64_t extended = uint64_t{segment} << 4;
  uint64_t root = 0;
  if (extended >= 0x400 && extended < 0xa0000) root = find_root(extended, extended + 0x400);
  return root != 0 ? root : find_root(0xe0000, 0x100000);
}

}  // namespace

const handover& read_loader(loader which, const void* data) {
  loader_tables{found}.read(which, data);
  if (found.rsdp == 0) found.rsdp = look_for_root();  // Firecracker, crosvm, Multiboot 1
  return found;
}

const char* name(loader which) {
  static constexpr const char* names[] = {"PVH", "Linux", "Multiboot 1", "Multiboot 2"};
  return names[static_cast<uint32_t>(which) - 1];
}

const char* name_of_memory(uint32_t type) {
  static constexpr const char* names[] = {"usable", "reserved", "ACPI tables", "ACPI storage", "unusable"};
  return type - 1 < sizeof names / sizeof names[0] ? names[type - 1] : "unknown";
}

const handover& loaded() { return found; }
uint64_t rsdp() { return found.rsdp; }

bool is_memory(uint64_t begin, uint64_t size) {
  if (found.ranges == 0) return begin < 0x8000'0000;
  for (unsigned i = 0; i < found.ranges; ++i) {
    const memory_range& one = found.memory[i];
    if (one.type != usable && one.type != acpi_tables && one.type != acpi_storage) continue;
    if (begin < one.at + one.size && one.at < begin + size) return true;
  }
  return false;
}

void print_memory_map() {
  for (unsigned i = 0; i < found.ranges; ++i)
    print("memory ", hex(found.memory[i].at), " + ", hex(found.memory[i].size), ": ",
          name_of_memory(found.memory[i].type), "\n");
}

}  // namespace boot
