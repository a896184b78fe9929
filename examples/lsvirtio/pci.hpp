// SPDX-License-Identifier: MIT
// A PCI function by its configuration space, and the library's verdict on a device.
#pragma once

#include <virtio/pci.hpp>

#include "../boot/common/fail.hpp"
#include "out.hpp"
#include "tables.hpp"

namespace lsvirtio {

[[nodiscard]] inline const char* type_name(virtio::device_type type) {
  const char* const known = row_for(type).name;
  return known != nullptr ? known : "unknown";
}

/// Returns a feature's name, nullptr without one.
[[nodiscard]] inline const char* feature_name(u8 bit, virtio::device_type type) {
  if (const char* const several = contested_name(bit, type); several != nullptr) return several;
  if (const char* const known = boot::feature_name(bit, type); known != nullptr) return known;
  for (const bit_name& one : row_for(type).features)
    if (one.bit == bit) return one.name;
  return nullptr;
}

inline void show_feature(writer& out, const char* key, u8 bit, virtio::device_type type) {
  if (const char* const known = feature_name(bit, type); known != nullptr) out.text(key, known);
  else out.text(key, "bit ", bit);
}

/// Names the host that a bus belongs to, if it has a profile.
template <class Host>
void show_host(writer& out, const Host& host) {
  if (const auto* const known = virtio::pci::detect(host); known != nullptr) out.text("host", known->name);
}

/// Calls `visit` with each function of a host; OpenBSD's VM control device counts as a virtio device.
template <class Host, class Visit>
void each_function(const Host& host, Visit&& visit) {
  virtio::pci::for_each(host, visit, virtio::hosts::openbsd_vmd.ids);
}

/// Prints a verdict, its numbers, and the remedy.
inline void show_report(writer& out, const virtio::report& seen) {
  using virtio::verdict;
  out.text("verdict", virtio::describe(seen.why));
  if (seen.why == verdict::usable || seen.why == verdict::bound || seen.why == verdict::not_virtio) return;
  if (seen.error != virtio::errc::ok) out.text("error", virtio::describe(seen.error));
  const bool is_bar = seen.why >= verdict::bar_unassigned && seen.why <= verdict::bar_too_small;
  const bool is_queue = seen.why >= verdict::queue_missing && seen.why <= verdict::vector_refused;
  if (is_bar) {
    out.number("bar", seen.bar);
    if (seen.bar_address != 0) out.hex("bar_address", seen.bar_address);
    if (seen.bar_size != 0) out.hex("bar_bytes", seen.bar_size);
  }
  if ((is_bar || (seen.why >= verdict::capability_missing && seen.why <= verdict::capability_misaligned)) &&
      seen.capability != 0)
    out.text("structure", virtio::pci::name(virtio::pci::structure{seen.capability}));
  if (seen.why == verdict::feature_missing || seen.why == verdict::feature_unsupported)
    show_feature(out, "feature", seen.feature, seen.type);
  if (is_queue) out.number("queue", seen.queue);
  if (seen.wanted != 0) out.number("wanted", seen.wanted);
  if (seen.available != 0) out.number("available", seen.available);
  if (seen.why == verdict::reset_timed_out || seen.why == verdict::features_refused) out.hex("status", seen.status);
  out.text("advice", virtio::advice(seen.why));
}

template <class Found>
void show_bars(writer& out, const Found& one) {
  using virtio::pci::bar_kind;
  out.list("bars");
  for (u8 n = 0; n < 6; ++n) {
    const auto bar = virtio::pci::probe_bar(one.host, one.id, n);
    if (!bar) continue;
    out.item();
    out.number("bar", n);
    out.text("kind",
             bar->kind == bar_kind::io ? "ports"
             : bar->is_64bit           ? "64-bit memory"
                                       : "32-bit memory",
             bar->is_prefetchable ? ", prefetchable" : "");
    out.hex("address", bar->base);
    out.hex("bytes", bar->size);
    out.close();
    if (bar->is_64bit) ++n;
  }
  out.close();
}

template <class Found>
void show_capabilities(writer& out, const Found& one) {
  out.list("capabilities");
  virtio::pci::each_virtio_capability(one.host, one.id, [&](const virtio::pci::virtio_capability& c) {
    out.item();
    out.hex("at", c.at);
    out.text("structure", virtio::pci::name(c.what));
    out.number("type", static_cast<u8>(c.what));
    out.number("cap_len", c.bytes);
    if (c.what != virtio::pci::structure::vendor_data) {
      out.number("bar", c.bar);
      out.hex("offset", c.offset);
      out.hex("length", c.length);
    }
    if (c.what == virtio::pci::structure::notify) out.number("multiplier", c.notify_multiplier);
    if (c.what == virtio::pci::structure::shared_memory) out.number("id", c.id);
    out.close();
    return true;
  });
  out.close();
}

template <class Found>
void show_interrupt(writer& out, const Found& one) {
  const u32 line = one.host.config_read32(one.id, 0x3c);
  const u8 pin = static_cast<u8>(line >> 8);
  const auto msix = virtio::pci::find_msix(one.host, one.id);
  out.line("interrupt");
  if (pin >= 1 && pin <= 4) {
    const char letter[] = {static_cast<char>('A' + pin - 1), '\0'};
    out.text("pin", letter);
    out.number("line", line & 0xff);
  }
  out.number("msix_vectors", msix.vectors);
  out.is("msix_on", msix.enabled ? answer::yes : answer::no);
  out.close();
}

/// Prints everything about a function except its registers. The group stays open for those.
template <class Found>
void begin_function(writer& out, const Found& one) {
  out.begin("function", "address", digits{one.id.bus, 2}, ":", digits{one.id.slot, 2}, ".", one.id.function);
  out.text("ids", digits{one.who.vendor, 4}, ":", digits{one.who.device, 4});
  out.text("subsystem", digits{one.who.subsystem_vendor, 4}, ":", digits{one.who.subsystem, 4});
  out.number("revision", one.who.revision);
  const u32 code = one.host.config_read32(one.id, virtio::pci::config::class_code) >> 8;
  out.text("class", digits{code, 6});
  out.text("class_name", class_name(static_cast<u8>(code >> 16)));
  out.text("command", digits{one.host.config_read32(one.id, virtio::pci::config::command) & 0xffff, 4});
  if ((one.who.header_type & 0x7f) == 1) {
    const u32 buses = one.host.config_read32(one.id, virtio::pci::config::bus_numbers);
    out.text("bridge_to_buses", buses >> 8 & 0xff, " to ", buses >> 16 & 0xff);
  }
  show_report(out, one.seen);
  show_interrupt(out, one);
  show_bars(out, one);
  if (one.seen.why != virtio::verdict::not_virtio) show_capabilities(out, one);
}

}  // namespace lsvirtio
