// SPDX-License-Identifier: MIT
// What guest and host say to each other over a vsock device: the packet header, its operations, events, features.
// Spec: virtio 1.4, 5.10. Layer: vsock.
#pragma once

#include <virtio/base/cells.hpp>
#include <virtio/base/features.hpp>
#include <virtio/base/flags.hpp>
#include <virtio/transport/config_field.hpp>

namespace virtio::vsock {

/// Feature bits of socket devices (5.10.3).
enum class feature : u8 {
  stream = 0,
  seqpacket = 1,
  no_implied_stream = 2,
};
constexpr void feature_bits_of(feature) {}

[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::stream: return "VSOCK_STREAM";
    case feature::seqpacket: return "VSOCK_SEQPACKET";
    case feature::no_implied_stream: return "VSOCK_NO_IMPLIED_STREAM";
  }
  return nullptr;
}

/// Context ids with a meaning of their own; guests have 3 and up (5.10.4).
inline constexpr u32 host_cid = 2;
[[nodiscard]] constexpr bool is_guest(u32 cid) { return cid > host_cid && cid != 0xffff'ffff; }

/// 64 bits that differ from boot to boot: random ones, or the machine's clock. The ports that a guest connects from follow from it.
/// A host may hold the connections of the guest's last boot for ever, and answers nothing on their ports (vhost-device-vsock, Linux
/// 6.1). Random bits also hide the hash's key from the host: without them a host can make its own connections collide.
class seed {
 public:
  constexpr explicit seed(u64 bits) : bits_{bits} {}
  /// Number `n` of what follows from it: seeds that are close, such as seconds, give numbers that are not.
  [[nodiscard]] constexpr u64 number(u32 n) const {
    u64 x = bits_ + (n + u64{1}) * 0x9e37'79b9'7f4a'7c15;
    x = (x ^ x >> 30) * 0xbf58'476d'1ce4'e5b9;
    x = (x ^ x >> 27) * 0x94d0'49bb'1331'11eb;
    return x ^ x >> 31;
  }

 private:
  u64 bits_;
};

/// One end of a connection. Every port is legal, 0 and 0xffffffff included.
struct address {
  u32 cid = 0;
  u32 port = 0;
  [[nodiscard]] friend constexpr bool operator==(const address&, const address&) = default;
};

/// What a connection carries: bytes without borders, or messages with them. The numbers are those of the wire (5.10.6).
enum class kind : u16 { stream = 1, seqpacket = 2 };

/// Directions that an end gives up: the flags of SHUTDOWN (5.10.6.5).
enum class ends : u8 { receive = 1, send = 2, both = 3 };

/// What a packet of data ends besides itself: its message, or a record too, which may be several messages (5.10.6.6).
enum class boundary : u8 { message, record };

enum class op : u16 {
  invalid = 0,
  request = 1,
  response = 2,
  reset = 3,
  shutdown = 4,
  data = 5,
  credit_update = 6,
  credit_request = 7,
};

/// Flags of data: this packet ends a message, and this message ends a record (5.10.6.6).
inline constexpr u32 end_of_message = 1;
inline constexpr u32 end_of_record = 2;

/// The device config holds the guest's context id (5.10.4); an event says that it may have changed, and that all connections
/// are gone (5.10.6.7).
namespace config {
inline constexpr config_field<u64> guest_cid{0};  // its upper half is reserved
}
inline constexpr u32 transport_reset = 0;

/// The numbers of a packet's header. Of a received one nothing is known but that it was read once: every field is compared with
/// what we know, or bounded, by whoever uses it.
struct packet {
  u64 from_cid = 0;
  u64 to_cid = 0;
  u32 from_port = 0;
  u32 to_port = 0;
  u32 length = 0;  // bytes of payload
  u16 type = 0;
  u16 what = 0;    // an `op`, if it is one
  u32 flags = 0;
  u32 allocation = 0;  // buf_alloc: bytes that the sender has room for, beyond
  u32 forwarded = 0;   // fwd_cnt: bytes that it has consumed so far, modulo 2^32
};

inline constexpr u32 header_bytes = 44;

namespace detail {

/// A header in memory that the device sees. Context ids are halved, so that each is loaded whole where 64 bits are not.
template <template <class> class Cell>
struct header_cells {
  Cell<u32> from_cid, from_cid_high, to_cid, to_cid_high;
  Cell<u32> from_port, to_port, length;
  Cell<u16> type, what;
  Cell<u32> flags, allocation, forwarded;
};

template <class T>
using written_cell = to_device<T>;
template <class T>
using read_cell = from_device<T>;

using sent_header = header_cells<written_cell>;
using received_header = header_cells<read_cell>;
static_assert(sizeof(sent_header) == header_bytes && sizeof(received_header) == header_bytes);

inline void write(sent_header& to, const packet& p) {
  to.from_cid.store(static_cast<u32>(p.from_cid));
  to.from_cid_high.store(static_cast<u32>(p.from_cid >> 32));
  to.to_cid.store(static_cast<u32>(p.to_cid));
  to.to_cid_high.store(static_cast<u32>(p.to_cid >> 32));
  to.from_port.store(p.from_port);
  to.to_port.store(p.to_port);
  to.length.store(p.length);
  to.type.store(p.type);
  to.what.store(p.what);
  to.flags.store(p.flags);
  to.allocation.store(p.allocation);
  to.forwarded.store(p.forwarded);
}

/// Each field by one load. Unchecked, for packet's reasons.
template <class Barriers>
[[nodiscard]] packet read(const received_header& from) {
  packet p;
  p.from_cid = from.from_cid.template fetch<Barriers>().unchecked();
  p.from_cid |= u64{from.from_cid_high.template fetch<Barriers>().unchecked()} << 32;
  p.to_cid = from.to_cid.template fetch<Barriers>().unchecked();
  p.to_cid |= u64{from.to_cid_high.template fetch<Barriers>().unchecked()} << 32;
  p.from_port = from.from_port.template fetch<Barriers>().unchecked();
  p.to_port = from.to_port.template fetch<Barriers>().unchecked();
  p.length = from.length.template fetch<Barriers>().unchecked();
  p.type = from.type.template fetch<Barriers>().unchecked();
  p.what = from.what.template fetch<Barriers>().unchecked();
  p.flags = from.flags.template fetch<Barriers>().unchecked();
  p.allocation = from.allocation.template fetch<Barriers>().unchecked();
  p.forwarded = from.forwarded.template fetch<Barriers>().unchecked();
  return p;
}

/// Before the device gets a header to fill in: some hosts complete one that they wrote nothing to, and what an earlier packet
/// said must not be heard twice. Operation 0 is ignored.
inline void clear(received_header& cells) {
  cells.from_cid.clear_before_use();
  cells.from_cid_high.clear_before_use();
  cells.to_cid.clear_before_use();
  cells.to_cid_high.clear_before_use();
  cells.from_port.clear_before_use();
  cells.to_port.clear_before_use();
  cells.length.clear_before_use();
  cells.type.clear_before_use();
  cells.what.clear_before_use();
  cells.flags.clear_before_use();
  cells.allocation.clear_before_use();
  cells.forwarded.clear_before_use();
}

}  // namespace detail
}  // namespace virtio::vsock
