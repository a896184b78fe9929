// SPDX-License-Identifier: MIT
// The part of UEFI that the programs here use: the system table, boot services, and a few protocols. Members that are
// not called are `unused`. Debian's gnu-efi has headers for the processor that it is installed on only, and no
// LoadFile2. Written from the UEFI Specification 2.10: 4.3 (system table), 4.4 (boot services), 7.3 (protocol
// handlers), 7.4 (images), 9.1 (loaded image), 12.3 and 12.4 (console), 13.2 (LoadFile2), 13.9 (block I/O), 14.4 (PCI
// I/O).
#pragma once

#include <stddef.h>
#include <stdint.h>

// A program for UEFI is compiled for a Windows target, which has the firmware's calling convention. A test has a model
// of the firmware.
#if !defined(_WIN32) && !defined(EFI_ON_A_MODEL)
#error "compile with --target=x86_64-unknown-windows or --target=aarch64-unknown-windows"
#endif

namespace efi {

using handle = void*;
using unused = void*;

/// Zero is success; errors have the highest bit set.
enum class status : size_t {
  success = 0,
  load_error = size_t{1} << 63 | 1,
  invalid_parameter = size_t{1} << 63 | 2,
  unsupported = size_t{1} << 63 | 3,
  buffer_too_small = size_t{1} << 63 | 5,
  not_ready = size_t{1} << 63 | 6,
  out_of_resources = size_t{1} << 63 | 9,
  not_found = size_t{1} << 63 | 14,
};
[[nodiscard]] constexpr bool failed(status s) { return (static_cast<size_t>(s) >> 63) != 0; }

struct guid {
  uint32_t a;
  uint16_t b, c;
  uint8_t d[8];
};

struct header {
  uint64_t signature;
  uint32_t revision, size, crc, reserved;
};

struct input_key {
  uint16_t scan_code;
  char16_t character;
};
struct text_input {
  unused reset;
  status (*read_key)(text_input*, input_key*);
  unused wait_for_key;
};

struct text_output {
  unused reset;
  status (*output)(text_output*, const char16_t*);
};

enum class memory_type : uint32_t { loader_code = 1, loader_data = 2, boot_services_data = 4 };
enum class allocate : uint32_t { any_pages = 0, max_address = 1, address = 2 };
enum class search : uint32_t { all_handles = 0, by_register_notify = 1, by_protocol = 2 };
enum class open : uint32_t { get_protocol = 0x02, by_driver = 0x10, exclusive = 0x20 };

struct open_entry {
  handle agent, controller;
  uint32_t attributes, count;
};

struct boot_services {
  header hdr;
  unused raise_tpl, restore_tpl;
  status (*allocate_pages)(allocate, memory_type, size_t pages, uint64_t* at);
  status (*free_pages)(uint64_t at, size_t pages);
  unused get_memory_map;
  status (*allocate_pool)(memory_type, size_t size, void** out);
  status (*free_pool)(void*);
  unused create_event, set_timer, wait_for_event, signal_event, close_event, check_event;
  status (*install_protocol)(handle*, const guid*, uint32_t native, void* interface);
  unused reinstall_protocol;
  status (*uninstall_protocol)(handle, const guid*, void* interface);
  status (*handle_protocol)(handle, const guid*, void** interface);
  unused reserved, register_protocol_notify, locate_handle;
  status (*locate_device_path)(const guid*, const void** path, handle* device);
  unused install_configuration_table;
  status (*load_image)(uint8_t boot_policy, handle parent, const void* path, const void* source, size_t size,
                       handle* out);
  status (*start_image)(handle image, size_t* exit_data_size, char16_t** exit_data);
  status (*exit)(handle image, status, size_t exit_data_size, char16_t* exit_data);
  status (*unload_image)(handle image);
  unused exit_boot_services, get_next_monotonic_count;
  status (*stall)(size_t microseconds);
  status (*set_watchdog_timer)(size_t seconds, uint64_t code, size_t data_size, const char16_t* data);
  status (*connect_controller)(handle controller, handle* drivers, const void* remaining_path, uint8_t recursive);
  status (*disconnect_controller)(handle controller, handle driver, handle child);
  status (*open_protocol)(handle, const guid*, void** interface, handle agent, handle controller, open attributes);
  status (*close_protocol)(handle, const guid*, handle agent, handle controller);
  status (*open_protocol_information)(handle, const guid*, open_entry** out, size_t* count);
  unused protocols_per_handle;
  status (*locate_handle_buffer)(search, const guid*, void* key, size_t* count, handle** out);
};

enum class reset : uint32_t { cold = 0, warm = 1, shutdown = 2 };
struct runtime_services {
  header hdr;
  unused time[4], virtual_addresses[2], variables[3], get_next_high_monotonic_count;
  void (*reset_system)(reset, status, size_t data_size, const void* data);
};

struct system_table {
  header hdr;
  const char16_t* vendor;
  uint32_t revision;
  handle input_handle;
  text_input* input;
  handle output_handle;
  text_output* output;
  handle error_handle;
  text_output* error;
  runtime_services* runtime;
  boot_services* boot;
  size_t table_entries;
  unused tables;
};
static_assert(sizeof(system_table) == 120 && offsetof(boot_services, locate_handle_buffer) == 24 + 36 * 8);

struct loaded_image {
  static constexpr guid id{0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
  uint32_t revision;
  handle parent;
  system_table* system;
  handle device;
  unused file_path, reserved;
  uint32_t options_size;
  const void* options;
  void* base;
  uint64_t size;
};

struct load_file2 {
  static constexpr guid id{0x4006c0c1, 0xfcb3, 0x403e, {0x99, 0x6d, 0x4a, 0x6c, 0x87, 0x24, 0xe0, 0x6d}};
  status (*load)(load_file2*, const void* path, uint8_t boot_policy, size_t* size, void* to);
};

struct device_path {
  static constexpr guid id{0x09576e91, 0x6d3f, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
};

struct block_media {
  uint32_t media;
  uint8_t removable, present, partition, read_only, write_caching;
  uint32_t block_size, alignment;
  uint64_t last_block;
};
struct block_io {
  static constexpr guid id{0x964e5b21, 0x6459, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
  uint64_t revision;
  const block_media* media;
  unused reset;
  status (*read)(block_io*, uint32_t media, uint64_t block, size_t size, void* to);
};

/// What GetBarAttributes returns: ACPI's QWORD address space descriptor, without padding.
struct [[gnu::packed]] address_space {
  uint8_t tag;  // 0x8a; an end tag follows
  uint16_t length;
  uint8_t type, general_flags, specific_flags;
  uint64_t granularity, first, last, translation, size;
};
static_assert(sizeof(address_space) == 46);

struct pci_io {
  static constexpr guid id{0x4cf5b200, 0x68b8, 0x4ca5, {0x9e, 0xec, 0xb2, 0x3e, 0x3f, 0x50, 0x02, 0x9a}};
  enum class width : uint32_t { bits_8 = 0, bits_16 = 1, bits_32 = 2 };
  enum class operation : uint32_t { bus_master_read = 0, bus_master_write = 1, common_buffer = 2 };
  enum class attributes_do : uint32_t { get = 0, set = 1, enable = 2, disable = 3, supported = 4 };
  static constexpr uint64_t bus_master = 0x400, io_memory_and_bus_master = 0x700, dual_address_cycle = 0x8000;

  using bar_access = status (*)(pci_io*, width, uint8_t bar, uint64_t offset, size_t count, void*);
  using config_access = status (*)(pci_io*, width, uint32_t offset, size_t count, void*);
  unused poll_memory, poll_io;
  bar_access memory_read, memory_write, io_read, io_write;
  config_access config_read, config_write;
  unused copy_memory;
  status (*map)(pci_io*, operation, const void* host, size_t* bytes, uint64_t* device, void** mapping);
  status (*unmap)(pci_io*, void* mapping);
  status (*allocate_buffer)(pci_io*, allocate, memory_type, size_t pages, void** host, uint64_t attributes);
  status (*free_buffer)(pci_io*, size_t pages, void* host);
  unused flush;
  status (*get_location)(pci_io*, size_t* segment, size_t* bus, size_t* device, size_t* function);
  status (*attributes)(pci_io*, attributes_do, uint64_t attributes, uint64_t* out);
  status (*get_bar_attributes)(pci_io*, uint8_t bar, uint64_t* supported, void** resources);
};

}  // namespace efi
