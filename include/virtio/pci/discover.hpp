// SPDX-License-Identifier: MIT
// Discovery: every function with its verdict, and the ways to choose one. Nothing of a device is changed here but what
// sizing its BARs takes. Spec: virtio 1.4, 4.1.2, 4.1.4. Layer: pci.
#pragma once

#include <virtio/pci/capabilities.hpp>
#include <virtio/pci/match.hpp>

namespace virtio::pci {

/// One function: where it is, what it says it is, and what the library makes of it. Carries the host, so that it is all
/// that a transport needs to open the device.
template <host H>
struct found {
  using host_type = H;

  H host{};
  typename H::function_id id{};
  identity who{};
  report seen{};
};

/// Looks at one function: by what would it be driven, or why not.
template <host H>
[[nodiscard]] found<H> look(const H& h, typename H::function_id id, id_table extra = {}) {
  found<H> out{h, id, identify(h, id), {}};
  const match ids = match_ids(out.who, extra);
  out.seen.why = ids.why;
  out.seen.type = ids.type;
  if (ids.why != verdict::usable) return out;
  // 4.1.4.10: capabilities first; a device without them is a legacy one, if its id allows that.
  if (ids.may_be_legacy && !has_virtio_capabilities(h, id)) (void)find_legacy(h, id, out.seen);
  else (void)find_modern(h, id, out.seen);
  return out;
}

/// Calls `visit(const found<H>&)` for every PCI function there is, virtio or not. The host's trace hook sees each as well.
template <host H, class Visit>
void for_each(const H& h, Visit&& visit, id_table extra = {}) {
  h.each_function([&](typename H::function_id id) {
    const found<H> one = look(h, id, extra);
    virtio::detail::trace(h, {event::kind::function, 0, u32{one.who.device} << 16 | one.who.vendor});
    virtio::detail::trace(h, {event::kind::verdict, static_cast<u32>(one.seen.why), one.seen.capability});
    visit(one);
    return true;
  });
}

/// The `nth` usable device of a type, counting from 0 in the order of the bus. Errors: `not_found`; `unsupported` when there
/// is one, but none that can be driven (`for_each` says why).
template <host H>
[[nodiscard]] result<found<H>> find_nth(const H& h, device_type type, usize nth, id_table extra = {}) {
  found<H> chosen;
  usize usable = 0;
  bool seen = false;
  for_each(h, [&](const found<H>& one) {
    if (one.seen.type != type) return;
    seen = true;
    if (one.seen.why != verdict::usable) return;
    if (usable++ == nth) chosen = one;
  }, extra);
  if (usable > nth) return chosen;
  return seen && usable == 0 ? errc::unsupported : errc::not_found;
}

/// The one usable device of a type. Errors: as `find_nth`, and `ambiguous` when there is a second: a program that means to
/// write to "the" disk must not be handed just any.
template <host H>
[[nodiscard]] result<found<H>> find(const H& h, device_type type, id_table extra = {}) {
  if (find_nth(h, type, 1, extra)) return errc::ambiguous;
  return find_nth(h, type, 0, extra);
}

}  // namespace virtio::pci
