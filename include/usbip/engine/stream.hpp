// SPDX-License-Identifier: MIT
// What the engine needs of a connection: any reliable stream of bytes that can be asked without waiting. TCP, AF_UNIX, vsock and a
// serial port are some.
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/base/types.hpp>

namespace usbip {

/// Whether more will come. `closed` and `broken` are said only when everything that came has been taken.
enum class stream_state : u8 { open, closed, broken };

struct any_look {
  usize operator()(const_bytes) const { return 0; }
};

/// 1. `send(pieces)` takes as many bytes as there is room for off the front of the pieces, which are the caller's
///    again when it returns, and returns how many: 0 when there is no room now. It never waits.
/// 2. `receive(look)` shows what has arrived, in place, by `look(bytes)`: what lies in one piece, not all need be
///    shown. It takes as many bytes off the front as `look` returns, which may be none, and returns that number; 0
///    without a call when there is nothing. It never waits.
/// 3. `state()` says whether more can come. After an end of the peer's direction alone, `send` works on.
template <class S>
concept byte_stream = requires(S& stream, pieces list, any_look look) {
  { stream.send(list) } -> same_as<usize>;
  { stream.receive(look) } -> same_as<usize>;
  { stream.state() } -> same_as<stream_state>;
};

}  // namespace usbip
