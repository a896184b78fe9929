// SPDX-License-Identifier: MIT
// Virtio devices at places that the board knows: a list of slots, each a block of registers that says of itself whether it is
// one, of which version, and whether a device is behind it. Looking changes nothing.
// Spec: virtio 1.4, 4.2.2 and 4.2.3.1. Layer: bus/mmio.
#pragma once

#include <virtio/base/profile.hpp>
#include <virtio/base/report.hpp>
#include <virtio/base/result.hpp>
#include <virtio/bus/mmio/registers.hpp>
#include <virtio/platform/mmio.hpp>

namespace virtio::mmio {

/// Where MMIO devices may be, a small value like a platform (often the same object):
///  1. `slot_count()` is how many slots there are, and they do not move;
///  2. `slot(n)` for n below that is the register space of slot `n`, with its size; the registers end at 0x100, the rest is
///     the device's configuration;
///  3. optional `trace(event)` sees every slot and verdict;
///  4. optional `quirks()`, a `host_quirks`: what drivers are to know of the host (`mmio::profiled`).
/// `mmio::slots` is ready-made; a device tree may give addresses of any kind.
template <class B>
concept bus = small_value<B> && register_space<typename B::slot_space> && requires(const B b, usize n) {
  { b.slot(n) } -> same_as<typename B::slot_space>;
  { b.slot_count() } -> same_as<usize>;
};

/// `count` slots, `stride` bytes apart: `{.base = 0x0a000000, .stride = 0x200, .count = 32}` on QEMU's aarch64 virt.
struct slots {
  using slot_space = mmio_space;

  uptr base = 0;
  usize stride = 0;
  usize count = 0;

  [[nodiscard]] constexpr mmio_space slot(usize n) const { return {base + n * stride, stride}; }
  [[nodiscard]] constexpr usize slot_count() const { return count; }
};

static_assert(bus<slots>);

/// One slot: where it is, what it says it is, and what the library makes of it. Carries the bus, so that it is all that a
/// transport needs to open the device.
template <bus B>
struct found {
  using bus_type = B;

  B bus{};
  usize slot = 0;
  u32 vendor = 0;  // whatever the host calls itself, 0 without a device
  report seen{};

  /// What its host does in a way of its own, where that has a profile.
  [[nodiscard]] constexpr host_quirks quirks() const
    requires requires(const B& b) { host_quirks{b.quirks()}; }
  {
    return bus.quirks();
  }
};

/// Looks at one slot: at most four reads, no more of them than it takes to know that there is nothing.
template <bus B>
[[nodiscard]] found<B> at(const B& b, usize slot) {
  found<B> out{b, slot, 0, {}};
  report& seen = out.seen;
  const auto space = b.slot(slot);
  seen.why = verdict::not_virtio_mmio;
  if (space.size() < registers::config || read(space, registers::magic_value) != 0x74726976) return out;
  const u32 version = read(space, registers::version);
  if (version != 1 && version != 2) {
    seen.why = verdict::version_unknown;
    seen.available = version;
    return out;
  }
  const u32 id = read(space, registers::device_id);
  seen.why = verdict::empty_slot;
  if (id == 0) return out;
  out.vendor = read(space, registers::vendor_id);
  seen.why = id > 0xffff ? verdict::id_without_type : verdict::usable;
  seen.type = id > 0xffff ? device_type::none : static_cast<device_type>(id);
  seen.via = version == 1 ? transport_kind::mmio_legacy : transport_kind::mmio_modern;
  return out;
}

/// Calls `visit(const found<B>&)` for every slot there is, empty or not, with its verdict. The bus's trace hook sees each as
/// well. Changes nothing.
template <bus B, class Visit>
void for_each(const B& b, Visit&& visit) {
  for (usize n = 0; n < b.slot_count(); ++n) {
    const found<B> one = at(b, n);
    virtio::detail::trace(b, {event::kind::function, static_cast<u32>(n), u32{static_cast<u16>(one.seen.type)} << 16});
    virtio::detail::trace(b, {event::kind::verdict, static_cast<u32>(one.seen.why), 0});
    visit(one);
  }
}

/// The `nth` device of a type, counting from 0 in the order of the slots. Changes nothing. Error: `not_found`.
template <bus B>
[[nodiscard]] result<found<B>> find_nth(const B& b, device_type type, usize nth) {
  for (usize n = 0; n < b.slot_count(); ++n) {
    const found<B> one = at(b, n);
    if (one.seen.why == verdict::usable && one.seen.type == type && nth-- == 0) return one;
  }
  return errc::not_found;
}

/// The one device of a type. Errors: `not_found`, and `ambiguous` when there is a second: a program that means to write to
/// "the" disk must not be handed just any.
template <bus B>
[[nodiscard]] result<found<B>> find(const B& b, device_type type) {
  const auto first = find_nth(b, type, 0);
  return first && find_nth(b, type, 1) ? result<found<B>>{errc::ambiguous} : first;
}

}  // namespace virtio::mmio
