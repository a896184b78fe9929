// SPDX-License-Identifier: MIT
#include "pages.hpp"

namespace {

struct alignas(4096) table {
  uint64_t entries[512];
};

constexpr uint64_t present_writable = 0x3, large = 0x80, uncached = 0x18, address_bits = 0x000f'ffff'ffff'f000;
constexpr unsigned tables = 32;

table spare[tables];
unsigned used;

// Returns the table of an entry, a new one for an empty entry. Null: the entry maps a page, or there is no table left.
table* below(uint64_t& entry) {
  if (entry == 0) {
    if (used == tables) return nullptr;
    entry = reinterpret_cast<uintptr_t>(&spare[used++]) | present_writable;
  }
  if ((entry & large) != 0) return nullptr;
  return reinterpret_cast<table*>(entry & address_bits);
}

struct cpuid {
  uint32_t a, b, c, d;
  explicit cpuid(uint32_t leaf) : a{leaf} { asm("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d)); }
};

bool has_pages_of_1_gib() { return (cpuid{0x80000001}.d >> 26 & 1) != 0; }

// Returns the end of the processor's physical addresses; a page table entry beyond it faults. At most the size of this
// half of the address space.
uint64_t end_of_addresses() {
  const uint32_t bits = cpuid{0x80000000}.a >= 0x80000008 ? cpuid{0x80000008}.a & 0xff : 36;
  return uint64_t{1} << (bits < 47 ? bits : 47);
}

}  // namespace

extern "C" table boot_page_map;  // start.S: the top level

namespace boot {

bool map_device_memory(uint64_t at, uint64_t size) {
  constexpr uint64_t small_page = uint64_t{1} << 21;
  const uint64_t end = end_of_addresses();
  if (at >= end || size == 0 || size > end - at) return false;
  const bool giant = has_pages_of_1_gib();
  for (uint64_t page = at & ~(small_page - 1); page < at + size; page += small_page) {
    table* const level3 = below(boot_page_map.entries[page >> 39]);
    if (level3 == nullptr) return false;
    uint64_t& gib = level3->entries[page >> 30 & 511];
    if (gib == 0 && giant) gib = (page & ~uint64_t{0x3fff'ffff}) | present_writable | large | uncached;
    if ((gib & large) != 0) continue;
    table* const level2 = below(gib);
    if (level2 == nullptr) return false;
    uint64_t& entry = level2->entries[page >> 21 & 511];
    if (entry == 0) entry = page | present_writable | large | uncached;
  }
  return true;  // no mapping has changed, and processors do not cache absent ones
}

}  // namespace boot
