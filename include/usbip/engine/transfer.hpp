// SPDX-License-Identifier: MIT
// What the engine requires of a device. The engine calls the device, never the reverse, and for each endpoint only
// about the oldest transfer: a device needs no list of transfers.
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/codec/operation.hpp>
#include <usbip/codec/urb.hpp>

namespace usbip {

/// A transfer that a host has requested and that has no answer yet.
struct transfer {
  u8 endpoint = 0;   // the address: 0x80 is set for IN; the control endpoint is 0 in both directions
  direction way{};   // the direction of data
  u32 length = 0;    // OUT: bytes that the host sends; IN: maximum that it accepts
  u32 done = 0;      // bytes of them that have been transferred
  u32 flags = 0;     // of the submit
  u8 setup[8] = {};  // of a control transfer
};

/// The destination of the next bytes of an OUT transfer. `later`: none yet; the engine calls again, and reads nothing
/// from the connection until then. `drop`: that number of bytes is dropped. `refuse`: all bytes are dropped, and the
/// host receives the status.
struct room {
  /// What to do.
  enum class kind : u8 { later, here, drop, refuse };
  kind what = kind::later;  // what to do with the bytes
  bytes where{};            // memory of `here`; the size of `drop`
  urb_status status{};      // of `refuse`

  /// No room yet.
  [[nodiscard]] static constexpr room none_now() { return {}; }
  /// Room at `place`.
  [[nodiscard]] static constexpr room at(bytes place) { return {kind::here, place, {}}; }
  /// Drops `count` bytes.
  [[nodiscard]] static constexpr room drop(usize count) { return {kind::drop, {nullptr, count}, {}}; }
  /// Drops all bytes, and ends the transfer with this status.
  [[nodiscard]] static constexpr room refused(urb_status why = urb_status::stall) { return {kind::refuse, {}, why}; }
};

/// How a transfer ends; for IN, with the number of bytes that `piece_of` will provide.
struct answer {
  /// Whether it is decided.
  enum class kind : u8 { later, now };
  kind what = kind::later;  // whether it is decided
  urb_status status{};      // for the host
  u32 length = 0;           // bytes of an IN transfer

  /// Not decided yet.
  [[nodiscard]] static constexpr answer not_yet() { return {}; }
  /// Success; for IN with `length` bytes.
  [[nodiscard]] static constexpr answer good(u32 length) { return {kind::now, urb_status::ok, length}; }
  /// Failure with this status.
  [[nodiscard]] static constexpr answer failed(urb_status why = urb_status::stall) { return {kind::now, why, 0}; }
};

/// A device that the engine can serve. None of its calls waits. All except the first three are called between `attach`
/// and `detach`.
///
/// 1. `record()` has the fields of lists, except path, busid, busnum and devnum; `interface_of(n)` those of its n-th
///    interface. They agree with the descriptors.
/// 2. `attach()`: a host takes the device, in the state after power-up. `detach()`: the host has gone; transfers
///    without an answer end without a call for each. `detach` may find requests of the device's own in flight, for
///    example to a disk: their memory must stay allocated until they end.
/// 3. `has(endpoint)`: whether an endpoint has this address. Other endpoints stall without a further call.
/// 4. OUT: `room_for(t)` until `t.done` is `t.length`; `arrived(t, n)` after `n` bytes were written to the front of
///    that room, before they are added to `t.done`. Then, and at once if there is no data, `answer_to(t)` until it is
///    not `later`.
/// 5. IN: `answer_to(t)` until it is not `later`. Then `piece_of(t)`, the available bytes from `t.done` on; none: not
///    yet. They stay in place until `sent(t, n)`, which is called after `n` of them have left, before they are added to
///    `t.done`. As many bytes as `answer_to` has promised must follow. The last `sent` ends the transfer.
/// 6. `canceled(t)`: the host has withdrawn the transfer, and no call about it follows. Only a transfer without an
///    answer is withdrawn.
/// 7. `poll()` on each turn of the engine: the time to process its own requests.
///
/// For one endpoint, calls are only about the oldest transfer. Transfers of several endpoints have their turns.
template <class D>
concept served_device = requires(D& device, const D& unchanged, u8 endpoint, const transfer& t, u32 count) {
  { unchanged.record() } -> same_as<device_record>;
  { unchanged.interface_of(endpoint) } -> same_as<interface_record>;
  { unchanged.has(endpoint) } -> same_as<bool>;
  device.attach();
  device.detach();
  { device.room_for(t) } -> same_as<room>;
  device.arrived(t, count);
  { device.answer_to(t) } -> same_as<answer>;
  { device.piece_of(t) } -> same_as<const_bytes>;
  device.sent(t, count);
  device.canceled(t);
  device.poll();
};

}  // namespace usbip
