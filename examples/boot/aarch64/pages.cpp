// SPDX-License-Identifier: MIT
#include "pages.hpp"

#include "machine.hpp"

namespace {

struct alignas(4096) table {
  uint64_t entries[512];
};

constexpr uint64_t valid = 1, is_table = 2, is_page = 2, address_bits = 0x0000'ffff'ffff'f000;
constexpr uint64_t device = 0x0060'0000'0000'0401;  // as in start.S
constexpr uint64_t normal = 0x0060'0000'0000'0705;  // never executed: the image is mapped by the start code

constexpr uint64_t page = uint64_t{1} << 12, end_of_map = uint64_t{1} << 48;

uint64_t end_of_addresses() {
  uint64_t features;
  asm("mrs %0, id_aa64mmfr0_el1" : "=r"(features));
  constexpr uint8_t bits[8] = {32, 36, 40, 42, 44, 48, 48, 48};
  return uint64_t{1} << bits[features & 7];
}

}  // namespace

extern "C" {
extern table boot_tables[], boot_tables_end[];
extern table* boot_next_table;  // after those that the start code has used
}

namespace {

// Returns the table of an entry, a new one for an empty entry. Null: the entry is a mapping, or there is no table left.
table* below(uint64_t& entry) {
  if (entry == 0) {
    if (boot_next_table == boot_tables_end) return nullptr;
    entry = reinterpret_cast<uintptr_t>(boot_next_table++) | valid | is_table;  // they are zeros
  }
  return (entry & is_table) != 0 ? reinterpret_cast<table*>(entry & address_bits) : nullptr;
}

bool overlaps_memory(uint64_t at, uint64_t size) {
  for (size_t i = 0; i < boot::machine.memory_count; ++i) {
    const boot::range& one = boot::machine.memory[i];
    if (at >= one.base ? at - one.base < one.size : one.base - at < size) return true;
  }
  return false;
}

enum class rest : uint8_t { stays, is_device };  // whether the rest of a partly covered block may be mapped too

// Maps [at, end), in pages, by the largest blocks.
bool map(uint64_t at, uint64_t end, uint64_t kind, rest around) {
  const uint64_t reach = end_of_addresses();
  if (at >= end || end > reach) return false;
  while (at < end) {
    table* level = boot_tables;
    for (unsigned shift = 39;; shift -= 9) {
      const uint64_t size = uint64_t{1} << shift, first = at & ~(size - 1);
      uint64_t& entry = level->entries[at >> shift & 511];
      if (entry != 0 && (shift == 12 || (entry & is_table) == 0)) {  // mapped already
        at = first + size;
        break;
      }
      const bool whole = at == first && end - at >= size;
      const bool fits = shift == 12 || (shift <= 30 && entry == 0 &&
                                        (whole || (around == rest::is_device && !overlaps_memory(first, size))));
      if (fits) {
        entry = first | kind | (shift == 12 ? is_page : 0);
        at = first + size;
        break;
      }
      level = below(entry);
      if (level == nullptr) return false;
    }
  }
  asm volatile("dsb ishst; isb" : : : "memory");  // before its use; processors do not cache invalid entries
  return true;
}

}  // namespace

namespace boot {

bool map_memory(range of) {
  const uint64_t first = (of.base + (page - 1)) & ~(page - 1), end = (of.base + of.size) & ~(page - 1);
  return first >= of.base && map(first, end, normal, rest::stays);
}

bool map_device_memory(range of) {
  if (of.size == 0 || of.size > end_of_map || of.base > end_of_map - of.size) return false;
  return map(of.base & ~(page - 1), (of.base + of.size + (page - 1)) & ~(page - 1), device, rest::is_device);
}

bool replace_pages(uintptr_t at, uint64_t to, size_t size) {
  for (size_t done = 0; done < size; done += page) {
    table* level = boot_tables;
    for (unsigned shift = 39; shift != 12 && level != nullptr; shift -= 9)
      level = below(level->entries[(at + done) >> shift & 511]);
    if (level == nullptr) return false;
    uint64_t& entry = level->entries[(at + done) >> 12 & 511];
    // A page must not have two mappings at a time: remove the old one everywhere, then set the new one.
    entry = 0;
    asm volatile("dsb ishst; tlbi vaae1is, %0; dsb ish; isb" : : "r"((at + done) >> 12) : "memory");
    entry = (to + done) | normal | is_page;
  }
  asm volatile("dsb ishst; isb" : : : "memory");
  return true;
}

}  // namespace boot
