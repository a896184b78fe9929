// SPDX-License-Identifier: MIT
// The description of a PC, 64 bits or 32.
#pragma once

#include "board.hpp"
#include "loader.hpp"
#include "out.hpp"
#include "slots.hpp"

namespace lsvirtio {

#if defined(__x86_64__)
inline constexpr const char* processor = "x86-64";
#else
inline constexpr const char* processor = "i386";
#endif

using memory_half = virtio::identity_mapped<>;  // of a board

struct cpuid {
  u32 a, b, c, d;
  explicit cpuid(u32 leaf) : a{leaf}, c{0} { asm("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)); }
};

/// Twelve characters in three registers.
struct letters {
  char text[12];
  letters(u32 first, u32 second, u32 third) {
    const u32 all[] = {first, second, third};
    __builtin_memcpy(text, all, sizeof text);
  }
  [[nodiscard]] boot::text trimmed() const {
    usize size = sizeof text;
    while (size != 0 && text[size - 1] == '\0') --size;
    return {text, size};
  }
};

inline void show_processor(writer& out) {
  out.text("processor", processor);
  const cpuid vendor{0}, features{1}, top{0x80000000};
  out.text("vendor", letters{vendor.b, vendor.d, vendor.c}.trimmed());
  if ((features.c >> 31 & 1) != 0) {
    const cpuid hypervisor{0x40000000};
    out.text("hypervisor", letters{hypervisor.b, hypervisor.c, hypervisor.d}.trimmed());
  }
  if (top.a >= 0x80000008) out.number("physical_address_bits", cpuid{0x80000008}.a & 0xff);
}

inline void show_entry(writer& out) {
  const boot::handover& given = boot::loaded();
  out.text("entry", boot::name(given.by));
  out.text("command_line", given.command_line);
  if (given.rsdp != 0) out.hex("rsdp", given.rsdp);
  else out.text("rsdp_missing", "no ACPI: neither from the loader nor below 1 MiB");
  if (given.device_tree != nullptr) out.hex("device_tree", reinterpret_cast<virtio::uptr>(given.device_tree));
}

/// Calls `visit(from, bytes, kind)` for each range of the memory map.
template <class Visit>
void each_memory(Visit&& visit) {
  const boot::handover& given = boot::loaded();
  for (unsigned i = 0; i < given.ranges; ++i) {
    const boot::memory_range& one = given.memory[i];
    visit(one.at, one.size, boot::name_of_memory(one.type));
  }
}

/// The slots that the loader reports, by its command line or a device tree.
struct slots {
  using slot_space = virtio::mmio_space;
  [[nodiscard]] slot_space slot(usize n) const {
    const boot::mmio_slot& one = boot::mmio_slots().slots[n];
    return {static_cast<virtio::uptr>(one.base), static_cast<usize>(one.size)};
  }
  [[nodiscard]] usize slot_count() const { return boot::mmio_slots().count; }
};
[[nodiscard]] inline slots find_slots() { return {}; }
[[nodiscard]] inline u64 address_of(const slots&, usize n) { return boot::mmio_slots().slots[n].base; }
inline void show_slot(writer& out, const slots&, usize n) {
  const boot::mmio_slot& one = boot::mmio_slots().slots[n];
  out.hex("bytes", one.size);
  out.number("interrupt", one.interrupt);
}

/// Calls `visit(what, address, word, reason)` for each device that the loader reports and the machine cannot use.
template <class Visit>
void each_rejected(Visit&& visit) {
  const boot::rejected_list& all = boot::rejected_slots();
  for (usize i = 0; i < all.count; ++i) visit("slot", all.slots[i].base, all.slots[i].word, all.slots[i].problem);
}

}  // namespace lsvirtio
