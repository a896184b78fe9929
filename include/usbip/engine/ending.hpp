// SPDX-License-Identifier: MIT
// How a connection ended: what the other side did.
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/codec/parsed.hpp>

namespace usbip {

/// How a connection ended.
enum class end : u8 {
  none = 0,     // it has not ended
  listed,       // the list has been sent
  refused,      // the import was rejected: the peer received the reason
  closed,       // the peer closed between two messages
  never_spoke,  // the peer closed without a byte
  cut_off,      // the peer closed in the middle of a message
  broken,       // the connection broke
  wrong,        // the peer sent an invalid message
  stopped,      // the caller ended it
  silent,       // the caller ended it, and the peer had not sent a byte
  taken,        // another connection has the device
};

/// What was expected at the end.
enum class due : u8 { operation, urb, data };

/// The end of a connection, and its numbers.
struct ending {
  end how{};         // the end
  fault why{};       // for `wrong`
  due what{};        // what was expected
  u32 had = 0;       // bytes of the unfinished or wrong message, or of its data
  u32 needed = 0;    // bytes of the whole message, as far as known
  u8 first[8] = {};  // its first bytes, at most `had`
  u64 received = 0;  // bytes of the whole connection
  u64 sent = 0;      // bytes of the whole connection
};

/// A sentence for a log line; print the numbers of `ending` after it.
[[nodiscard]] constexpr const char* describe(const ending& ended) {
  switch (ended.how) {
    case end::none: return "the connection is still open";
    case end::listed: return "the peer received its list";
    case end::refused: return "the peer requested a device that is absent or in use, and received the reason";
    case end::closed: return "the peer closed the connection between two messages";
    case end::never_spoke: return "the peer closed the connection before it sent a byte";
    case end::cut_off: return "the peer closed the connection in the middle of a message";
    case end::broken: return "the connection broke";
    case end::wrong: return describe(ended.why);
    case end::stopped: return "this side ended the connection";
    case end::silent: return "this side ended the connection: the peer held it open and sent no byte";
    case end::taken: return "the device belongs to another connection";
  }
  return "unknown end";
}

}  // namespace usbip
