// SPDX-License-Identifier: MIT
// The result of parsing: a whole message, a number of missing bytes, or the reason why it is invalid.
// Layer: codec (may include base).
#pragma once

#include <usbip/base/types.hpp>

namespace usbip {

/// What is wrong with a message. `describe` returns a sentence for a log line.
enum class fault : u8 {
  none = 0,
  urbs_where_operation_due,
  operation_where_urbs_due,
  wrong_version,
  unknown_operation,
  failed,
  unterminated_text,
  unknown_command,
  wrong_direction,
  wrong_endpoint,
  too_long,
  too_many_packets,
  packet_outside,
  seqnum_in_use,
};

/// A sentence about a fault, for a log line.
[[nodiscard]] constexpr const char* describe(fault what) {
  switch (what) {
    case fault::none: return "nothing is wrong";
    case fault::urbs_where_operation_due:
      return "the peer sends URBs where a list or an import is expected: the device was imported elsewhere, so use bridge mode";
    case fault::operation_where_urbs_due:
      return "the peer requests a list or an import where URBs are expected: it has not imported a device, so use server mode";
    case fault::wrong_version:
      return "the version is not 0x0111: this is another protocol, or a USB/IP older than Linux 3.17";
    case fault::unknown_operation: return "the operation is neither a list nor an import";
    case fault::failed: return "the status of the operation is not 0";
    case fault::unterminated_text: return "a text fills its field without a NUL at the end";
    case fault::unknown_command: return "the header's command is invalid: the stream is out of step";
    case fault::wrong_direction: return "the direction is neither 0 nor 1: the stream is out of step";
    case fault::wrong_endpoint: return "the endpoint is above 15: the stream is out of step";
    case fault::too_long: return "the transfer is longer than the limit or than requested";
    case fault::too_many_packets: return "there are more isochronous packets than the limit";
    case fault::packet_outside: return "an isochronous packet is outside the transfer";
    case fault::seqnum_in_use: return "another URB without an answer has the same number";
  }
  return "unknown fault";
}

/// A `T`; or the number of missing bytes (at least: a header's fields contain the length of what follows); or what is
/// wrong.
template <class T>
struct parsed {
  T value{};                // valid if `complete`
  usize missing = 0;        // bytes
  fault why = fault::none;  // none if the message can still become valid

  /// Whether `value` is valid.
  [[nodiscard]] constexpr bool complete() const { return missing == 0 && why == fault::none; }
  /// Whether bytes are missing.
  [[nodiscard]] constexpr bool incomplete() const { return missing != 0; }
  /// Whether the message is invalid.
  [[nodiscard]] constexpr bool wrong() const { return why != fault::none; }

  /// The result for `count` missing bytes.
  [[nodiscard]] static constexpr parsed lacks(usize count) { return {{}, count, fault::none}; }
  /// The result for an invalid message.
  [[nodiscard]] static constexpr parsed bad(fault what) { return {{}, 0, what}; }
};

}  // namespace usbip
