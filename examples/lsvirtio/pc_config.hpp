// SPDX-License-Identifier: MIT
// The configuration space of a 64-bit PC. Segment 0 is behind ports CF8 and CFC if a function answers there. Otherwise,
// and for further segments, it is in memory, at the address of `ecam=` on the command line, of ACPI's MCFG table, or of
// a device tree.
#pragma once

#include "acpi.hpp"
#include "board.hpp"
#include "config_spaces.hpp"
#include "machine_tree.hpp"
#include "out.hpp"
#include "slots.hpp"

namespace lsvirtio {

/// The usual board, but it selects the location of configuration space, once.
struct pc_board : virtio::identity_mapped<>, boot::waits_by_clock {
  using function_id = virtio::pci::address;
  using bar_space = virtio::io_space;
  using piece = virtio::pci::ecam_with_ports<device_memory>;
  using pieces = config_spaces<piece>;

  enum class source : u8 { ports, table, tree, command_line, none };  // of segment 0
  static inline source from = source::ports;
  static inline pieces memory{};
  static constexpr virtio::pci::cf8<device_memory> ports{};

  static void find() {
    const u32 bridge = ports.config_read32({}, 0);
    from = bridge != 0xffffffff && bridge != 0  // unassigned ports read as ones on QEMU, as 0 on libkrun
               ? source::ports
               : source::none;
    if (const u64 base = address_option("ecam"); base != 0 && from == source::none) {
      piece one{};
      one.base = static_cast<virtio::uptr>(base);
      one.buses = 256;
      add(one, source::command_line);
    }
    if (const auto table = boot::find_table(virtio::text("MCFG")).and_then(virtio::pci::mcfg::read)) {
      pieces found{};
      const auto what = from == source::none ? pieces::segment_0::wanted : pieces::segment_0::reached_otherwise;
      found.add_rows<virtio::io_space>(*table, device_memory{}, what);
      for (usize i = 0; i < found.count; ++i) add(found.all[i], source::table);
    }
    if (from == source::none) find_in_tree();
  }
  static void show(writer& out) {
    if (from == source::ports) out.text("pci_configuration", "ports CF8 and CFC");
    else if (memory.count == 0)
      out.text("pci_configuration",
               "none: no function behind ports CF8 and CFC, no MCFG, no device tree's host, no ecam=ADDRESS");
    else
      out.text("pci_configuration", "memory at ", boot::hex{memory.all[0].base},
               from == source::table  ? ", as MCFG says"
               : from == source::tree ? ", as the device tree says"
                                      : ", as the command line says");
    const usize shown = from == source::ports ? 0 : 1;
    if (memory.count <= shown) return;
    out.list("further_pci_configuration");
    for (usize i = shown; i < memory.count; ++i) {
      out.item();
      out.number("segment", memory.all[i].segment_number);
      out.number("first_bus", memory.all[i].first_bus);
      out.hex("address", memory.all[i].base);
      out.close();
    }
    out.close();
  }

  u32 config_read32(function_id id, u16 offset) const {
    if (is_behind_ports(id)) return ports.config_read32(id, offset);
    const piece* const one = memory.of(id);
    return one != nullptr ? one->config_read32(id, offset) : 0xffffffff;
  }
  void config_write32(function_id id, u16 offset, u32 value) const {
    if (is_behind_ports(id)) return ports.config_write32(id, offset, value);
    if (const piece* const one = memory.of(id)) one->config_write32(id, offset, value);
  }
  void config_write16(function_id id, u16 offset, u16 value) const {
    if (is_behind_ports(id)) return ports.config_write16(id, offset, value);
    if (const piece* const one = memory.of(id)) one->config_write16(id, offset, value);
  }
  virtio::result<virtio::pci::bar_info> locate(function_id id, u8 index) const {
    return virtio::pci::probe_bar(*this, id, index);
  }
  virtio::result<bar_space> bar(function_id id, u8 index) const {
    if (is_behind_ports(id)) return ports.bar(id, index);
    const piece* const one = memory.of(id);
    return one != nullptr ? one->bar(id, index) : virtio::errc::not_found;
  }
  virtio::pci::bus_set root_buses() const { return boot::root_buses(ports); }  // of those behind ports
  template <class Visit>
  void each_function(Visit&& visit) const {
    bool more = true;
    if (from == source::ports)
      virtio::pci::each_numbered_function(*this, 0, [&](function_id id) { return more = visit(id); });
    if (more) (void)memory.each_function(visit);
  }

 private:
  static bool is_behind_ports(function_id id) { return from == source::ports && id.segment == 0; }

  /// Adds a part that the processor reaches; the first one of segment 0 sets its source.
  static void add(const piece& one, source how) {
    if (!boot::map_device_memory(one.base, u64{one.buses} << 20)) return;
    memory.add(one);
    if (from == source::none) from = how;
  }

  /// Adds the hosts of a device tree, such as that of QEMU's microvm with pcie=on.
  static void find_in_tree() {
    const void* const blob = boot::machine_tree();
    if (blob == nullptr) return;
    u16 number = 0;
    boot::device_tree{blob}.each_node([&](const auto& node) {
      if (!node.is("pci-host-ecam-generic")) return;
      const boot::pci_tree host = boot::tree::read_pci(node, 12, number++);
      if (host.config.size == 0) return;
      piece one{};
      one.base = static_cast<virtio::uptr>(host.config.base);
      one.buses = host.buses();
      one.first_bus = host.first_bus;
      one.segment_number = host.segment;
      add(one, source::tree);
    });
  }

  /// Parses a hexadecimal number; returns 0 for none.
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
