// SPDX-License-Identifier: MIT
// The PCI hosts of a device tree, as the library's host concept: ECAM or CAM, one segment each, BARs only in the tree's
// windows. `Machine` is the description, with static storage; `Maps` maps a range of device memory for the CPU.
#pragma once

#include <virtio/bus/pci/assign.hpp>
#include <virtio/pci.hpp>

#include "machine_tree.hpp"

namespace boot {

/// One PCI host. `tree` outlives it.
template <class Maps>
struct tree_pci_host {
  using function_id = virtio::pci::address;
  using bar_space = virtio::mmio_space;

  const pci_tree* tree;

  [[nodiscard, gnu::noinline]] virtio::u32 config_read32(function_id id, virtio::u16 offset) const {
    return covers(id) ? function(id).template read<virtio::u32>(offset) : 0xffffffffu;
  }
  [[gnu::noinline]] void config_write32(function_id id, virtio::u16 offset, virtio::u32 value) const {
    if (covers(id)) function(id).template write<virtio::u32>(offset, value);
  }
  [[gnu::noinline]] void config_write16(function_id id, virtio::u16 offset, virtio::u16 value) const {
    if (covers(id)) function(id).template write<virtio::u16>(offset, value);
  }
  [[nodiscard]] virtio::result<virtio::pci::bar_info> locate(function_id id, virtio::u8 index) const {
    return virtio::pci::probe_bar(*this, id, index);
  }
  [[nodiscard]] virtio::result<bar_space> bar(function_id id, virtio::u8 index) const {
    return virtio::pci::open_bar<bar_space>(*this, id, index, windows{tree},
                                            [&](virtio::u16 first, virtio::usize size) -> virtio::result<bar_space> {
                                              const range found = tree->reached(pci_space::ports, first, size);
                                              if (found.size == 0 || !Maps::device_memory(found.base, found.size))
                                                return virtio::errc::out_of_range;
                                              return bar_space::memory(static_cast<virtio::uptr>(found.base), size);
                                            });
  }
  [[nodiscard]] virtio::pci::bus_set root_buses() const {
    virtio::pci::bus_set out;
    out.add(tree->first_bus);
    return out;
  }
  template <class Visit>
  void each_function(Visit&& visit) const {
    virtio::pci::each_numbered_function(*this, tree->segment, visit);
  }

  /// Assigns addresses to BARs and numbers to bridges that have none, in the tree's windows. Assigned ones are kept.
  void assign() const {
    const pci_window ports = tree->below(pci_space::ports, 0x10000),
                     low = tree->below(pci_space::memory, virtio::u64{1} << 32),
                     high = tree->above(pci_space::memory, virtio::u64{1} << 32);
    constexpr virtio::u64 old_ports = 0x1000;  // below are ports of devices from before PCI
    const virtio::u64 skipped = ports.bus < old_ports ? old_ports - ports.bus : 0;
    (void)virtio::pci::assign(*this,
                              {.io = {ports.bus + skipped, ports.size > skipped ? ports.size - skipped : 0},
                               .memory = {low.bus, low.size},
                               .high = {high.bus, high.size},
                               .last_bus = tree->last_bus},
                              tree->segment);
  }

 private:
  // A BAR outside the windows is out of reach: a device cannot place one in the guest's memory.
  struct windows {
    const pci_tree* tree;

    [[nodiscard]] virtio::result<virtio::uptr> cpu_address(virtio::u64 at, virtio::u64 size) const {
      const range found = tree->reached(pci_space::memory, at, size);
      if (found.size == 0 || !Maps::device_memory(found.base, found.size)) return virtio::errc::out_of_range;
      return static_cast<virtio::uptr>(found.base);
    }
  };

  [[nodiscard]] bool covers(function_id id) const {
    return tree->config.size != 0 && id.segment == tree->segment && id.bus >= tree->first_bus &&
           id.bus <= tree->last_bus;
  }
  [[nodiscard]] virtio::mmio_space function(function_id id) const {
    const virtio::usize place = static_cast<virtio::usize>(id.routing_id()) - (virtio::usize{tree->first_bus} << 8);
    return virtio::mmio_space{static_cast<virtio::uptr>(tree->config.base), 0}.part(
        place << tree->config_shift, virtio::usize{1} << tree->config_shift);
  }
};

/// All PCI hosts.
template <const machine_description& Machine, class Maps>
struct tree_pci {
  using function_id = virtio::pci::address;
  using bar_space = virtio::mmio_space;
  using one_host = tree_pci_host<Maps>;

  [[nodiscard]] virtio::u32 config_read32(function_id id, virtio::u16 offset) const {
    return of(id).config_read32(id, offset);
  }
  void config_write32(function_id id, virtio::u16 offset, virtio::u32 value) const {
    of(id).config_write32(id, offset, value);
  }
  void config_write16(function_id id, virtio::u16 offset, virtio::u16 value) const {
    of(id).config_write16(id, offset, value);
  }
  [[nodiscard]] virtio::result<virtio::pci::bar_info> locate(function_id id, virtio::u8 index) const {
    return of(id).locate(id, index);
  }
  [[nodiscard]] virtio::result<bar_space> bar(function_id id, virtio::u8 index) const { return of(id).bar(id, index); }
  template <class Visit>
  void each_function(Visit&& visit) const {
    bool more = true;
    for (virtio::usize i = 0; i < Machine.pci_count && more; ++i)
      one_host{&Machine.pci[i]}.each_function([&](function_id id) { return more = visit(id); });
  }

  /// Assigns missing addresses, unless the tree forbids changes.
  static void assign() {
    if (Machine.bars_are_placed == 1) return;
    for (virtio::usize i = 0; i < Machine.pci_count; ++i) one_host{&Machine.pci[i]}.assign();
  }

 private:
  // The host of the function's segment, otherwise any host: it does not cover the function.
  [[nodiscard]] static one_host of(function_id id) {
    virtio::usize i = 0;
    while (i + 1 < Machine.pci_count && Machine.pci[i].segment != id.segment) ++i;
    return {&Machine.pci[i]};
  }
};

}  // namespace boot
