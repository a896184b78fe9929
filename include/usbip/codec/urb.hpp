// SPDX-License-Identifier: MIT
// The URB phase: headers of 48 bytes in both directions, and entries of isochronous packets. Input may end at any byte.
// Output goes into an array of the message's size.
// Layer: codec (may include base).
#pragma once

#include <usbip/codec/parsed.hpp>

namespace usbip {

inline constexpr usize urb_header_bytes = 48;  // bytes of a header
inline constexpr usize iso_entry_bytes = 16;   // bytes of an isochronous packet's entry

/// The first word of a header.
enum class command : u32 { submit = 1, unlink = 2, submit_answer = 3, unlink_answer = 4 };

/// The direction of data, as the host sees it.
enum class direction : u32 { out = 0, in = 1 };

/// The result of a URB: negative errno values of Linux. Other values may occur in an answer.
enum class urb_status : s32 {
  ok = 0,
  no_device = -19,
  stall = -32,
  protocol = -71,
  overflow = -75,
  canceled = -104,
  shutdown = -108,
  short_packet = -121,
};

/// Bits of a submit's flags: a short packet is an error.
inline constexpr u32 flag_short_not_ok = 0x1;
/// An OUT transfer of whole packets ends with an empty one.
inline constexpr u32 flag_zero_packet = 0x40;

/// Maximum values that a parser accepts.
struct urb_limits {
  u32 longest = 16u << 20;  // bytes of one transfer
  u32 packets = 1024;       // isochronous packets of one transfer
};

/// A message of the client: CMD_SUBMIT or CMD_UNLINK.
struct urb_request {
  command what{};       // the message
  u32 seqnum = 0;       // number of the URB, unique on its connection
  u32 devid = 0;        // bus and device number
  direction way{};      // the direction of data
  u32 endpoint = 0;     // number of the endpoint, without its direction
  u32 flags = 0;        // of Linux
  u32 length = 0;       // bytes that are sent, or maximum that may be received
  u32 start_frame = 0;  // isochronous
  u32 packets = 0;      // 0 unless isochronous; 0xffffffff on the wire, as the document requires, is 0 here
  u32 interval = 0;     // of interrupt and isochronous endpoints
  u8 setup[8] = {};     // the control request
  u32 target = 0;       // of an unlink: the number of the submit

  /// Bytes of data after the header. The entries of packets follow them.
  [[nodiscard]] constexpr u32 data_bytes() const {
    return what == command::submit && way == direction::out ? length : 0;
  }
  /// Bytes of the entries of isochronous packets.
  [[nodiscard]] constexpr u32 entry_bytes() const { return packets * u32{iso_entry_bytes}; }
};

/// A message of the server: RET_SUBMIT or RET_UNLINK.
struct urb_answer {
  command what{};       // the message
  u32 seqnum = 0;       // number of the URB
  urb_status status{};  // 0, or a negative errno value
  u32 actual = 0;       // bytes that were transferred
  u32 start_frame = 0;  // isochronous
  u32 packets = 0;      // isochronous packets
  u32 errors = 0;       // isochronous packets with errors
};

/// The position of a packet in an isochronous transfer, and its result.
struct iso_entry {
  u32 offset = 0;  // bytes from the beginning of the data
  u32 length = 0;  // bytes
  u32 actual = 0;  // bytes that were transferred
  u32 status = 0;  // 0, or a negative errno value
};

/// Whether this is the first word of REQ_DEVLIST or REQ_IMPORT, which a client sends to a peer that it takes for a
/// server.
[[nodiscard]] constexpr bool looks_like_operation(u32 word) {
  return word >> 16 == 0x0111 && (word & 0x7fffu) <= 0x0005;
}

/// Parses a request's header of 48 bytes. Four bytes are enough to detect a wrong first word.
[[nodiscard]] constexpr parsed<urb_request> parse_urb_request(const_bytes have, const urb_limits& limits = {}) {
  using outcome = parsed<urb_request>;
  if (have.size >= 4) {
    const u32 word = load_be32(have.data);
    if (looks_like_operation(word)) return outcome::bad(fault::operation_where_urbs_due);
    if (word != u32{1} && word != u32{2}) return outcome::bad(fault::unknown_command);
  }
  if (have.size < urb_header_bytes) return outcome::lacks(urb_header_bytes - have.size);
  const u8* const at = have.data;
  outcome got{};
  urb_request& request = got.value;
  request.what = static_cast<command>(load_be32(at));
  request.seqnum = load_be32(at + 4);
  request.devid = load_be32(at + 8);
  if (request.what == command::unlink) {
    request.target = load_be32(at + 0x14);
    return got;
  }
  request.way = static_cast<direction>(load_be32(at + 12));
  request.endpoint = load_be32(at + 16);
  request.flags = load_be32(at + 0x14);
  request.length = load_be32(at + 0x18);
  request.start_frame = load_be32(at + 0x1c);
  request.packets = load_be32(at + 0x20);
  request.interval = load_be32(at + 0x24);
  copy(request.setup, at + 0x28, 8);
  if (request.packets == 0xffffffffu) request.packets = 0;
  if (load_be32(at + 12) > 1) return outcome::bad(fault::wrong_direction);
  if (request.endpoint > 15) return outcome::bad(fault::wrong_endpoint);
  if (request.length > limits.longest) return outcome::bad(fault::too_long);
  if (request.packets > limits.packets) return outcome::bad(fault::too_many_packets);
  return got;
}

/// Writes a request's header.
constexpr void put(u8 (&to)[urb_header_bytes], const urb_request& request) {
  for (u8& byte : to) byte = 0;
  store_be32(to, static_cast<u32>(request.what));
  store_be32(to + 4, request.seqnum);
  store_be32(to + 8, request.devid);
  store_be32(to + 12, static_cast<u32>(request.way));
  store_be32(to + 16, request.endpoint);
  if (request.what == command::unlink) return store_be32(to + 0x14, request.target);
  store_be32(to + 0x14, request.flags);
  store_be32(to + 0x18, request.length);
  store_be32(to + 0x1c, request.start_frame);
  store_be32(to + 0x20, request.packets);
  store_be32(to + 0x24, request.interval);
  copy(to + 0x28, request.setup, 8);
}

/// Parses an answer's header. It is an error if the data is longer than `limits.longest`, for example the requested
/// length.
[[nodiscard]] constexpr parsed<urb_answer> parse_urb_answer(const_bytes have, const urb_limits& limits = {}) {
  using outcome = parsed<urb_answer>;
  if (have.size >= 4) {
    const u32 word = load_be32(have.data);
    if (looks_like_operation(word)) return outcome::bad(fault::operation_where_urbs_due);
    if (word != u32{3} && word != u32{4}) return outcome::bad(fault::unknown_command);
  }
  if (have.size < urb_header_bytes) return outcome::lacks(urb_header_bytes - have.size);
  const u8* const at = have.data;
  outcome got{};
  urb_answer& answer = got.value;
  answer.what = static_cast<command>(load_be32(at));
  answer.seqnum = load_be32(at + 4);
  answer.status = static_cast<urb_status>(static_cast<s32>(load_be32(at + 0x14)));
  if (answer.what == command::unlink_answer) return got;
  answer.actual = load_be32(at + 0x18);
  answer.start_frame = load_be32(at + 0x1c);
  answer.packets = load_be32(at + 0x20);
  answer.errors = load_be32(at + 0x24);
  if (answer.packets == 0xffffffffu) answer.packets = 0;
  if (answer.actual > limits.longest) return outcome::bad(fault::too_long);
  if (answer.packets > limits.packets) return outcome::bad(fault::too_many_packets);
  return got;
}

/// Writes an answer's header into the first 48 bytes of `to`.
constexpr void put(u8 (&to)[urb_header_bytes], const urb_answer& answer) {
  for (u8& byte : to) byte = 0;
  store_be32(to, static_cast<u32>(answer.what));
  store_be32(to + 4, answer.seqnum);
  store_be32(to + 0x14, static_cast<u32>(answer.status));
  if (answer.what == command::unlink_answer) return;
  store_be32(to + 0x18, answer.actual);
  store_be32(to + 0x1c, answer.start_frame);
  store_be32(to + 0x20, answer.packets);
  store_be32(to + 0x24, answer.errors);
}

/// Parses the entry of a packet in a transfer of `length` bytes.
[[nodiscard]] constexpr parsed<iso_entry> parse_iso_entry(const_bytes have, u32 length) {
  using outcome = parsed<iso_entry>;
  if (have.size < iso_entry_bytes) return outcome::lacks(iso_entry_bytes - have.size);
  outcome got{};
  got.value = {load_be32(have.data), load_be32(have.data + 4), load_be32(have.data + 8), load_be32(have.data + 12)};
  const iso_entry& one = got.value;
  if (one.offset > length || one.length > length - one.offset || one.actual > one.length)
    return outcome::bad(fault::packet_outside);
  return got;
}

/// Writes the entry of a packet.
constexpr void put(u8 (&to)[iso_entry_bytes], const iso_entry& one) {
  store_be32(to, one.offset);
  store_be32(to + 4, one.length);
  store_be32(to + 8, one.actual);
  store_be32(to + 12, one.status);
}

}  // namespace usbip
