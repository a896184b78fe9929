// SPDX-License-Identifier: MIT
// A link: what an IP stack needs from a network device. `net::device` is one, over a virtio network card;
// `vsock::ethernet_link` is another, over one stream of a socket device.
//
// A stack reads from `facts()` what the link can do, sends frames by `try_send`, and receives them by `receive_with`,
// which shows each one in place. It keeps frames that it cannot process at once, and returns them later. A class that
// has a link and is one can be put in between: filters.hpp has one that shows every frame to a function, and one that
// drops and corrupts some.
//
// Frames are Ethernet II without the frame check sequence. Layer: net (may include platform, base).
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/base/flags.hpp>
#include <virtio/base/result.hpp>
#include <virtio/platform/concepts.hpp>

namespace virtio::net {

inline constexpr u16 header_bytes = 14;  // of a frame: two addresses and a type
/// Bytes of a frame after its header, on most networks.
inline constexpr u16 usual_mtu = 1500;

/// A hardware address.
struct mac_address {
  u8 octets[6]{};  // in the order of transmission
  [[nodiscard]] friend constexpr bool operator==(const mac_address&, const mac_address&) = default;
  /// Whether it is a group address; broadcast is one.
  [[nodiscard]] constexpr bool is_group() const { return (octets[0] & 1) != 0; }
};

/// Work on a frame that a link does for the stack.
enum class offload : u8 {
  checksum = 1,           // computes the checksum that a frame to send requests: see `to_compute`
  received_checksum = 2,  // may report that a received frame's checksum is right: see `checksum`
};

/// The offloads that links of this type may have, from its constant `may_do`. One link's offloads are in its `facts()`.
/// A stack leaves out code for others.
template <class L>
inline constexpr flags<offload> may_do{offload::checksum, offload::received_checksum};
/// The same, for a type with that constant.
template <class L>
  requires requires { L::may_do; }
inline constexpr flags<offload> may_do<L>{L::may_do};

/// What a link can do. Constant from one `start` to the next.
struct capabilities {
  u16 mtu = 0;            // maximum bytes of a frame after its header
  u16 most_pieces = 0;    // maximum pieces of a frame to send; the stack joins others first
  u16 most_kept = 0;      // received frames that can be kept at once while others still arrive
  flags<offload> does{};  // for this stack
};

/// Whether frames can pass.
enum class link_state : u8 { down, up };

/// A checksum for the link to compute in a frame to send: over the bytes from `start` to the end, stored at `start +
/// offset`, where the stack has written the sum of the pseudo header. `start` 0: none. Only with `offload::checksum`.
struct to_compute {
  u16 start = 0;   // bytes from the beginning of the frame
  u16 offset = 0;  // bytes from `start`
};

/// The state of a received frame's TCP or UDP checksum.
enum class checksum : u8 {
  unknown = 0,  // the stack must check it
  right,        // it was checked
  missing,  // the frame was never on a wire: right if it stays on this machine; to forward it, compute `frame::compute`
};

/// Names a received frame that was kept, until `give_back`. All-zero: none.
struct kept_frame {
  u16 slot = 0;        // place in the link's table
  u32 generation = 0;  // odd; 0 names none
  [[nodiscard]] friend constexpr bool operator==(const kept_frame&, const kept_frame&) = default;
};

/// A received frame, in memory that the host can write too. A hostile host may change it meanwhile: read each byte
/// once, or copy it first. The array `pieces` belongs to the link and is valid until the callback returns. The bytes
/// stay in place; those of a kept frame, until `give_back`.
struct frame {
  scatter<const_bytes> pieces{};     // in their order
  u32 size = 0;                      // bytes in all pieces
  checksum sum = checksum::unknown;  // as far as the link has checked it
  to_compute compute{};              // for a frame whose checksum is `missing`
  kept_frame name{};                 // the argument of `give_back`, if the frame is kept

  /// Copies bytes from byte `offset` on, as many as fit and exist. Returns how many.
  usize copy_to(usize offset, bytes into) const {
    usize done = 0;
    for (const const_bytes& piece : pieces) {
      const const_bytes part = piece.part(offset, into.size() - done);
      if (!part.empty()) __builtin_memcpy(into.data() + done, part.data(), part.size());
      done += part.size();
      offset -= virtio::detail::smaller(offset, piece.size());
    }
    return done;
  }
};

/// What happens to a frame that was shown.
enum class after_look : u8 {
  done,  // it belongs to the link again
  /// It belongs to the program until `give_back`, until the next `start`, or until a `reset` or `hand_off` succeeds
  keep,
};

/// A link:
///  1. `mac()`, `facts()` and `state()` describe it; `state` changes in `poll` and in other calls that move frames;
///  2. `poll()` moves frames: it reclaims sent ones and checks time limits. True: a frame is present or the state has
///     changed, so read `state` and receive. Errors: those of the device, which is then down;
///  3. `try_send(pieces, compute)` takes a whole frame to send, or nothing. The caller's memory is free again on
///     return: the frame was copied, or the device has finished with it. Errors: `queue_full` (no room until `poll`
///     makes some); `not_ready` (the link is down); `too_long` (more than the MTU); `invalid_argument` (fewer than 14
///     bytes, or a checksum that the link does not compute or that is not in the frame); `too_many_pieces`;
///  4. `flush()` publishes frames that `try_send` has only staged; at most a doorbell;
///  5. `receive_with(look)` shows the frame that has waited longest. `look(const frame&)` returns an `after_look`; it
///     may send, but not receive, start or reset. Errors: `not_ready` (no frame);
///  6. `give_back(name)` returns a kept frame. Errors: `stale_handle`;
///  7. `wait_until(why, done, give_up)` polls until `done()`, and sleeps if the platform does. Errors: `peer_silent`,
///     `canceled`, as `vsock::device::wait_until`;
///  8. `arm()`, `disarm()` and `acknowledge_interrupt()` are those of every driver.
template <class L>
concept link = requires(L l, const L c, scatter<const_bytes> pieces, to_compute compute, kept_frame name, waiting why,
                        bool (*done)(), after_look (*look)(const frame&)) {
  { c.mac() } -> same_as<mac_address>;
  { c.facts() } -> same_as<capabilities>;
  { c.state() } -> same_as<link_state>;
  { l.poll() } -> same_as<result<bool>>;
  { l.try_send(pieces) } -> same_as<result<void>>;
  { l.try_send(pieces, compute) } -> same_as<result<void>>;
  { l.flush() } -> same_as<void>;
  { l.receive_with(look) } -> same_as<result<void>>;
  { l.give_back(name) } -> same_as<result<void>>;
  { l.wait_until(why, done) } -> same_as<errc>;
  { l.wait_until(why, done, done) } -> same_as<errc>;
  { l.arm() } -> same_as<bool>;
  l.disarm();
  l.acknowledge_interrupt();
};

}  // namespace virtio::net
