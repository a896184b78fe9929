// SPDX-License-Identifier: MIT
// The capability list of a PCI function, and the virtio structures that its vendor capabilities describe. The whole
// list comes from the device: the walk is bounded, and every range is checked in 64 bits against its BAR.
// Spec: virtio 1.4, 4.1.4. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/bars.hpp>
#include <virtio/config.hpp>

namespace virtio::pci {

/// The structure that a virtio capability describes (cfg_type).
enum class structure : u8 {
  common = 1,
  notify = 2,
  isr = 3,
  device = 4,
  config_window = 5,
  shared_memory = 8,
  vendor_data = 9
};

/// Returns the name of a structure, for a log line. Static storage.
[[nodiscard]] constexpr const char* name(structure which) {
  switch (which) {
    case structure::common: return "common configuration";
    case structure::notify: return "notification";
    case structure::isr: return "ISR";
    case structure::device: return "device configuration";
    case structure::config_window: return "configuration window";
    case structure::shared_memory: return "shared memory";
    case structure::vendor_data: return "vendor data";
  }
  return "reserved";
}

/// Numbers of capabilities.
namespace capability_id {
inline constexpr u8 vendor = 0x09;       // virtio's, among others
inline constexpr u8 pci_express = 0x10;  // PCI Express
inline constexpr u8 msix = 0x11;         // MSI-X
}  // namespace capability_id

/// The most capabilities in a list. Configuration space has room for 48 capabilities of 4 bytes. A longer list is a
/// loop.
inline constexpr u32 most_capabilities = 48;

/// Calls `visit(offset, first dword)` for each capability, until it returns false or the list ends. Cost: two accesses,
/// and one for each capability.
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

/// A virtio capability as read from the device. Its fields are not checked.
struct virtio_capability {
  u16 at = 0;                 // its offset in configuration space
  u8 bytes = 0;               // its length as the device states it
  structure what{};           // may be a number without a name here
  u8 bar = 0;                 // BAR number
  u8 id = 0;                  // number of a shared memory region
  u64 offset = 0;             // of the structure in the BAR
  u64 length = 0;             // bytes of the structure
  u32 notify_multiplier = 0;  // of the notification structure
};

/// Calls `visit(const virtio_capability&)` for each virtio capability, until it returns false or the list ends.
/// Includes those that no driver can use. Fields beyond the 256 bytes of configuration space are 0. Vendor data have
/// neither BAR nor offset: their fields have no meaning. Only reads. Cost: at most six configuration reads each. Spec:
/// 4.1.4, 4.1.4.7.
template <config_space H, class Visit>
void each_virtio_capability(const H& h, typename H::function_id id, Visit&& visit) {
  each_capability(h, id, [&](u16 at, u32 head) {
    if ((head & 0xffu) != capability_id::vendor) return true;
    const auto dword = [&](u32 n) {
      return at + 4 * n + 4 > 256 ? 0 : h.config_read32(id, static_cast<u16>(at + 4 * n));
    };
    const u32 place = dword(1);
    virtio_capability one{.at = at,
                          .bytes = static_cast<u8>(head >> 16),
                          .what = structure{static_cast<u8>(head >> 24)},
                          .bar = static_cast<u8>(place),
                          .id = static_cast<u8>(place >> 8),
                          .offset = dword(2),
                          .length = dword(3)};
    if (one.what == structure::notify) one.notify_multiplier = dword(4);
    if (one.what == structure::shared_memory) {
      one.offset |= u64{dword(4)} << 32;
      one.length |= u64{dword(5)} << 32;
    }
    return bool{visit(static_cast<const virtio_capability&>(one))};
  });
}

/// The state of a function's MSI-X capability.
struct msix_state {
  u16 at = 0;            // its offset in configuration space; 0: none
  u16 vectors = 0;       // size of the table
  bool enabled = false;  // whether MSI-X is on
};

/// Reads the MSI-X capability of a function.
template <config_space H>
[[nodiscard]] msix_state find_msix(const H& h, typename H::function_id id) {
  msix_state out;
  each_capability(h, id, [&](u16 at, u32 head) {
    if ((head & 0xffu) != capability_id::msix) return true;
    out = {at, static_cast<u16>((head >> 16 & 0x7ffu) + 1), head >> 31 != 0};
    return false;
  });
  return out;
}

/// Returns whether a vector can be used: it exists (a driver must not use others), and MSI-X is on (else its events
/// would be lost).
template <config_space H>
[[nodiscard]] bool has_vector(const H& h, typename H::function_id id, u16 vector) {
  const msix_state now = find_msix(h, id);
  return now.enabled && vector < now.vectors;
}

/// The structures of a modern device as register spaces, limited by the capability and by the BAR. `device` is empty
/// for devices without configuration, such as entropy.
template <class Space>
struct modern_layout {
  Space space[4]{};           // by structure, from `common` on
  u32 notify_multiplier = 0;  // bytes per unit of queue_notify_off
  u32 notify_offset = 0;      // of the notification structure in its BAR
  u32 decoding = 0;           // command bits for the kinds of BARs that the structures use

  [[nodiscard]] constexpr const Space& common() const { return space[0]; }  // common configuration
  [[nodiscard]] constexpr const Space& notify() const { return space[1]; }  // notification structure
  [[nodiscard]] constexpr const Space& isr() const { return space[2]; }     // ISR byte
  [[nodiscard]] constexpr const Space& device() const { return space[3]; }  // device configuration
};

/// Requirements of structures, indexed from `common` on.
namespace capability_rules {
// 56 bytes of common configuration reach up to queue_device; later fields depend on their features.
inline constexpr u8 needed[4] = {56, 2, 1, 1};     // bytes that a driver needs
inline constexpr u8 misaligned[4] = {3, 1, 0, 3};  // alignment of the offset, minus one
}  // namespace capability_rules

/// Access to a structure's BAR through the host's `bar`.
struct directly {
  /// Returns the register space of a BAR.
  template <host H>
  [[nodiscard]] static auto bar(const H& h, typename H::function_id id, u8 index) {
    return h.bar(id, index);
  }
};
/// Access to a structure's BAR through the window in configuration space.
struct through_window {
  /// Returns the register space of a BAR.
  template <windowed_host H>
  [[nodiscard]] static auto bar(const H& h, typename H::function_id id, u8 index) {
    return h.bar_through_window(id, index);
  }
};

/// Examines the virtio capability at `at`. Fills its part of `all` if it is usable, else `out` gets the reason. Returns
/// whether it is usable.
template <class Way, host H>
[[nodiscard, gnu::noinline]] bool use_capability(const H& h, typename H::function_id id, u32 at, u32 kind,
                                                 modern_layout<typename H::bar_space>& all, report& out) {
  const u32 needed = capability_rules::needed[kind];
  const bool is_notify = kind == 1;
  out.capability = static_cast<u8>(kind + 1);
  out.wanted = needed;
  // Four dwords, or five for notify, must fit into the 256 bytes. cap_len is ignored: OpenBSD's vmd has 16 for notify,
  // with the multiplier after that.
  out.why = verdict::capability_too_short;
  if (at + (is_notify ? 20u : 16u) > 256) return false;
  const auto dword = [&](u32 n)
                         __attribute__((always_inline)) { return h.config_read32(id, static_cast<u16>(at + 4 * n)); };
  const u8 bar = static_cast<u8>(dword(1));
  const u32 offset = dword(2);
  const u32 length = dword(3);
  out.bar = bar;
  out.available = length;
  if (length < needed) return false;
  out.why = verdict::capability_bar_invalid;
  if (bar > 5) return false;
  out.why = verdict::capability_misaligned;
  if ((offset & capability_rules::misaligned[kind]) != 0) return false;
  const auto whole = Way::bar(h, id, bar);
  out.why = whole.error() == errc::out_of_range ? verdict::bar_out_of_reach : verdict::bar_unassigned;
  if (!whole) return false;
  out.why = verdict::bar_too_small;
  const usize size = whole->size();
  out.available = static_cast<u32>(size);
  if (offset >= size || size - offset < needed) return false;
  // A length far larger than the structure is normal (crosvm). A length beyond the BAR is reduced.
  all.space[kind] = whole->part(offset, virtio::detail::smaller(usize{length}, size - offset));
  all.decoding |= command::memory - (h.config_read32(id, static_cast<u16>(config::bar0 + 4u * bar)) & command::io);
  if (!is_notify) return true;
  all.notify_multiplier = dword(4);
  all.notify_offset = offset;
  return true;
}

/// Finds the structures of a modern device of `out.type`: of each kind the first usable capability (4.1.4.1). `out`
/// gets the verdict; for an unusable structure the reason of its first capability. The device configuration is ignored
/// for types without one: some hosts announce an empty structure. Errors: `not_found` (a capability is missing),
/// `unsupported` (it exists, but is unusable).
template <host H>
[[nodiscard]] result<void> find_modern(const H& h, typename H::function_id id,
                                       modern_layout<typename H::bar_space>& all, report& out) {
  out.via = transport_kind::none;
  constexpr u8 in_use = 1;
  u8 first[4]{};   // by kind: offset of its first capability; 0: none; `in_use`: a usable one was found
  report passing;  // an unusable capability may be followed by a usable one
  const auto search = [&]<class Way>(Way) {
    each_capability(h, id, [&](u16 at, u32 head) {
      const u32 kind = (head >> 24) - 1;
      if ((head & 0xffu) != capability_id::vendor || kind >= 4 || first[kind] == in_use) return true;
      if (use_capability<Way>(h, id, at, kind, all, passing)) first[kind] = in_use;
      else if (first[kind] == 0) first[kind] = static_cast<u8>(at);
      return true;
    });
  };
  search(directly{});
  if constexpr (windowed_host<H>) search(through_window{});
  for (u32 kind = 0; kind < 4; ++kind) {
    if (first[kind] == in_use || (kind == 3 && (first[kind] == 0 || !has_config(out.type)))) continue;
    out.why = verdict::capability_missing;
    out.capability = static_cast<u8>(kind + 1);
    if (first[kind] == 0) return errc::not_found;
    if (use_capability<directly>(h, id, first[kind], kind, all, out)) continue;  // again, for its reason
    if constexpr (windowed_host<H>)
      if (out.why == verdict::bar_out_of_reach)
        (void)use_capability<through_window>(h, id, first[kind], kind, all, out);
    add_bar(h, id, out);
    return errc::unsupported;
  }
  out.why = verdict::usable;
  out.via = transport_kind::pci_modern;
  return {};
}

/// Finds the register block of a legacy device: BAR 0, in I/O space. Errors: as `find_modern`.
template <host H>
[[nodiscard]] result<void> find_legacy(const H& h, typename H::function_id id, typename H::bar_space& block,
                                       report& out) {
  constexpr u32 header_bytes = 20;
  out.via = transport_kind::none;
  out.bar = 0;
  out.why = verdict::legacy_without_io_bar;
  if ((h.config_read32(id, config::bar0) & 1u) == 0) return errc::not_found;
  const auto whole = h.bar(id, 0);
  out.why = whole.error() == errc::out_of_range ? verdict::bar_out_of_reach : verdict::bar_unassigned;
  if (whole && whole->size() < header_bytes) {
    out.why = verdict::bar_too_small;
    out.wanted = header_bytes;
    out.available = static_cast<u32>(whole->size());
  } else if (whole) {
    block = *whole;
    out.why = verdict::usable;
    out.via = transport_kind::pci_legacy;
    return {};
  }
  add_bar(h, id, out);
  return errc::unsupported;
}

/// Returns whether the list has a virtio capability for the common structure. A device with one is not legacy.
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
