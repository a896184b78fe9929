// SPDX-License-Identifier: MIT
// What guest and host exchange over a vsock device: the packet header, its operations, events, features.
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
/// Makes `feature_set` accept these bits.
constexpr void feature_bits_of(feature) {}

/// The specification's name of a feature bit; null for other values.
[[nodiscard]] constexpr const char* name(feature bit) {
  switch (bit) {
    case feature::stream: return "VSOCK_STREAM";
    case feature::seqpacket: return "VSOCK_SEQPACKET";
    case feature::no_implied_stream: return "VSOCK_NO_IMPLIED_STREAM";
  }
  return nullptr;
}

/// Context ids with a fixed meaning; guests have 3 and up (5.10.4).
inline constexpr u32 host_cid = 2;
/// Whether a context id can be a guest's.
[[nodiscard]] constexpr bool is_guest(u32 cid) { return cid > host_cid && cid != 0xffff'ffff; }

/// 64 bits that differ from boot to boot: random bits, or the machine's clock. They determine the local ports of
/// outgoing connections. A host may keep the connections of the guest's previous boot without a limit, and then answers
/// nothing on their ports (vhost-device-vsock, Linux 6.1). Random bits also hide the hash's key from the host:
/// otherwise a host can make its own connections collide.
class seed {
 public:
  /// Any value; see the class.
  constexpr explicit seed(u64 bits) : bits_{bits} {}
  /// Derived number `n`. Close seeds, such as seconds, give numbers that are far apart.
  [[nodiscard]] constexpr u64 number(u32 n) const {
    u64 x = bits_ + (n + u64{1}) * 0x9e37'79b9'7f4a'7c15;
    x = (x ^ x >> 30) * 0xbf58'476d'1ce4'e5b9;
    x = (x ^ x >> 27) * 0x94d0'49bb'1331'11eb;
    return x ^ x >> 31;
  }

 private:
  u64 bits_;
};

/// One end of a connection. Every port is valid, including 0 and 0xffffffff.
struct address {
  u32 cid = 0;   // context id
  u32 port = 0;  // of 2^32
  [[nodiscard]] friend constexpr bool operator==(const address&, const address&) = default;
};

/// What a connection carries: bytes without boundaries, or messages. The values are those of the packet header
/// (5.10.6).
enum class kind : u16 { stream = 1, seqpacket = 2 };

/// Directions that one end closes: the flags of SHUTDOWN (5.10.6.5).
enum class ends : u8 { receive = 1, send = 2, both = 3 };

/// What a data packet ends: its message, or also a record, which may be several messages (5.10.6.6).
enum class boundary : u8 { message, record };

/// Operations of packets (5.10.6).
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

/// Flags of data: this packet ends a message (5.10.6.6).
inline constexpr u32 end_of_message = 1;
/// The message also ends a record.
inline constexpr u32 end_of_record = 2;

/// The device configuration: the guest's context id (5.10.4).
namespace config {
inline constexpr config_field<u64> guest_cid{0};  // its upper half is reserved
}
/// The event that reports a new context id and the end of all connections (5.10.6.7).
inline constexpr u32 transport_reset = 0;

/// The fields of a packet's header. Those of a received packet are read once and not checked: code that uses a field
/// compares or bounds it.
struct packet {
  u64 from_cid = 0;    // the sender's context id
  u64 to_cid = 0;      // the receiver's
  u32 from_port = 0;   // the sender's port
  u32 to_port = 0;     // the receiver's
  u32 length = 0;      // bytes of payload
  u16 type = 0;        // a `kind`, if it is one
  u16 what = 0;        // an `op`, if it is one
  u32 flags = 0;       // those of its operation
  u32 allocation = 0;  // buf_alloc: bytes of the sender's receive buffer
  u32 forwarded = 0;   // fwd_cnt: bytes that it has consumed so far, modulo 2^32
};

/// Bytes of a packet's header in memory.
inline constexpr u32 header_bytes = 44;

namespace detail {

/// A header in memory that the device sees. Context ids are split, so that each half is one load on a 32-bit processor.
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

/// Reads each field by one load. Unchecked, for the reason at `packet`.
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

/// Clears a header before the device fills it in: some hosts complete one without writing to it, and the fields of an
/// earlier packet must not be processed twice. Operation 0 is ignored.
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
