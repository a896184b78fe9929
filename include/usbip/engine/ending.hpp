// SPDX-License-Identifier: MIT
// How a connection ended, in words that say what the other side did.
// Layer: engine (may include codec, base).
#pragma once

#include <usbip/codec/parsed.hpp>

namespace usbip {

enum class end : u8 {
  none = 0,     // it goes on
  listed,       // the list has been sent
  refused,      // the import was refused: the peer was sent the reason
  closed,       // the peer closed between two messages
  never_spoke,  // the peer closed without a byte
  cut_off,      // the peer closed in the middle of a message
  broken,       // the connection broke
  wrong,        // the peer sent what is no message
  stopped,      // the caller gave up
  silent,       // the caller gave up, and the peer had not sent a byte
  taken,        // the device is another connection's
};

/// What was expected when it ended.
enum class due : u8 { operation, urb, data };

/// How, and what had come.
struct ending {
  end how{};
  fault why{};       // of `wrong`
  due what{};
  u32 had = 0;       // bytes of the unfinished or wrong message, or of its data
  u32 needed = 0;    // so many would have made it whole, as far as was known
  u8 first[8] = {};  // the first of its bytes, at most `had`
  u64 received = 0;  // bytes of the whole connection
  u64 sent = 0;
};

/// A sentence for a log line; the numbers of `ending` belong behind it.
[[nodiscard]] constexpr const char* describe(const ending& ended) {
  switch (ended.how) {
    case end::none: return "the connection goes on";
    case end::listed: return "the peer has its list";
    case end::refused: return "the peer wanted a device that is not there or is taken, and was sent the reason";
    case end::closed: return "the peer closed the connection between two messages";
    case end::never_spoke: return "the peer closed the connection without having sent a byte";
    case end::cut_off: return "the peer closed the connection in the middle of a message";
    case end::broken: return "the connection broke";
    case end::wrong: return describe(ended.why);
    case end::stopped: return "this side gave the connection up";
    case end::silent: return "this side gave the connection up: the peer held it open and sent no byte";
    case end::taken: return "the device belongs to another connection";
  }
  return "unknown end";
}

}  // namespace usbip
