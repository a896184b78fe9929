// SPDX-License-Identifier: MIT
// What the engine needs of a connection: any reliable stream of bytes with calls that do not wait. Examples are TCP,
// AF_UNIX, vsock and a serial port.
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/base/types.hpp>

namespace usbip {

/// Whether more bytes may arrive. `closed` and `broken` are returned only after all bytes that arrived have been taken.
enum class stream_state : u8 { open, closed, broken };

/// A callback for the concept below.
struct any_look {
  usize operator()(const_bytes) const { return 0; }  // takes nothing
};

/// 1. `send(pieces)` takes bytes from the front of the pieces, as many as have room, and returns how many: 0 if there
///    is no room now. The pieces' memory is free again on return. It never waits.
/// 2. `receive(look)` shows bytes that have arrived, in place, by `look(bytes)`: those that are contiguous, not
///    necessarily all. It removes as many bytes from the front as `look` returns, which may be none, and returns that
///    number; 0 without a call if there are none. It never waits.
/// 3. `state()` returns whether more bytes may arrive. If only the peer's direction has ended, `send` still works.
template <class S>
concept byte_stream = requires(S& stream, pieces list, any_look look) {
  { stream.send(list) } -> same_as<usize>;
  { stream.receive(look) } -> same_as<usize>;
  { stream.state() } -> same_as<stream_state>;
};

}  // namespace usbip
