// SPDX-License-Identifier: MIT
#include "loader.hpp"

#include "runtime.hpp"

namespace boot {
namespace {

// Types of memory, as ACPI numbers them. What is reserved may be where devices are.
constexpr uint32_t usable = 1, acpi_tables = 3, acpi_storage = 4;

handover found;

template <class T>
const T* at(uint64_t address) { return reinterpret_cast<const T*>(static_cast<uintptr_t>(address)); }

template <class T>
T field(const void* page, size_t offset) {
    T value;
    __builtin_memcpy(&value, static_cast<const char*>(page) + offset, sizeof value);
    return value;
}

void take_command_line(uint64_t address) {
    if (address != 0) found.command_line = at<char>(address);
}

void add_memory(uint64_t begin, uint64_t size, uint32_t type) {
    if (found.ranges < handover::most_ranges) found.memory[found.ranges++] = {begin, size, type};
}

// A range as the BIOS call e820 gives it, of which all other forms are made.
struct [[gnu::packed]] e820_range {
    uint64_t at, size;
    uint32_t type;
};

void add_memory(const void* range) {
    const auto one = field<e820_range>(range, 0);
    add_memory(one.at, one.size, one.type);
}

// PVH: hvm_start_info (Xen, public/arch-x86/hvm/start_info.h), up to the last field used here.
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
constexpr size_t pvh_range_bytes = 24;

void read_pvh(const start_info& info) {
    found.rsdp = info.rsdp;
    take_command_line(info.command_line);
    for (uint32_t i = 0; info.version >= 1 && i < info.memory_ranges; ++i) add_memory(at<char>(info.memory_map) + i * pvh_range_bytes);
}

// Linux: the zero page (Documentation/arch/x86/zero-page.rst), where the fields used here are in it.
enum : unsigned {
    zero_rsdp = 0x70,
    zero_command_line_high = 0xc8,
    zero_ranges = 0x1e8,
    zero_command_line = 0x228,
    zero_more = 0x250,  // a list: address of the next, type, size, data
    zero_map = 0x2d0,
};
constexpr uint32_t more_is_device_tree = 2;
constexpr size_t more_data = 16;

void read_zero_page(const void* page) {
    found.rsdp = field<uint64_t>(page, zero_rsdp);
    take_command_line(uint64_t{field<uint32_t>(page, zero_command_line_high)} << 32 | field<uint32_t>(page, zero_command_line));
    for (unsigned i = 0; i < field<uint8_t>(page, zero_ranges); ++i)
        add_memory(static_cast<const char*>(page) + zero_map + i * sizeof(e820_range));
    for (uint64_t more = field<uint64_t>(page, zero_more); more != 0; more = field<uint64_t>(at<char>(more), 0))
        if (field<uint32_t>(at<char>(more), 8) == more_is_device_tree) found.device_tree = at<char>(more) + more_data;
}

// Multiboot 1: the boot information (Multiboot Specification 0.6.96, 3.3), up to the last field used here. It has no field for ACPI.
struct multiboot1_info {
    uint32_t flags;  // which of the others there are
    uint32_t lower, upper, boot_device;
    uint32_t command_line;
    uint32_t module_count, modules, symbols[4];
    uint32_t map_bytes, map;
};
static_assert(sizeof(multiboot1_info) == 52);
constexpr uint32_t has_command_line = 1 << 2, has_map = 1 << 6;

void read_multiboot1(const multiboot1_info& info) {
    if ((info.flags & has_command_line) != 0) take_command_line(info.command_line);
    if ((info.flags & has_map) == 0) return;
    for (uint32_t i = 0; i < info.map_bytes;) {  // each range behind its size, which does not count itself
        const char* const one = at<char>(info.map) + i;
        add_memory(one + 4);
        i += 4 + field<uint32_t>(one, 0);
    }
}

// Multiboot 2: the boot information (Multiboot2 Specification 2.0, 3.6) is a row of tags, each with its type and its size, each at a
// multiple of 8.
enum : uint32_t { tag_end = 0, tag_command_line = 1, tag_map = 6, tag_rsdp_of_acpi_1 = 14, tag_rsdp_of_acpi_2 = 15 };

void read_multiboot2(const char* info) {
    for (const char* tag = info + 8; field<uint32_t>(tag, 0) != tag_end;) {
        const uint32_t size = field<uint32_t>(tag, 4);
        switch (field<uint32_t>(tag, 0)) {
            case tag_command_line: found.command_line = tag + 8; break;
            case tag_map:
                for (uint32_t i = 16; i < size; i += field<uint32_t>(tag, 8)) add_memory(tag + i);
                break;
            case tag_rsdp_of_acpi_1:
                if (found.rsdp != 0) break;  // the other is there as well
                [[fallthrough]];
            case tag_rsdp_of_acpi_2: found.rsdp = reinterpret_cast<uintptr_t>(tag + 8); break;  // a copy, which says where the tables are
            default: break;
        }
        tag += (size + 7) & ~uint32_t{7};
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

uint64_t look_for_root() {
    uint16_t segment;
    asm("movw 0x40e, %0" : "=r"(segment));  // an address that compilers take for a null pointer's neighbour
    const uint64_t extended = uint64_t{segment} << 4;
    uint64_t root = 0;
    if (extended >= 0x400 && extended < 0xa0000) root = find_root(extended, extended + 0x400);
    return root != 0 ? root : find_root(0xe0000, 0x100000);
}

}  // namespace

const handover& hear_loader(loader which, const void* data) {
    found.by = which;
    found.command_line = "";
    switch (which) {  // safe to follow: the loader is trusted
        case loader::pvh: read_pvh(*static_cast<const start_info*>(data)); break;
        case loader::linux_: read_zero_page(data); break;
        case loader::multiboot1: read_multiboot1(*static_cast<const multiboot1_info*>(data)); break;
        case loader::multiboot2: read_multiboot2(static_cast<const char*>(data)); break;
    }
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
        print("memory ", hex(found.memory[i].at), " + ", hex(found.memory[i].size), ": ", name_of_memory(found.memory[i].type), "\n");
}

}  // namespace boot
