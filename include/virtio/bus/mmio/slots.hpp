// SPDX-License-Identifier: MIT
// Virtio devices at addresses that the board lists: slots, each a block of registers that states its version and the
// type of its device. Discovery only reads.
// Spec: virtio 1.4, 4.2.2 and 4.2.3.1. Layer: bus/mmio.
#pragma once

#include <virtio/base/profile.hpp>
#include <virtio/base/report.hpp>
#include <virtio/base/result.hpp>
#include <virtio/bus/mmio/registers.hpp>
#include <virtio/platform/mmio.hpp>

namespace virtio::mmio {

/// The slots of MMIO devices, a small value like a platform (often the same object):
///  1. `slot_count()` returns the number of slots, which is constant;
///  2. `slot(n)` for n below that returns the register space of slot `n`, with its size. The registers end at 0x100;
///     the device's configuration follows;
///  3. optional `trace(event)` receives every slot and verdict;
///  4. optional `quirks()`, a `host_quirks`: the quirks of the host that concern drivers (`mmio::profiled`).
/// `mmio::slots` is ready-made. A board with a device tree defines its own.
template <class B>
concept bus = small_value<B> && register_space<typename B::slot_space> && requires(const B b, usize n) {
  { b.slot(n) } -> same_as<typename B::slot_space>;
  { b.slot_count() } -> same_as<usize>;
};

/// `count` slots, `stride` bytes apart: `{.base = 0x0a000000, .stride = 0x200, .count = 32}` on QEMU's aarch64 virt.
struct slots {
  using slot_space = mmio_space;  // `bus` concept

  uptr base = 0;     // address of slot 0 for the CPU
  usize stride = 0;  // bytes from one slot to the next
  usize count = 0;   // number of slots

  /// `bus` concept: returns the registers of slot `n`.
  [[nodiscard]] constexpr mmio_space slot(usize n) const { return {base + n * stride, stride}; }
  /// `bus` concept: returns the number of slots.
  [[nodiscard]] constexpr usize slot_count() const { return count; }
};

static_assert(bus<slots>);

/// One slot: its place, its device, and its verdict. Contains the bus, so that a transport needs nothing else to open
/// the device.
template <bus B>
struct found {
  using bus_type = B;  // the bus that the slot is on

  B bus{};         // its bus
  usize slot = 0;  // its number
  u32 vendor = 0;  // the host's vendor id, 0 without a device
  report seen{};   // verdict and type

  /// Returns the quirks of its host, if the bus has them.
  [[nodiscard]] constexpr host_quirks quirks() const
    requires requires(const B& b) { host_quirks{b.quirks()}; }
  {
    return bus.quirks();
  }
};

/// Examines one slot. At most four reads; stops at the first that excludes a device.
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

/// Calls `visit(const found<B>&)` for every slot, empty or not, with its verdict. The bus's trace hook receives each.
/// Only reads.
template <bus B, class Visit>
void for_each(const B& b, Visit&& visit) {
  for (usize n = 0; n < b.slot_count(); ++n) {
    const found<B> one = at(b, n);
    virtio::detail::trace(b, {event::kind::function, static_cast<u32>(n), u32{static_cast<u16>(one.seen.type)} << 16});
    virtio::detail::trace(b, {event::kind::verdict, static_cast<u32>(one.seen.why), 0});
    visit(one);
  }
}

/// Returns the `nth` device of a type, counting from 0 in the order of the slots. Only reads. Error: `not_found`.
template <bus B>
[[nodiscard]] result<found<B>> find_nth(const B& b, device_type type, usize nth) {
  for (usize n = 0; n < b.slot_count(); ++n) {
    const found<B> one = at(b, n);
    if (one.seen.why == verdict::usable && one.seen.type == type && nth-- == 0) return one;
  }
  return errc::not_found;
}

/// Returns the only device of a type. Errors: `not_found`; `ambiguous` if there are several: a program that writes to
/// "the" disk must not get an arbitrary one.
template <bus B>
[[nodiscard]] result<found<B>> find(const B& b, device_type type) {
  const auto first = find_nth(b, type, 0);
  return first && find_nth(b, type, 1) ? result<found<B>>{errc::ambiguous} : first;
}

}  // namespace virtio::mmio
