// SPDX-License-Identifier: MIT
// The configuration space of a PC with 64 bits: behind ports CF8 and CFC as long as a function answers there, else in
// memory, where `ecam=` on the command line, ACPI's MCFG table or a device tree says.
#pragma once

#include "acpi.hpp"
#include "board.hpp"
#include "machine_tree.hpp"
#include "out.hpp"
#include "slots.hpp"

namespace lsvirtio {

/// The usual board but for where it finds configuration space, which is decided once.
struct pc_board : virtio::identity_mapped<>, boot::waits_by_clock {
  using function_id = virtio::pci::address;
  using bar_space = virtio::io_space;

  enum class source : u8 { ports, table, tree, command_line, none };
  static inline source from = source::ports;
  static inline virtio::pci::ecam_with_ports<device_memory> memory{};
  static constexpr virtio::pci::cf8<device_memory> ports{};

  static void find() {
    from = source::ports;
    const u32 bridge = ports.config_read32({}, 0);
    if (bridge != 0xffffffff && bridge != 0) return;  // ports that nothing claims read as ones on QEMU, as 0 on libkrun
    from = source::none;
    if (const u64 base = address_option("ecam"); base != 0) {
      memory.base = static_cast<virtio::uptr>(base);
      memory.buses = 256;
      from = source::command_line;
    } else if (const auto found = boot::find_ecam()) {
      memory = *found;
      from = source::table;
    } else if (find_in_tree()) {
      from = source::tree;
    }
    if (from != source::none && !boot::map_device_memory(memory.base, u64{memory.buses} << 20)) from = source::none;
  }
  static void show(writer& out) {
    if (from == source::ports) return out.text("pci_configuration", "ports CF8 and CFC");
    if (from == source::none)
      return out.text("pci_configuration", "none: no function behind ports CF8 and CFC, no MCFG, no device tree's host, no ecam=ADDRESS");
    out.text("pci_configuration", "memory at ", boot::hex{memory.base},
             from == source::table      ? ", as MCFG says"
                 : from == source::tree ? ", as the device tree says"
                                        : ", as the command line says");
  }

  u32 config_read32(function_id id, u16 offset) const {
    if (from == source::none) return 0xffffffff;
    return from == source::ports ? ports.config_read32(id, offset) : memory.config_read32(id, offset);
  }
  void config_write32(function_id id, u16 offset, u32 value) const {
    from == source::ports ? ports.config_write32(id, offset, value) : memory.config_write32(id, offset, value);
  }
  void config_write16(function_id id, u16 offset, u16 value) const {
    from == source::ports ? ports.config_write16(id, offset, value) : memory.config_write16(id, offset, value);
  }
  virtio::result<virtio::pci::bar_info> locate(function_id id, u8 index) const {
    return virtio::pci::probe_bar(*this, id, index);
  }
  virtio::result<bar_space> bar(function_id id, u8 index) const {
    return from == source::ports ? ports.bar(id, index) : memory.bar(id, index);
  }
  virtio::pci::bus_set root_buses() const {
    return from == source::ports ? boot::root_buses(ports) : memory.root_buses();
  }
  template <class Visit>
  void each_function(Visit&& visit) const {
    if (from != source::none) virtio::pci::each_numbered_function(*this, memory.segment_number, visit);
  }

 private:
  /// The first host of a device tree, such as QEMU's microvm with pcie=on has.
  static bool find_in_tree() {
    const void* const blob = boot::machine_tree();
    if (blob == nullptr) return false;
    bool found = false;
    boot::device_tree{blob}.each_node([&](const auto& node) {
      if (found || !node.is("pci-host-ecam-generic")) return;
      const boot::pci_tree host = boot::tree::read_pci(node, 12, 0);
      if (host.config.size == 0) return;
      found = true;
      memory.base = static_cast<virtio::uptr>(host.config.base);
      memory.buses = host.buses();
      memory.first_bus = host.first_bus;
      memory.segment_number = host.segment;
    });
    return found;
  }

  /// A number in hexadecimal, 0 for none.
  static u64 address_option(const char* key) {
    const boot::text given = boot::option(key);
    u64 value = 0;
    for (usize i = given.size > 2 && given.data[0] == '0' && given.data[1] == 'x' ? 2 : 0; i < given.size; ++i) {
      const char c = given.data[i];
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
      if (digit < 0) return 0;
      value = value << 4 | static_cast<u64>(digit);
    }
    return value;
  }
};

}  // namespace lsvirtio
