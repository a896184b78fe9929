// SPDX-License-Identifier: MIT
// A link: what an IP stack needs from a network device. `net::device` is one, over a virtio network card;
// `vsock::ethernet_link` is another, over one stream of a socket device.
//
// A stack asks `facts()` what the link can do, hands out frames with `try_send`, and takes those that have arrived with
// `receive_with`, which shows each where it lies. What it cannot finish there it keeps, and gives back later. A class that has a link
// and is one itself comes between: filters.hpp has one that shows every frame to a function, and one that drops and corrupts some.
//
// Frames are Ethernet II without the frame check sequence. Layer: net (may include platform, base).
#pragma once

#include <virtio/base/bytes.hpp>
#include <virtio/base/flags.hpp>
#include <virtio/base/result.hpp>
#include <virtio/platform/concepts.hpp>

namespace virtio::net {

inline constexpr u16 header_bytes = 14;  // of a frame: two addresses and a type
inline constexpr u16 usual_mtu = 1500;

/// A hardware address.
struct mac_address {
  u8 octets[6]{};
  [[nodiscard]] friend constexpr bool operator==(const mac_address&, const mac_address&) = default;
  /// Whether it names a group; broadcast is one.
  [[nodiscard]] constexpr bool is_group() const { return (octets[0] & 1) != 0; }
};

/// Work on a frame that a link does for the stack.
enum class offload : u8 {
  checksum = 1,           // computes the one that a frame to send asks for: see `to_compute`
  received_checksum = 2,  // may say of a received frame that its checksum is right: see `checksum`
};

/// The offloads that links of a type may have, which it says by a constant `may_do`; what one has is in its `facts()`. A stack leaves out
/// what none has.
template <class L>
inline constexpr flags<offload> may_do{offload::checksum, offload::received_checksum};
template <class L>
  requires requires { L::may_do; }
inline constexpr flags<offload> may_do<L>{L::may_do};

/// What a link can do. It stays the same from one `start` to the next.
struct capabilities {
  u16 mtu = 0;           // bytes of a frame behind its header, at most
  u16 most_pieces = 0;   // of a frame to send, at most; what is in more the stack joins first
  u16 most_kept = 0;     // received frames that can be kept at once while others still arrive
  flags<offload> does{};
};

enum class link_state : u8 { down, up };

/// A checksum that the link is asked to compute, of a frame to send: that of the bytes from `start` to the end, stored at `start + offset`,
/// where the stack has put the sum of the pseudo header. `start` 0: none. Only with `offload::checksum`.
struct to_compute {
  u16 start = 0;
  u16 offset = 0;
};

/// What is known of a received frame's TCP or UDP checksum.
enum class checksum : u8 {
  unknown = 0,  // the stack checks it
  right,        // it was checked
  missing,      // the frame never was on a wire: right if it stays on this machine; to forward it, compute `frame::compute`
};

/// Names a received frame that was kept, until `give_back`. All-zero: none.
struct kept_frame {
  u16 slot = 0;
  u32 generation = 0;  // odd
  [[nodiscard]] friend constexpr bool operator==(const kept_frame&, const kept_frame&) = default;
};

/// A received frame, where it lies: in memory that the host can write to as well. A hostile host may change it meanwhile: look at each
/// byte once, or copy first. The array `pieces` belongs to the link and is valid until the callback returns; the bytes stay where they are,
/// those of a frame that is kept until `give_back`.
struct frame {
  scatter<const_bytes> pieces{};
  u32 size = 0;                  // of all pieces
  checksum sum = checksum::unknown;
  to_compute compute{};          // of one whose checksum is `missing`
  kept_frame name{};             // what `give_back` takes, if the frame is kept

  /// Copies bytes from byte `offset` on, as many as fit and are there: says how many.
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

/// What becomes of a frame that was shown.
enum class after_look : u8 {
  done,  // the link has it back
  keep,  // the program has it until `give_back`, or until the next `start`, or a `reset` or `hand_off` that succeeds
};

/// A link:
///  1. `mac()`, `facts()` and `state()` say what it is; `state` changes by `poll` and by what else moves frames;
///  2. `poll()` moves what can be moved: frames that were sent come back, time is looked at. True: a frame is there, or something has
///     changed: look at `state`, and receive. Errors: those of the device, which is down then;
///  3. `try_send(pieces, compute)` takes a frame to send, all of it or nothing. It is copied, or the device is done with it, or it lies in
///     memory of the link: the caller's memory is its own again. Errors: `queue_full`, no room now, and `poll` makes some; `not_ready`, the
///     link is down; `too_long` beyond the MTU; `invalid_argument` below 14 bytes, or a checksum that the link does not compute, or that
///     does not lie in the frame; `too_many_pieces`;
///  4. `flush()` shows the device what was taken to send, where `try_send` has not; no more than a doorbell;
///  5. `receive_with(look)` shows the frame that has waited longest, by `look(const frame&)`, which gives an `after_look` and may send,
///     but not receive, start or reset. Errors: `not_ready`, none is there;
///  6. `give_back(name)` ends the keeping of one. Errors: `stale_handle`;
///  7. `wait_until(why, done, give_up)` polls until `done()`, sleeping where the platform does. Errors: `peer_silent`, `canceled`, as
///     `vsock::device::wait_until`;
///  8. `arm()`, `disarm()` and `acknowledge_interrupt()` are those of every driver.
template <class L>
concept link = requires(L l, const L c, scatter<const_bytes> pieces, to_compute compute, kept_frame name, waiting why, bool (*done)(),
                        after_look (*look)(const frame&)) {
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
