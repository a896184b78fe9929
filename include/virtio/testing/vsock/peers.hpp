// SPDX-License-Identifier: MIT
// All connections of a socket device, and the packets that wait for the guest. A test plays the peers: connects, sends,
// reads, closes, and injects packets that no correct host sends. service.hpp serves the guest's packets.
// Spec: virtio 1.4, 5.10.6. Layer: testing.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <virtio/testing/device_model.hpp>
#include <virtio/testing/vsock/host.hpp>
#include <virtio/testing/vsock/peer.hpp>
#include <virtio/testing/vsock/transcript.hpp>
#include <virtio/testing/vsock/wire.hpp>

namespace virtio::testing {

class vsock_peers : public device_model, public vsock_transcript {
 public:
  using enum vsock_wire::op;
  using enum vsock_wire::flag;
  using connection = vsock_peer;
  using message = vsock_message;

  vsock_host host;
  std::uint32_t counters_start = 0;  // of new connections; the driver must start there too

  [[nodiscard]] std::uint64_t cid() const { return wire::get64(const_cast<vsock_peers*>(this)->config().data()); }

  // --- playing the peers: packets wait in order and leave when there are rx buffers ---

  /// Requests a connection to the guest.
  vsock_flow connect(std::uint32_t guest_port, std::uint32_t host_port, std::uint16_t type = 1,
                     std::uint64_t from = 2) {
    const vsock_flow f{guest_port, host_port, from};
    open(f, type, connection::state::asked);
    say(f, request);
    return f;
  }
  /// Accepts the request at a port with `waits`.
  void accept(const vsock_flow& f) {
    peer(f).now = connection::state::open;
    say(f, response);
  }
  /// The connection, open or ended. It must exist.
  [[nodiscard]] connection& peer(const vsock_flow& f) { return connections_.at(f); }
  [[nodiscard]] connection* find(const vsock_flow& f) {
    const auto found = connections_.find(f);
    return found == connections_.end() ? nullptr : &found->second;
  }
  [[nodiscard]] bool is_open(const vsock_flow& f) {
    return live(f) != nullptr && peer(f).now == connection::state::open;
  }
  /// The host's connections that have not ended, by guest port.
  [[nodiscard]] std::vector<vsock_flow> open_flows() const {
    std::vector<vsock_flow> all;
    for (const auto& [f, c] : connections_)
      if (c.now == connection::state::open) all.push_back(f);
    return all;
  }

  void send(const vsock_flow& f, std::vector<std::uint8_t> bytes, std::uint32_t flags = 0) {
    peer(f).put(std::move(bytes), flags);
    busy_.insert(f);
    wake(0);
  }
  void send_message(const vsock_flow& f, std::vector<std::uint8_t> bytes, bool record_ends = false) {
    send(f, std::move(bytes), end_of_message | (record_ends ? end_of_record : 0u));
  }
  /// Consumes up to `most` bytes of received data; credit is returned for whole packets, by the host's rule.
  std::vector<std::uint8_t> read(const vsock_flow& f, std::size_t most = ~std::size_t{0}) {
    connection& c = peer(f);
    const std::size_t before = c.bytes.size();
    const bool kept = c.keeps;
    c.keeps = true;
    c.consume(most);
    if (c.now == connection::state::open) {
      update(f, c);
      if (c.must_reset()) abort(f);
    }
    c.keeps = kept;
    return {c.bytes.begin() + static_cast<std::ptrdiff_t>(before), c.bytes.end()};
  }
  /// Ends sending and/or receiving, after the pending data.
  void shut(const vsock_flow& f, std::uint32_t ends) {
    peer(f).shut(ends);
    busy_.insert(f);
    wake(0);
  }
  /// An orderly close.
  void close(const vsock_flow& f) { shut(f, both_ends); }
  /// Sends a reset at once: no pending data is sent.
  void abort(const vsock_flow& f) {
    if (live(f) == nullptr) return;
    say(f, reset);
    peer(f).finish(connection::ending::by_host);
  }
  /// Sets the window. If smaller than before: with data in flight.
  void set_window(const vsock_flow& f, std::uint32_t bytes) {
    peer(f).window = bytes;
    say(f, credit_update);
  }
  void say(const vsock_flow& f, std::uint16_t op, std::uint32_t flags = 0) {
    vsock_packet p;
    p.op = op;
    p.flags = flags;
    const connection* const c = find(f);
    p.type = c != nullptr ? c->type : std::uint16_t{1};
    p.address(f);
    out_.push_back({std::move(p), false, serving_});
    replies_ += serving_;
    wake(0);
  }
  /// Sends a packet unchanged.
  void inject(vsock_packet p) {
    out_.push_back({std::move(p), true, false});
    wake(0);
  }
  /// Returns a packet to the guest with these ports, for inject().
  [[nodiscard]] static vsock_packet packet(const vsock_flow& f, std::uint16_t op,
                                           std::vector<std::uint8_t> payload = {}) {
    vsock_packet p;
    p.op = op;
    p.buf_alloc = 65536;
    p.len = static_cast<std::uint32_t>(payload.size());
    p.payload = std::move(payload);
    p.address(f);
    return p;
  }

  /// Packets that wait for receive buffers, including those of connections with credit.
  [[nodiscard]] bool has_more() {
    if (!out_.empty()) return true;
    for (auto i = busy_.begin(); i != busy_.end();) {
      connection& c = peer(*i);
      if (c.has_data(host) || c.has_shutdown()) return true;
      if (c.is_idle()) i = busy_.erase(i);
      else ++i;
    }
    return false;
  }
  /// The bytes that the guest has promised to take and that are not sent, over all connections.
  [[nodiscard]] std::uint64_t promised() const {
    std::uint64_t sum = 0;
    for (const auto& [f, c] : connections_)
      if (c.now == connection::state::open && c.guest_has_spoken) sum += c.credit();
    return sum;
  }
  /// The guest has seen everything that was sent: from here on only the latest credit counts.
  void settled(const vsock_flow& f) {
    connection& c = peer(f);
    c.furthest = c.known_consumed + c.known_window;
  }

 protected:
  vsock_peers(device_memory& memory, std::vector<std::uint16_t> queue_sizes, vsock_host behaviour)
      : device_model{memory, 19, std::move(queue_sizes), std::vector<std::uint8_t>(8)}, host{std::move(behaviour)} {}

  [[nodiscard]] connection* live(const vsock_flow& f) {
    connection* const c = find(f);
    return c != nullptr && c->now != connection::state::closed ? c : nullptr;
  }
  connection& open(const vsock_flow& f, std::uint16_t type, connection::state now) {
    return connections_[f] = connection{type, now, host.buf_alloc, counters_start};
  }
  /// Sends a credit update to the guest if the host's rule requires it.
  void update(const vsock_flow& f, const connection& c) {
    if (c.consumed == c.known_consumed || c.known_space() >= host.update_below) return;
    for (const outgoing& one : out_)
      if (!one.as_it_is && one.packet.op == credit_update && one.packet.flow_to_guest() == f) return;
    say(f, credit_update);
  }

  /// Schedules a queue.
  void wake(std::uint16_t queue) {
    if (mode == run::at_doorbell) (void)serve(queue);
    else at(queue).rung.store(true, std::memory_order_release);
  }
  /// The number of waiting answers to packets of the guest. Packets sent while `serving_` count as answers.
  [[nodiscard]] std::uint32_t replies() const { return replies_; }
  bool serving_ = false;

  /// The next packet to the guest, at most `room` bytes of data. Requires has_more().
  vsock_packet next(std::uint32_t room) {
    if (!out_.empty()) {
      outgoing one = std::move(out_.front());
      out_.pop_front();
      replies_ -= one.is_reply;
      if (connection* const c = one.as_it_is ? nullptr : find(one.packet.flow_to_guest()); c != nullptr)
        add_credit(*c, one.packet);
      return std::move(one.packet);
    }
    // Starts after the connection that was served last.
    auto i = busy_.upper_bound(last_served_);
    for (std::size_t n = 0; n <= busy_.size(); ++n, ++i) {
      if (i == busy_.end()) i = busy_.begin();
      const vsock_flow f = *i;
      connection& c = peer(f);
      if (!c.has_data(host) && !c.has_shutdown()) continue;
      last_served_ = f;
      vsock_packet p;
      p.type = c.type;
      p.address(f);
      add_credit(c, p);
      c.fill(p, room);
      return p;
    }
    return {};
  }
  /// Ends all connections and drops all waiting packets.
  void drop_connections() {
    for (auto& [f, c] : connections_)
      if (c.now != connection::state::closed) c.finish(connection::ending::by_transport);
    out_.clear();
    replies_ = 0;
  }

 private:
  struct outgoing {
    vsock_packet packet;
    bool as_it_is, is_reply;
  };

  void add_credit(const connection& c, vsock_packet& p) const {
    if (p.op != reset || host.resets_carry_credit) c.add_credit(p);
  }

  std::map<vsock_flow, connection> connections_;
  std::set<vsock_flow> busy_;  // may have something to send; contains all that have
  std::deque<outgoing> out_;
  std::uint32_t replies_ = 0;  // of out_
  vsock_flow last_served_{};
};

}  // namespace virtio::testing
