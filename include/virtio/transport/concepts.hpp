// SPDX-License-Identifier: MIT
// The transport concept: how a driver reaches a device's registers, whatever bus it sits on. Transports know nothing of
// rings; a queue is handed to them as three addresses and a size.
// Spec: virtio 1.4, 4. Layer: transport.
#pragma once

#include <virtio/base/features.hpp>
#include <virtio/base/profile.hpp>
#include <virtio/base/report.hpp>
#include <virtio/platform/dma.hpp>
#include <virtio/transport/map.hpp>

namespace virtio {

/// The descriptor area, driver area and device area of a virtqueue (2.6), as the device addresses them, and how many entries they have.
struct queue_areas {
  dma_addr descriptors{};
  dma_addr driver{};
  dma_addr device{};
  u16 entries = 0;
};

namespace detail {

/// The page where a legacy ring starts; the device computes the rest from it. Errors: `misaligned` when the ring does not start
/// a page, `dma_unreachable` when the number of its page needs more than 32 bits, `invalid_argument` when the areas are not the
/// one block that legacy devices compute for themselves (2.7.2).
[[nodiscard]] constexpr result<u32> legacy_page(const queue_areas& areas) {
  const u64 start = raw(areas.descriptors);
  if (start % dma_page != 0) return errc::misaligned;
  if (start / dma_page > 0xffffffffu) return errc::dma_unreachable;
  const u64 driver = start + u64{16} * areas.entries;
  const u64 device = (driver + 6 + u64{2} * areas.entries + (dma_page - 1)) & ~u64{dma_page - 1};
  if (raw(areas.driver) != driver || raw(areas.device) != device) return errc::invalid_argument;
  return static_cast<u32>(start / dma_page);
}

}  // namespace detail

namespace detail {

/// Locations that may say something of their host.
template <class Location>
concept has_quirks = requires(const Location& where) { host_quirks{where.quirks()}; };

}  // namespace detail

/// What a device allows for one queue.
struct queue_limits {
  u16 maximum = 0;     // entries; 0: there is no such queue
  bool fixed = false;  // the driver must use exactly `maximum` (legacy PCI has no register to say otherwise)
};

/// Why an interrupt came. Both may be true, and neither (a shared line).
struct interrupt_cause {
  bool queue = false;
  bool config = false;
};

/// What becomes of a function's interrupt line when its driver starts.
enum class line_state : u8 {
  as_found,  // the command register's Interrupt Disable stays as it is: whoever polls and has masked a shared line keeps it masked
  on,        // it is cleared, until `hand_off`, the next `start` or a start that fails puts it back
};

/// The MSI-X vectors that a device uses: `config` for changes of its configuration and failures, `first` and following for its
/// queues, which share `count` of them in turn. By default none: the program polls. `interrupt_line` is for programs that use
/// the line.
struct interrupt_vectors {
  u16 config = no_vector;
  u16 first = no_vector;
  u16 count = 1;
  line_state line = line_state::as_found;

  [[nodiscard]] constexpr u16 of_queue(u16 q) const {
    if (first == no_vector || count < 2) return first;
    while (q >= count) q = static_cast<u16>(q - count);  // no division: 32-bit Arm calls a function for it
    return static_cast<u16>(first + q);
  }
};

/// No vectors, and the interrupt line: `disk.start(board{}, *where, disk_dma, virtio::interrupt_line)`. It does not matter whether
/// somebody had switched it off. MMIO slots have no such switch: their line is on in any case.
inline constexpr interrupt_vectors interrupt_line{.line = line_state::on};

/// What a transport lets its device do on the bus. Each includes those above it.
enum class bus_use : u8 {
  as_found,         // what it could do before `open`
  registers,        // answer at its registers
  memory,           // reach memory
  memory_and_line,  // raise its interrupt line, whatever that was before
};

/// A transport, a small value that is all-zero when closed, as are `location`, which says where a device is, and `doorbell`:
///  1. `type_of(location)` is what the device says it is, `none` when it cannot be driven; it changes nothing.
///     `open(location, report&)` finds and checks the registers. It writes no virtio register, and leaves the device on the bus as
///     it was. It starts the report afresh, with type and interface; on error the transport is closed and it says why;
///  2. every call makes the register accesses it names and no others; none waits. A device that has vanished reads all ones;
///  3. `wanted` are features of the transport itself, accepted when offered. `enable_queue` is told what was negotiated, programs
///     everything, enables last, and on success gives the queue's doorbell. That one's `ring(position)` is exactly one register
///     write; with NOTIFICATION_DATA it says where the queue stands (the queue's `position()`);
///  4. `config<T>` reads one field, in the order of bytes that the interface has; fields of 8 bytes may tear, so callers
///     compare `config_generation()` before and after (`read_config` does). Errors: `not_found` without device config,
///     `out_of_range` behind its end;
///  5. `close()` takes the device off the bus after a reset, where the bus has a switch for that (bus mastering on PCI); else what
///     was switched is as `open` found it;
///  6. optional `use(bus_use)`, where the bus has such switches: sessions ask for `registers` ahead of each reset, for `memory`
///     only after the device has confirmed one, and for `as_found` when they let go of it. False: the device does not answer at its
///     registers all the same, and none of them is read;
///  7. an optional member `quirks()` of `location`, a `host_quirks`: drivers ask it at their start, and it must not change meanwhile.
template <class T>
concept transport = small_value<T> && small_value<typename T::location> && small_value<typename T::doorbell> &&
    requires(T t, const T ct, const typename T::location& where, report& why, u16 q, u16 vector, const queue_areas& areas,
             const feature_set& f, u8 value, u16 half, u32 words, usize offset, typename T::doorbell& bell,
             const typename T::doorbell& ready_bell) {
  typename detail::constant<byte_order{T::ring_order}>;
  typename detail::constant<feature_set{T::wanted}.words()>;
  { t.open(where, why) } -> same_as<result<void>>;
  { T::type_of(where) } -> same_as<device_type>;
  { ct.type() } -> same_as<device_type>;
  { ct.kind() } -> same_as<transport_kind>;
  { ct.is_legacy() } -> same_as<bool>;
  { ct.status() } -> same_as<u8>;
  { t.set_status(value) };
  { t.device_features(words) } -> same_as<feature_set>;
  { t.accept_features(f, words) };
  { t.queue(q) } -> same_as<queue_limits>;
  { ct.enable_queue(q, areas, f, vector, bell) } -> same_as<result<void>>;
  { t.begin_queue_reset(q) } -> same_as<result<void>>;
  { t.queue_reset_done(q) } -> same_as<bool>;
  { t.set_config_vector(vector) } -> same_as<result<void>>;
  { ct.template config<u8>(offset) } -> same_as<result<u8>>;
  { ct.template config<u16>(offset) } -> same_as<result<u16>>;
  { ct.template config<u32>(offset) } -> same_as<result<u32>>;
  { ct.template config<u64>(offset) } -> same_as<result<u64>>;
  { t.template config_write<u8>(offset, value) } -> same_as<result<void>>;
  { t.template config_write<u16>(offset, half) } -> same_as<result<void>>;
  { t.template config_write<u32>(offset, words) } -> same_as<result<void>>;
  { ct.config_generation() } -> same_as<u32>;
  { t.acknowledge_interrupt() } -> same_as<interrupt_cause>;
  { t.close() };
  { ready_bell.ring(q) };
};

}  // namespace virtio
