// SPDX-License-Identifier: MIT
#include "loader.hpp"

#include "machine.hpp"

namespace boot {
namespace {

// Of the memory map: memory, and memory with ACPI's tables in it. What is reserved may be where devices are.
constexpr uint32_t usable = 1, acpi_tables = 3, acpi_storage = 4;

constexpr unsigned most_ranges = 64;
memory_range memory[most_ranges];
unsigned memory_ranges;
uint64_t acpi_root;
const char* words = "";
loader from;

template <class T>
const T* at(uint64_t address) { return reinterpret_cast<const T*>(static_cast<uintptr_t>(address)); }

void add_memory(uint64_t begin, uint64_t size, uint32_t type) {
    if ((type == usable || type == acpi_tables || type == acpi_storage) && memory_ranges < most_ranges)
        memory[memory_ranges++] = {begin, size};
}

// PVH's, up to the last field used here.
struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules;
    uint64_t command_line;
    uint64_t rsdp;
    uint64_t memory_map;  // this and the next since version 1
    uint32_t memory_ranges;
    uint32_t reserved;
};
static_assert(sizeof(start_info) == 56);

struct pvh_range {
    uint64_t at, size;
    uint32_t type;
    uint32_t reserved;
};

void read_pvh(const start_info& info) {
    acpi_root = info.rsdp;
    if (info.command_line != 0) words = at<char>(info.command_line);
    for (uint32_t i = 0; info.version >= 1 && i < info.memory_ranges; ++i) {
        const pvh_range& one = at<pvh_range>(info.memory_map)[i];
        add_memory(one.at, one.size, one.type);
    }
}

// Linux's zero page: where the fields used here are in it.
enum : unsigned { zero_rsdp = 0x70, zero_command_line_high = 0xc8, zero_ranges = 0x1e8, zero_command_line = 0x228, zero_map = 0x2d0 };
struct [[gnu::packed]] e820_range {
    uint64_t at, size;
    uint32_t type;
};

template <class T>
T field(const void* page, unsigned offset) {
    T value;
    __builtin_memcpy(&value, static_cast<const char*>(page) + offset, sizeof value);
    return value;
}

void read_zero_page(const void* page) {
    acpi_root = field<uint64_t>(page, zero_rsdp);
    const uint64_t line = uint64_t{field<uint32_t>(page, zero_command_line_high)} << 32 | field<uint32_t>(page, zero_command_line);
    if (line != 0) words = at<char>(line);
    for (unsigned i = 0; i < field<uint8_t>(page, zero_ranges); ++i) {
        const auto one = field<e820_range>(page, zero_map + i * unsigned{sizeof(e820_range)});
        add_memory(one.at, one.size, one.type);
    }
}

// ACPI's root pointer where a BIOS leaves it: on a 16-byte boundary of the first KiB of its extended data area, or below 1 MiB. Its first
// 20 bytes sum up to 0.
uint64_t find_root(uint64_t begin, uint64_t end) {
    for (; begin + 20 <= end; begin += 16) {
        const auto* const here = at<uint8_t>(begin);
        if (__builtin_memcmp(here, "RSD PTR ", 8) != 0) continue;
        uint8_t sum = 0;
        for (unsigned i = 0; i < 20; ++i) sum = static_cast<uint8_t>(sum + here[i]);
        if (sum == 0) return begin;
    }
    return 0;
}

void look_for_root() {
    uint16_t segment;
    asm("movw 0x40e, %0" : "=r"(segment));  // an address that compilers take for a null pointer's neighbour
    const uint64_t extended = uint64_t{segment} << 4;
    if (extended >= 0x400 && extended < 0xa0000) acpi_root = find_root(extended, extended + 0x400);
    if (acpi_root == 0) acpi_root = find_root(0xe0000, 0x100000);
}

}  // namespace

const char* hear_loader(loader which, const void* data) {
    from = which;
    // Safe to follow: the loader is trusted.
    if (which == loader::pvh) read_pvh(*static_cast<const start_info*>(data));
    if (which == loader::linux_) read_zero_page(data);
    if (acpi_root == 0) look_for_root();  // Firecracker, crosvm
    return words;
}

const char* name(loader which) { return which == loader::pvh ? "PVH" : "Linux"; }
loader loaded_by() { return from; }
uint64_t rsdp() { return acpi_root; }

bool is_memory(uint64_t begin, uint64_t size) {
    if (memory_ranges == 0) return begin < 0x8000'0000;
    for (unsigned i = 0; i < memory_ranges; ++i)
        if (begin < memory[i].at + memory[i].size && memory[i].at < begin + size) return true;
    return false;
}

}  // namespace boot
