// SPDX-License-Identifier: MIT
// What the engine asks of a device. It asks, the device never calls: for each endpoint about the oldest transfer alone, so that a
// device needs no list of them.
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/codec/operation.hpp>
#include <usbip/codec/urb.hpp>

namespace usbip {

/// A transfer that a host has asked for, as long as it is not answered.
struct transfer {
  u8 endpoint = 0;   // the address: 0x80 is set for IN; the control endpoint is 0 in either direction
  direction way{};
  u32 length = 0;    // OUT: how many bytes the host sends; IN: the most that it takes
  u32 done = 0;      // of these so many have been through
  u32 flags = 0;
  u8 setup[8] = {};  // of a control transfer
};

/// Where the next bytes of an OUT transfer go. `later`: ask again; until then nothing more is read from the connection.
/// `drop`: nowhere, so many of them. `refuse`: nowhere, all of them, and the host has the status.
struct room {
  enum class kind : u8 { later, here, drop, refuse };
  kind what = kind::later;
  bytes where{};
  urb_status status{};

  [[nodiscard]] static constexpr room none_now() { return {}; }
  [[nodiscard]] static constexpr room at(bytes place) { return {kind::here, place, {}}; }
  [[nodiscard]] static constexpr room drop(usize count) { return {kind::drop, {nullptr, count}, {}}; }
  [[nodiscard]] static constexpr room refused(urb_status why = urb_status::stall) { return {kind::refuse, {}, why}; }
};

/// How a transfer ends; for IN with the number of bytes that `piece` will give.
struct answer {
  enum class kind : u8 { later, now };
  kind what = kind::later;
  urb_status status{};
  u32 length = 0;

  [[nodiscard]] static constexpr answer not_yet() { return {}; }
  [[nodiscard]] static constexpr answer good(u32 length) { return {kind::now, urb_status::ok, length}; }
  [[nodiscard]] static constexpr answer failed(urb_status why = urb_status::stall) { return {kind::now, why, 0}; }
};

/// A device that the engine can serve. None of its calls waits. All but the first three are called between `attach` and
/// `detach`.
///
/// 1. `record()` has what lists say of it, but for path, busid, busnum and devnum; `interface_of(n)` of its n-th
///    interface. They agree with the descriptors.
/// 2. `attach()`: a host takes it, in the state after power-up. `detach()`: the host has gone; transfers that were
///    not answered are over, without a call for each. `detach` may find requests of the device's own in flight, to a
///    disk for example: their memory is not given away before they end.
/// 3. `has(endpoint)`: whether there is an endpoint of this address. Others stall without a further call.
/// 4. OUT: `room_for(t)` until `t.done` is `t.length`; `arrived(t, n)` after `n` bytes were written to the front of
///    that room, before they are added to `t.done`. Then, and at once when there is no data, `answer_to(t)` until it is
///    not `later`.
/// 5. IN: `answer_to(t)` until it is not `later`. After that `piece_of(t)`, the bytes from `t.done` on, as many as
///    there are; none: not yet. They stay as they are until `sent(t, n)`, which comes after `n` of them have left,
///    before they are added to `t.done`. So many bytes as `answer_to` has promised must come. The last `sent` is the
///    end of the transfer.
/// 6. `canceled(t)`: the host has withdrawn it; nothing is asked about it again. Only a transfer that is not
///    answered is withdrawn.
/// 7. `poll()` at each turn of the engine: the time to look after its own requests.
///
/// Of one endpoint only the oldest transfer is asked about; transfers of several endpoints are asked about in turn.
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
