// SPDX-License-Identifier: MIT
// The description of a machine with a device tree. The processor's file, which includes this one, has `show_processor`
// and `show_firmware`.
#pragma once

#include "board.hpp"
#include "out.hpp"
#include "tree_slots.hpp"

namespace lsvirtio {

// The processor, and the parts of the description that only it has.
void show_processor(writer& out);
void show_firmware(writer& out, const boot::machine_description& m);

inline void show_range(writer& out, const char* key, const char* kind, const boot::range& one) {
  if (one.size != 0) out.text(key, kind, boot::hex{one.base}, ", ", boot::hex{one.size}, " bytes");
}

inline void show_entry(writer& out) {
  out.text("entry", "Linux's image header");
  out.text("command_line", boot::command_line());
  const boot::machine_description& m = boot::machine;
  out.is("device_tree", boot::the_tree() ? answer::yes : answer::no);
  static constexpr const char* consoles[] = {"", "PL011 at ", "16550 at "};
  show_range(out, "console", consoles[static_cast<u8>(m.console.kind)], m.console);
  show_firmware(out, m);
  out.list("pci_hosts");
  for (usize i = 0; i < m.pci_count; ++i) {
    const boot::pci_tree& one = m.pci[i];
    out.item();
    show_range(out, "configuration", one.config_shift == 8 ? "CAM at " : "ECAM at ", one.config);
    out.text("buses", one.first_bus, " to ", one.last_bus);
    out.list("windows");
    for (usize w = 0; w < one.window_count; ++w) {
      const boot::pci_window& to = one.windows[w];
      out.item();
      out.text("space", to.space == boot::pci_space::ports ? "ports" : "memory");
      out.hex("bus", to.bus);
      out.hex("cpu", to.cpu);
      out.hex("bytes", to.size);
      out.close();
    }
    out.close();
    out.close();
  }
  out.close();
}

/// Calls `visit(from, bytes, kind)` for each range of memory, and for the reserved parts of it.
template <class Visit>
void each_memory(Visit&& visit) {
  const boot::machine_description& m = boot::machine;
  for (usize i = 0; i < m.memory_count; ++i) visit(m.memory[i].base, m.memory[i].size, "usable");
  for (usize i = 0; i < m.reserved_count; ++i) visit(m.reserved[i].base, m.reserved[i].size, "reserved");
}

/// The slots that the device tree lists.
using slots = boot::tree_slots<boot::machine>;
[[nodiscard]] inline slots find_slots() { return {}; }
[[nodiscard]] inline u64 address_of(const slots&, usize n) { return boot::machine.slots[n].base; }
inline void show_slot(writer& out, const slots&, usize n) { out.hex("bytes", boot::machine.slots[n].size); }

/// Calls `visit(what, address, word, reason)` for each device of the tree that the processor does not reach.
template <class Visit>
void each_rejected(Visit&& visit) {
  const boot::machine_description& m = boot::machine;
  for (usize i = 0; i < m.slot_count; ++i)
    if (m.slots[i].size == 0) visit("slot", m.slots[i].base, boot::text{}, "the processor does not reach it");
  for (usize i = 0; i < m.unreached_count; ++i)
    visit("PCI host", m.unreached_hosts[i].base, boot::text{}, "the processor does not reach its configuration space");
}

}  // namespace lsvirtio
