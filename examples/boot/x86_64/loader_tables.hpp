// SPDX-License-Identifier: MIT
// The loaders' forms of a command line, ACPI's root and a memory map. It only reads memory, so it runs anywhere.
#pragma once

#include "loader.hpp"

namespace boot {

class loader_tables {
 public:
  constexpr explicit loader_tables(handover& out) : out_{out} {}

  /// Fills the handover, which is all zeros, from the tables of `which` at `data`. Addresses are trusted. An entry
  /// whose size or count exceeds its table is left out, with all entries after it.
  void read(loader which, const void* data) {
    out_.by = which;
    out_.command_line = "";
    switch (which) {
      case loader::pvh: read_pvh(data); break;
      case loader::linux_: read_zero_page(data); break;
      case loader::multiboot1: read_multiboot1(data); break;
      case loader::multiboot2: read_multiboot2(static_cast<const char*>(data)); break;
    }
  }

 private:
  template <class T>
  [[nodiscard]] static const T* at(uint64_t address) {
    return reinterpret_cast<const T*>(static_cast<uintptr_t>(address));
  }
  template <class T>
  [[nodiscard]] static T field(const void* page, size_t offset) {
    T value;
    __builtin_memcpy(&value, static_cast<const char*>(page) + offset, sizeof value);
    return value;
  }

  void take_command_line(uint64_t address) {
    if (address != 0) out_.command_line = at<char>(address);
  }

  // A range in the form of the BIOS call e820, from which all other forms derive.
  struct [[gnu::packed]] e820_range {
    uint64_t at, size;
    uint32_t type;
  };
  [[nodiscard]] bool has_room() const { return out_.ranges < handover::most_ranges; }
  void add_memory(const void* range) {
    const auto one = field<e820_range>(range, 0);
    if (has_room()) out_.memory[out_.ranges++] = {one.at, one.size, one.type};
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
  static constexpr size_t pvh_range_bytes = 24;

  void read_pvh(const void* data) {
    const auto& info = *static_cast<const start_info*>(data);
    out_.rsdp = info.rsdp;
    take_command_line(info.command_line);
    for (uint32_t i = 0; info.version >= 1 && i < info.memory_ranges && has_room(); ++i)
      add_memory(at<char>(info.memory_map) + i * pvh_range_bytes);
  }

  // Linux: offsets of the used fields in the zero page (Documentation/arch/x86/zero-page.rst).
  enum : unsigned {
    zero_rsdp = 0x70,
    zero_command_line_high = 0xc8,
    zero_ranges = 0x1e8,
    zero_command_line = 0x228,
    zero_setup_data = 0x250,  // a list: address of the next, type, size, data
    zero_map = 0x2d0,
  };
  static constexpr uint32_t setup_dtb = 2;
  static constexpr size_t setup_data_header = 16;
  static constexpr unsigned most_setup_data = 256;  // of a list that leads back to itself

  void read_zero_page(const void* page) {
    out_.rsdp = field<uint64_t>(page, zero_rsdp);
    take_command_line(uint64_t{field<uint32_t>(page, zero_command_line_high)} << 32 |
                      field<uint32_t>(page, zero_command_line));
    for (unsigned i = 0; i < field<uint8_t>(page, zero_ranges) && has_room(); ++i)
      add_memory(static_cast<const char*>(page) + zero_map + i * sizeof(e820_range));
    uint64_t node = field<uint64_t>(page, zero_setup_data);
    for (unsigned i = 0; node != 0 && i < most_setup_data; ++i, node = field<uint64_t>(at<char>(node), 0))
      if (field<uint32_t>(at<char>(node), 8) == setup_dtb) out_.device_tree = at<char>(node) + setup_data_header;
  }

  // Multiboot 1: the boot information (Multiboot Specification 0.6.96, 3.3), up to the last field used here. It has
  // no field for ACPI.
  struct multiboot1_info {
    uint32_t flags;  // the valid fields
    uint32_t lower, upper, boot_device;
    uint32_t command_line;
    uint32_t module_count, modules, symbols[4];
    uint32_t map_bytes, map;
  };
  static_assert(sizeof(multiboot1_info) == 52);
  static constexpr uint32_t has_command_line = 1 << 2, has_map = 1 << 6;

  void read_multiboot1(const void* data) {
    const auto& info = *static_cast<const multiboot1_info*>(data);
    if ((info.flags & has_command_line) != 0) take_command_line(info.command_line);
    if ((info.flags & has_map) == 0) return;
    const char* one = at<char>(info.map);
    uint32_t size = 0;
    for (uint32_t left = info.map_bytes; left >= 4 + sizeof(e820_range); left -= 4 + size, one += 4 + size) {
      size = field<uint32_t>(one, 0);  // without this field
      if (size < sizeof(e820_range) || size > left - 4) return;
      add_memory(one + 4);
    }
  }

  // Multiboot 2: the boot information (Multiboot2 Specification 2.0, 3.6) is a row of tags, each with its type and
  // its size, each at a multiple of 8.
  enum : uint32_t { tag_end = 0, tag_command_line = 1, tag_map = 6, tag_rsdp_of_acpi_1 = 14, tag_rsdp_of_acpi_2 = 15 };
  static constexpr uint32_t tag_header = 8, rsdp_bytes = 20;  // of ACPI 1

  void read_multiboot2(const char* info) {
    const uint64_t total = field<uint32_t>(info, 0);
    uint32_t size = 0;
    for (uint64_t i = 8; i + tag_header <= total; i += (uint64_t{size} + 7) & ~uint64_t{7}) {
      const char* const tag = info + i;
      const uint32_t type = field<uint32_t>(tag, 0);
      size = field<uint32_t>(tag, 4);
      if (type == tag_end || size < tag_header || size > total - i) return;
      switch (type) {
        case tag_command_line:
          for (uint32_t c = tag_header; c < size; ++c)
            if (tag[c] == '\0') out_.command_line = tag + tag_header;
          break;
        case tag_map: read_multiboot2_map(tag, size); break;
        case tag_rsdp_of_acpi_1:
          if (out_.rsdp != 0) break;  // the newer one exists too
          [[fallthrough]];
        case tag_rsdp_of_acpi_2:  // a copy, which contains the tables' address
          if (size >= tag_header + rsdp_bytes) out_.rsdp = reinterpret_cast<uintptr_t>(tag + tag_header);
          break;
        default: break;
      }
    }
  }

  void read_multiboot2_map(const char* tag, uint32_t size) {
    constexpr uint32_t map_header = 16;
    if (size < map_header) return;
    const uint32_t entry_size = field<uint32_t>(tag, 8);
    if (entry_size < sizeof(e820_range)) return;
    const char* one = tag + map_header;
    for (uint32_t left = size - map_header; left >= entry_size; left -= entry_size, one += entry_size) add_memory(one);
  }

  handover& out_;
};

}  // namespace boot
