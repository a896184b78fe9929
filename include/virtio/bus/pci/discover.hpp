// SPDX-License-Identifier: MIT
// Discovery: every function with its verdict, and functions that choose a device. Discovery changes no device, except
// while it sizes BARs. Spec: virtio 1.4, 4.1.2, 4.1.4. Layer: bus/pci.
#pragma once

#include <virtio/bus/pci/capabilities.hpp>
#include <virtio/bus/pci/match.hpp>

namespace virtio::pci {

/// One function: its place, its ids, and its verdict. Contains the host, so that a transport needs nothing else to open
/// the device.
template <host H>
struct found {
  using host_type = H;  // the host that the function is on

  H host{};                      // its host
  typename H::function_id id{};  // its place
  identity who{};                // its ids
  report seen{};                 // verdict from the ids; after `look`, also from the registers
  bool may_be_legacy = false;    // its ids allow a device without virtio capabilities

  /// Returns the quirks of its host, if the host has them.
  [[nodiscard]] constexpr host_quirks quirks() const
    requires requires(const H& h) { host_quirks{h.quirks()}; }
  {
    return host.quirks();
  }
};

/// Returns the id table to use for these ids: the user's if it has a row for them, else that of the host.
template <host H>
[[nodiscard]] constexpr id_table table_for(const H& h, const identity& who, id_table extra) {
  if constexpr (requires { id_table{h.id_rows()}; })
    return extra.names(who.vendor, who.device) ? extra : id_table{h.id_rows()};
  else return extra;
}

/// Reads one function's ids. Only reads. Four accesses.
template <host H>
[[nodiscard]] found<H> at(const H& h, typename H::function_id id, id_table extra = {}) {
  found<H> out{h, id, identify(h, id), {}, false};
  const match ids = match_ids(out.who, table_for(h, out.who, extra));
  out.seen.why = ids.why;
  out.seen.type = ids.type;
  out.may_be_legacy = ids.may_be_legacy;
  return out;
}

/// Returns whether the device is legacy: its ids allow it, and it has no virtio capabilities (4.1.4.10).
template <host H>
[[nodiscard]] bool is_legacy(const found<H>& one) {
  return one.may_be_legacy && !has_virtio_capabilities(one.host, one.id);
}

/// Examines one function: the interface to drive it through, or the reason why not. A transitional device with unusable
/// modern registers is driven through its legacy block, if that is usable. Sizes its BARs, which pauses its decoding
/// for a few accesses: not while an interrupt handler uses it.
template <host H>
[[nodiscard]] found<H> look(const H& h, typename H::function_id id, id_table extra = {}) {
  found<H> out = at(h, id, extra);
  if (out.seen.why != verdict::usable) return out;
  modern_layout<typename H::bar_space> modern;
  typename H::bar_space legacy{};
  if (is_legacy(out)) {
    (void)find_legacy(h, id, legacy, out.seen);
  } else if (!find_modern(h, id, modern, out.seen) && out.may_be_legacy) {
    report second = at(h, id, extra).seen;
    if (find_legacy(h, id, legacy, second)) out.seen = second;
  }
  return out;
}

/// Calls `visit(const found<H>&)` for every PCI function, virtio or not, with its verdict. The host's trace hook
/// receives each. Sizes BARs, as `look` does.
template <host H, class Visit>
void for_each(const H& h, Visit&& visit, id_table extra = {}) {
  h.each_function([&](typename H::function_id id) {
    const found<H> one = look(h, id, extra);
    u32 place = 0;
    if constexpr (requires { id.routing_id(); }) place = id.routing_id();
    virtio::detail::trace(h, {event::kind::function, place, u32{one.who.device} << 16 | one.who.vendor});
    virtio::detail::trace(h, {event::kind::verdict, static_cast<u32>(one.seen.why), one.seen.capability});
    visit(one);
    return true;
  });
}

/// Returns the `nth` device of a type by its ids, counting from 0 in the order of the bus. Its registers are checked at
/// its start. Only reads. Error: `not_found`.
template <host H>
[[nodiscard]] result<found<H>> find_nth(const H& h, device_type type, usize nth, id_table extra = {}) {
  result<found<H>> chosen = errc::not_found;
  h.each_function([&](typename H::function_id id) {
    const found<H> one = at(h, id, extra);
    if (one.seen.why != verdict::usable || one.seen.type != type || nth-- != 0) return true;
    chosen = one;
    return false;
  });
  return chosen;
}

/// Returns the only device of a type, by its ids. Only reads. Errors: `not_found`; `ambiguous` if there are several: a
/// program that writes to "the" disk must not get an arbitrary one.
template <host H>
[[nodiscard]] result<found<H>> find(const H& h, device_type type, id_table extra = {}) {
  result<found<H>> chosen = errc::not_found;
  h.each_function([&](typename H::function_id id) {
    const found<H> one = at(h, id, extra);
    if (one.seen.why != verdict::usable || one.seen.type != type) return true;
    chosen = chosen ? result<found<H>>{errc::ambiguous} : result<found<H>>{one};
    return bool{chosen};
  });
  return chosen;
}

}  // namespace virtio::pci
