// SPDX-License-Identifier: MIT
// The transport concept: access to a device's registers, on any bus. Transports do not use rings; for them a queue is
// three addresses and a size.
// Spec: virtio 1.4, 4. Layer: transport.
#pragma once

#include <virtio/base/features.hpp>
#include <virtio/base/profile.hpp>
#include <virtio/base/report.hpp>
#include <virtio/platform/dma.hpp>
#include <virtio/transport/map.hpp>

namespace virtio {

/// The addresses of a virtqueue's descriptor area, driver area and device area (2.6), and its size.
struct queue_areas {
  dma_addr descriptors{};  // descriptor area
  dma_addr driver{};       // driver area
  dma_addr device{};       // device area
  u16 entries = 0;         // number of entries
};

namespace detail {

/// Returns the number of the page where a legacy ring starts; the device computes the other addresses. Errors:
/// `misaligned` if the ring does not start at a page, `dma_unreachable` if the page number needs more than 32 bits,
/// `invalid_argument` if the areas are not the contiguous block that legacy devices compute (2.7.2).
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

/// Locations with the quirks of their host.
template <class Location>
concept has_quirks = requires(const Location& where) { host_quirks{where.quirks()}; };

}  // namespace detail

/// The limits of a device for one queue.
struct queue_limits {
  u16 maximum = 0;     // most entries; 0: no such queue
  bool fixed = false;  // the driver must use exactly `maximum` (legacy PCI has no register to set the size)
};

/// The cause of an interrupt. Both may be true, or neither (a shared line).
struct interrupt_cause {
  bool queue = false;   // a used buffer notification
  bool config = false;  // a configuration change notification
};

/// How a driver's start changes a function's interrupt line.
enum class line_state : u8 {
  /// Interrupt Disable in the command register is not changed: a polling program may have masked a shared line.
  as_found,
  on,  // it is cleared; `hand_off`, the next `start` or a failed start restores it
};

/// The MSI-X vectors of a device: `config` for configuration changes and failures, `first` and following for its
/// queues, which share `count` vectors in turn. The default is none: the program polls. `interrupt_line` is for
/// programs that use the line.
struct interrupt_vectors {
  u16 config = no_vector;                  // vector of the configuration
  u16 first = no_vector;                   // vector of queue 0
  u16 count = 1;                           // vectors for queues, from `first` on
  line_state line = line_state::as_found;  // the interrupt line

  /// Returns the vector of a queue.
  [[nodiscard]] constexpr u16 of_queue(u16 q) const {
    if (first == no_vector || count < 2) return first;
    while (q >= count) q = static_cast<u16>(q - count);  // no division: 32-bit Arm calls a function for it
    return static_cast<u16>(first + q);
  }
};

/// No vectors, but the interrupt line: `disk.start(board{}, *where, disk_dma, virtio::interrupt_line)`. Enables the
/// line even if it was disabled before. MMIO slots have no such switch: their line is always enabled.
inline constexpr interrupt_vectors interrupt_line{.line = line_state::on};

/// What a device may do on the bus. Each value includes the previous ones.
enum class bus_use : u8 {
  as_found,         // as before `open`
  registers,        // answer to register accesses
  memory,           // access memory
  memory_and_line,  // use its interrupt line, even if that was disabled before
};

/// A transport, a small value that is all-zero when closed. So are `location`, the place of a device, and `doorbell`:
///  1. `type_of(location)` returns the type of the device, `none` if it cannot be driven; it accesses nothing.
///     `open(location, report&)` finds and checks the registers. It writes no virtio register, and does not change the
///     device's state on the bus. It resets the report and sets type and interface. On an error the transport is
///     closed, and the report has the reason;
///  2. every call makes only its own register accesses; none waits. A removed device reads as all ones;
///  3. `wanted` are features of the transport, accepted if offered. `enable_queue` receives the negotiated features,
///     writes all registers, enables the queue last, and on success sets the queue's doorbell. `ring(position)` of a
///     doorbell is exactly one register write; with NOTIFICATION_DATA it includes the queue's `position()`;
///  4. `config<T>` reads one field in the interface's byte order. Fields of 8 bytes may tear, so callers compare
///     `config_generation()` before and after (`read_config` does). Errors: `not_found` without a device configuration,
///     `out_of_range` beyond its end;
///  5. `close()`, after a reset, disconnects the device from the bus if the bus has a switch for that (bus mastering on
///     PCI), and restores all else that `open` found;
///  6. optional `use(bus_use)`, if the bus has such switches: sessions call it with `registers` before each reset, with
///     `memory` only after the device has confirmed a reset, and with `as_found` when they release the device. False:
///     the device does not answer at its registers, and none of them is read;
///  7. optional member `quirks()` of `location`, a `host_quirks`: drivers read it at their start, and it must be
///     constant.
template <class T>
concept transport = small_value<T> && small_value<typename T::location> && small_value<typename T::doorbell> &&
                    requires(T t, const T ct, const typename T::location& where, report& why, u16 q, u16 vector,
                             const queue_areas& areas, const feature_set& f, u8 value, u16 half, u32 words,
                             usize offset, typename T::doorbell& bell, const typename T::doorbell& ready_bell) {
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
