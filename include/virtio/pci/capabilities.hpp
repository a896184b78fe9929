// SPDX-License-Identifier: MIT
// The capability list of a PCI function, and the virtio structures that its vendor capabilities point to. The list and
// everything in it come from the device: the walk is bounded and every range is checked in 64 bits against its BAR.
// Spec: virtio 1.4, 4.1.4. Layer: pci.
#pragma once

#include <virtio/config.hpp>
#include <virtio/pci/host.hpp>

namespace virtio::pci {

/// What a virtio capability points to (cfg_type).
enum class structure : u8 { common = 1, notify = 2, isr = 3, device = 4, config_window = 5 };

[[nodiscard]] constexpr const char* name(structure which) {
  switch (which) {
    case structure::common: return "common configuration";
    case structure::notify: return "notification";
    case structure::isr: return "ISR";
    case structure::device: return "device configuration";
    case structure::config_window: return "configuration window";
  }
  return "reserved";
}

namespace capability_id {
inline constexpr u8 vendor = 0x09;
inline constexpr u8 msix = 0x11;
}  // namespace capability_id

// 256 bytes less the header hold at most 48 capabilities of 4 bytes: whoever has more is going in circles.
inline constexpr u32 most_capabilities = 48;

/// Calls `visit(offset, first dword)` for each capability, until it returns false or the list ends.
template <config_space H, class Visit>
void each_capability(const H& h, typename H::function_id id, Visit&& visit) {
  if ((h.config_read32(id, config::command) & status_has_capabilities) == 0) return;
  u32 at = h.config_read32(id, config::capabilities) & 0xfcu;
  for (u32 step = 0; step < most_capabilities && at >= 0x40; ++step) {
    const u32 head = h.config_read32(id, static_cast<u16>(at));
    if ((head & 0xffu) == 0xffu) return;  // all ones: the device is gone
    if (!visit(static_cast<u16>(at), head)) return;
    at = head >> 8 & 0xfcu;
  }
}

/// Where a structure lies.
template <class Space>
struct region {
  Space space{};       // exactly the structure: from its first byte, as long as device and BAR allow
  u32 multiplier = 0;  // notify only: bytes per unit of queue_notify_off
};

/// The first capability for `which` that can be used: at least `needed` bytes, at a multiple of `alignment`, all of them
/// inside a BAR that the host can reach. `out` says why not: the reason of the first one that could not be used, or that
/// there is none. `needed` 0 asks for whatever is there.
template <host H>
[[nodiscard]] result<region<typename H::bar_space>> find_structure(const H& h, typename H::function_id id, structure which,
                                                                   u32 needed, u32 alignment, report& out) {
  using space_type = typename H::bar_space;
  region<space_type> found;
  report first;
  first.why = verdict::capability_missing;
  bool usable = false;
  each_capability(h, id, [&](u16 at, u32 head) {
    if ((head & 0xffu) != capability_id::vendor || head >> 24 != static_cast<u8>(which)) return true;
    // Four dwords, a fifth for notify, must fit what is left of the 256 bytes. cap_len is not asked: OpenBSD's vmd
    // says 16 for notify and has the multiplier behind it all the same.
    const u32 end = at + (which == structure::notify ? 20u : 16u);
    report why;
    if (end > 256) {
      why.why = verdict::capability_too_short;
    } else {
      const u8 bar = static_cast<u8>(h.config_read32(id, static_cast<u16>(at + 4)));
      const u32 offset = h.config_read32(id, static_cast<u16>(at + 8));
      const u32 length = h.config_read32(id, static_cast<u16>(at + 12));
      why.bar = bar;
      why.wanted = needed;
      why.available = length;
      if (bar > 5) {
        why.why = verdict::capability_bar_invalid;
      } else if (offset % alignment != 0) {
        why.why = verdict::capability_misaligned;
      } else if (length < needed || length == 0) {
        why.why = verdict::capability_too_short;
      } else if (const auto space = h.bar(id, bar); !space) {
        why.why = space.error() == errc::out_of_range ? verdict::bar_out_of_reach : verdict::bar_unassigned;
      } else if (const u64 size = space->size(); offset >= size || size - offset < needed) {
        why.why = verdict::bar_too_small;
        why.available = static_cast<u32>(size);
      } else {
        // A length far larger than the structure is normal (crosvm) and one beyond the BAR is cut.
        found.space = space->part(offset, static_cast<usize>(virtio::detail::smaller(u64{length}, size - offset)));
        if (which == structure::notify) found.multiplier = h.config_read32(id, static_cast<u16>(at + 16));
        usable = true;
        return false;
      }
    }
    if (first.why == verdict::capability_missing) first = why;
    return true;  // 4.1.4.1: take the first that can be used, so look on
  });
  if (usable) return found;
  out.why = first.why;
  out.capability = static_cast<u8>(which);
  out.bar = first.bar;
  out.wanted = first.wanted;
  out.available = first.available;
  return first.why == verdict::capability_missing ? errc::not_found : errc::unsupported;
}

/// The structures of a modern device. `device` is an empty space when the device has none: entropy needs none.
template <class Space>
struct modern_layout {
  region<Space> common, notify, isr, device;
};

inline constexpr u32 common_bytes = 56;  // up to and including queue_device; later fields come with their features

/// Finds all four, or says in `out` which one cannot be used and why.
template <host H>
[[nodiscard]] result<modern_layout<typename H::bar_space>> find_modern(const H& h, typename H::function_id id, report& out) {
  modern_layout<typename H::bar_space> all;
  VIRTIO_TRY_ASSIGN(all.common, find_structure(h, id, structure::common, common_bytes, 4, out));
  VIRTIO_TRY_ASSIGN(all.notify, find_structure(h, id, structure::notify, 2, 2, out));
  VIRTIO_TRY_ASSIGN(all.isr, find_structure(h, id, structure::isr, 1, 1, out));
  if (const auto device = find_structure(h, id, structure::device, 0, 4, out)) all.device = *device;
  else if (device.error() != errc::not_found) return device.error();
  out.why = verdict::usable;
  out.capability = 0;
  out.via = transport_kind::pci_modern;
  return all;
}

/// The register block of a legacy device: BAR 0, in I/O space.
template <host H>
[[nodiscard]] result<typename H::bar_space> find_legacy(const H& h, typename H::function_id id, report& out) {
  constexpr u32 header_bytes = 20;
  out.bar = 0;
  out.why = verdict::legacy_without_io_bar;
  if ((h.config_read32(id, config::bar0) & 1u) == 0) return errc::not_found;
  const auto block = h.bar(id, 0);
  if (!block) {
    out.why = block.error() == errc::out_of_range ? verdict::bar_out_of_reach : verdict::bar_unassigned;
    return errc::unsupported;
  }
  if (block->size() < header_bytes) {
    out.why = verdict::bar_too_small;
    out.wanted = header_bytes;
    out.available = static_cast<u32>(block->size());
    return errc::unsupported;
  }
  out.why = verdict::usable;
  out.via = transport_kind::pci_legacy;
  return *block;
}

/// Whether a virtio capability of the common structure is in the list at all: what makes a device not a legacy one.
template <config_space H>
[[nodiscard]] bool has_virtio_capabilities(const H& h, typename H::function_id id) {
  bool found = false;
  each_capability(h, id, [&](u16, u32 head) {
    found = (head & 0xffu) == capability_id::vendor && head >> 24 == static_cast<u8>(structure::common);
    return !found;
  });
  return found;
}

}  // namespace virtio::pci
