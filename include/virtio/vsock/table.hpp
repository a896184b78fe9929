// SPDX-License-Identifier: MIT
// Connections, found by their addresses, and the lists that link them. All of them are in arrays of fixed size. Where
// zero means none, an index plus one stands for a connection.
//
// A lookup costs the same with one connection as with thousands: a hash with a key that peers do not have selects a
// short list. A list has at most sixteen entries. A host that has the key can therefore prevent only its own
// connections, and cannot make packets expensive.
// Layer: vsock.
#pragma once

#include <virtio/base/result.hpp>
#include <virtio/config.hpp>
#include <virtio/device/buffer_pool.hpp>
#include <virtio/device/queue_set.hpp>
#include <virtio/vsock/credit.hpp>
#include <virtio/vsock/limits.hpp>
#include <virtio/vsock/protocol.hpp>

namespace virtio::vsock {

/// Names a connection. After that connection is closed or aborted the name is stale, even if its place is used again.
struct socket {
  u16 slot = 0;        // place in the table
  u32 generation = 0;  // odd; 0 names none
  [[nodiscard]] friend constexpr bool operator==(const socket&, const socket&) = default;
};

/// What may have happened to a connection or a listener.
enum class ready : u8 {
  connected = 1,  // try_connect succeeded
  incoming = 2,   // a peer connected to `event::port`: try_accept
  readable = 4,   // bytes, or their end
  writable = 8,   // a try_send that found no room may be repeated
  idle = 32,      // no sign of life from the peer for `ages::idle` ticks: see `device::tick`
  closed = 16,    // nothing more can be sent; earlier bytes can still be read, then the reason is returned
};

namespace detail {

using virtio::detail::never;

enum class state : u8 {
  unused = 0,
  connecting,  // REQUEST is sent or scheduled
  established,
  closing,  // SHUTDOWN for both directions is sent or scheduled, and RST awaited; no name is valid any more
  leaving,  // RST is scheduled, then the place is free
  ended,    // no packet for it is expected; bytes that arrived before can still be read
};

/// Packets that a connection has to send when there is room, in their order.
enum class pending_packet : u8 {
  reset = 1,
  request = 2,
  response = 4,
  data = 8,  // the gathered bytes
  shutdown = 16,
  credit_request = 32,
  credit = 64,
};

/// The next and the previous entry of a list, as index plus one. All-zero: in no list. The first entry names itself as
/// its previous one.
struct links {
  u16 next = 0;
  u16 previous = 0;
};

/// The members that every packet and call reads are first. The size is a power of two: an index becomes an address by
/// one shift.
struct connection {
  address peer{};
  u32 local_port = 0;
  u32 generation = 0;  // odd while a name is valid
  state now = state::unused;
  flags<pending_packet> pending{};
  flags<ready> unreported{};          // not yet reported
  bool accepted = false;              // false: waits in its listener's queue
  bool messages = false;              // seqpacket
  bool skipping = false;              // up to the end of a message that is too long
  bool asked_for_credit : 1 = false;  // and no credit has arrived since
  bool probed : 1 = false;            // by the program, and no answer has arrived since
  bool end_repeated : 1 = false;      // SHUTDOWN was sent twice
  bool awaits_credit : 1 = false;     // its peer has too little room, and `waiting` is in the list of such connections
  u8 backoff : 4 = 0;                 // unanswered CREDIT_REQUESTs: the next one is due after 2 to the power of this
  flags<ends> closed_ends{};          // directions that this end has closed
  flags<ends> peer_closed_ends{};     // and the peer
  errc why = errc::ok;                // how it ended
  u16 next_in_bucket = 0;
  receive_window in{};
  send_window out{};
  u32 last_activity = 0;       // the tick of the peer's last sign of life
  buffer_list received{};      // buffers with unread bytes
  buffer_list gathered{};      // send buffers with bytes to send
  u32 gathered_bytes = 0;      // bytes in them that have not left
  u32 whole_messages = 0;      // number of those received
  u32 wants_bytes = 0;         // that a send found no room for: `writable` is reported when they have room
  u32 taken = 0;               // bytes of pieces that the program holds: the window counts them as unread
  u32 grown_at = 0;            // bytes consumed at the last change of the window
  u16 read_up_to = 0;          // offset in the first one received
  u16 gathered_from = 0;       // offset in the first one gathered
  buffer_index shown_up_to{};  // buffers up to this one are shown to the program and stay in place
  u16 window = 0;              // its target in packets, if memory allows
  u16 most_window = 0;         // the maximum of that target
  u16 extra = 0;               // packets of shared memory that are promised
  /// send buffers reserved for it since poll `reserved_in`: `waiting` is in the list of such connections
  u16 reserved = 0;
  u16 reserved_in = 0;
  links to_report{}, to_send{}, in_queue{}, gathering{}, waiting{};
};
static_assert(sizeof(connection) == 128);

/// Whether a connection carries messages: a constant if none can.
template <limits L>
[[nodiscard]] bool carries_messages(const connection& c) {
  return L.messages && c.messages;
}

/// A first-in, first-out list. One function serves the lists through all members: five copies would take more code.
class connection_list {
 public:
  VIRTIO_NOINLINE_FOR_SIZE void push(connection* all, u16 one, links connection::* link) {
    links& mine = all[one].*link;
    if (mine.previous != 0) return;
    const u16 name = static_cast<u16>(one + 1);
    mine = {0, last_ == 0 ? name : last_};
    (last_ == 0 ? first_ : (all[last_ - 1].*link).next) = name;
    last_ = name;
  }
  VIRTIO_NOINLINE_FOR_SIZE void remove(connection* all, u16 one, links connection::* link) {
    links& mine = all[one].*link;
    if (mine.previous == 0) return;
    const u16 name = static_cast<u16>(one + 1);
    const bool leads = mine.previous == name;
    (leads ? first_ : (all[mine.previous - 1].*link).next) = mine.next;
    if (mine.next != 0) (all[mine.next - 1].*link).previous = leads ? mine.next : mine.previous;
    else last_ = leads ? u16{0} : mine.previous;
    mine = {};
  }

 protected:
  u16 first_ = 0;
  u16 last_ = 0;
};

/// The same, through one member of the connections.
template <links connection::* Link>
class connection_list_of : connection_list {
 public:
  VIRTIO_NOINLINE_FOR_SIZE void push(connection* all, u16 one) { connection_list::push(all, one, Link); }
  VIRTIO_NOINLINE_FOR_SIZE void remove(connection* all, u16 one) { connection_list::remove(all, one, Link); }
  [[nodiscard]] bool empty() const { return first_ == 0; }
  /// The index of the first entry, plus one; 0 if the list is empty.
  [[nodiscard]] u32 first_and_one() const { return first_; }
  /// The index of the first entry. Only if there is one.
  [[nodiscard]] u16 first() const { return static_cast<u16>(first_ - 1); }
  /// The index plus one of the entry after `one`, which is an index plus one; 0 if there is none.
  [[nodiscard]] static u32 next_and_one(const connection* all, u32 one) { return (all[one - 1].*Link).next; }
  /// Calls `f(index)` for each entry. `f` must not change this list.
  template <class F>
  void for_each(const connection* all, F&& f) const {
    for (u16 at = first_; at != 0; at = (all[at - 1].*Link).next) f(static_cast<u16>(at - 1));
  }
};

/// The connections of a device.
template <u16 Count>
class connection_table {
  static constexpr u32 buckets() {
    u32 n = 2;
    while (n < 2u * Count) n *= 2;
    return n;
  }
  static constexpr u32 longest_bucket = 16;

 public:
  /// Forgets all connections; earlier names are stale. `from` makes the hash's key.
  void start(seed from) {
    for (u16& one : first_) one = 0;
    for (u16 i = 0; i < Count; ++i) {
      const u32 generation = (all_[i].generation + 1) & ~u32{1};
      all_[i] = {};
      all_[i].generation = generation;
      all_[i].next_in_bucket = static_cast<u16>(i + 2 > Count ? 0 : i + 2);
    }
    free_ = 1;
    used_ = 0;
    for (u32 i = 0; i < 4; ++i) key_[i] = from.number(i);
  }

  [[nodiscard]] connection* all() { return all_; }
  [[nodiscard]] connection& operator[](u16 one) { return all_[one]; }
  [[nodiscard]] const connection& operator[](u16 one) const { return all_[one]; }

  /// The index plus one of the connection with these addresses; 0 if there is none.
  [[nodiscard]] u16 find(u32 local_port, address peer) const {
    u16 at = first_[bucket(local_port, peer)];
    while (at != 0 && !(all_[at - 1].peer == peer && all_[at - 1].local_port == local_port))
      at = all_[at - 1].next_in_bucket;
    return at;
  }

  [[nodiscard]] bool is_full() const { return free_ == 0; }
  [[nodiscard]] u16 unused() const { return static_cast<u16>(Count - used_); }
  /// Whether the list of these unused addresses has room for a connection.
  [[nodiscard]] bool takes(u32 local_port, address peer) const {
    u32 there = 0;
    for (u16 at = first_[bucket(local_port, peer)]; at != 0; at = all_[at - 1].next_in_bucket) ++there;
    return there < longest_bucket;
  }
  /// Adds a connection between these unused addresses and returns its index. Errors: `table_full`.
  [[nodiscard]] result<u16> add(u32 local_port, address peer, kind what) {
    if (free_ == 0 || !takes(local_port, peer)) return errc::table_full;
    u16& head = first_[bucket(local_port, peer)];
    ++used_;
    const u16 one = static_cast<u16>(free_ - 1);
    connection& c = all_[one];
    free_ = c.next_in_bucket;
    const u32 generation = c.generation + 1;
    c = {};
    c.peer = peer;
    c.local_port = local_port;
    c.generation = generation;
    c.messages = what == kind::seqpacket;
    c.next_in_bucket = head;
    head = static_cast<u16>(one + 1);
    return one;
  }
  /// Removes a connection that is in no list and has no valid name.
  void remove(u16 one) {
    connection& c = all_[one];
    u16* at = &first_[bucket(c.local_port, c.peer)];
    while (*at != one + 1) at = &all_[*at - 1].next_in_bucket;
    *at = c.next_in_bucket;
    c.now = state::unused;
    c.generation = (c.generation + 1) & ~u32{1};
    c.next_in_bucket = free_;
    free_ = static_cast<u16>(one + 1);
    --used_;
  }

 private:
  // Multilinear: over the keys, the upper halves for any two addresses are equal with a probability of 2^-32.
  [[nodiscard]] VIRTIO_NOINLINE_FOR_SIZE u32 bucket(u32 local_port, address peer) const {
    const u64 sum = key_[0] + key_[1] * local_port + key_[2] * peer.cid + key_[3] * peer.port;
    return static_cast<u32>(sum >> 32) & (buckets() - 1);
  }

  u16 free_ = 0;
  u16 used_ = 0;
  u64 key_[4]{};
  u16 first_[buckets()]{};
  connection all_[Count]{};
};

}  // namespace detail
}  // namespace virtio::vsock
