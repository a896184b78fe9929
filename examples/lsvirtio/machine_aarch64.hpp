// SPDX-License-Identifier: MIT
// What a 64-bit Arm machine says of itself.
#pragma once

#include "board.hpp"
#include "out.hpp"

namespace lsvirtio {

inline constexpr const char* processor = "aarch64";

inline void show_processor(writer& out) {
  u64 id;
  asm("mrs %0, midr_el1" : "=r"(id));
  out.text("processor", processor);
  out.hex("midr", id);
}

inline void show_entry(writer& out) {
  out.text("entry", "Linux's image header");
  out.text("command_line", boot::command_line());
  const boot::machine_description& m = boot::machine;
  out.is("device_tree", m.console.size != 0 || m.ecam.size != 0 || m.slot_count != 0 ? answer::yes : answer::no);
  const auto range = [&](const char* key, const boot::range& one) {
    if (one.size != 0) out.text(key, boot::hex{one.base}, ", ", boot::hex{one.size}, " bytes");
  };
  range("console", m.console);
  range("pci_configuration", m.ecam);
  range("pci_ports", m.pci_ports);
  range("pci_memory", m.pci_memory);
  range("pci_high_memory", m.pci_high_memory);
}

template <class Visit>
void each_memory(Visit&&) {}

/// The slots that the device tree lists.
struct slots {
  using slot_space = virtio::mmio_space;
  [[nodiscard]] slot_space slot(usize n) const {
    return {static_cast<virtio::uptr>(boot::machine.slots[n].base), static_cast<usize>(boot::machine.slots[n].size)};
  }
  [[nodiscard]] usize slot_count() const { return boot::machine.slot_count; }
};
[[nodiscard]] inline slots find_slots() { return {}; }
[[nodiscard]] inline u64 address_of(const slots&, usize n) { return boot::machine.slots[n].base; }

}  // namespace lsvirtio
