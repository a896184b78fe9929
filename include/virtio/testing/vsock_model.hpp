// SPDX-License-Identifier: MIT
// A socket device with its host. This file has its rings: posted buffers, events, sent packets. It reports violations
// with their requirement, as its parts do:
//   vsock/wire.hpp        packets as bytes
//   vsock/host.hpp        behaviour of hosts where the specification leaves it to them
//   vsock/peer.hpp        the host's end of one connection
//   vsock/transcript.hpp  the packets of both directions, as lines of text too
//   vsock/peers.hpp       all connections, and packets that wait for the guest; a test plays the peers
//   vsock/service.hpp     how a packet from the guest is served
// Spec: virtio 1.4, 5.10. Layer: testing.
#pragma once

#include <limits>

#include <virtio/testing/vsock/service.hpp>

namespace virtio::testing {

struct vsock_options {
  std::uint64_t cid = 3;
  std::array<std::uint16_t, 3> queue_sizes = {64, 64, 8};  // rx, tx, event
  vsock_host host = vsock_host::kernel();
};

class vsock_model : public vsock_service {
 public:
  static constexpr std::uint32_t header_size = vsock_wire::header_size;

  /// How the buffers of the send ring are handled.
  enum class sending : std::uint8_t { serve, keep, ignore };  // keep: reads the packets but returns no buffer

  explicit vsock_model(device_memory& memory, vsock_options options = {})
      : vsock_service{memory, {options.queue_sizes.begin(), options.queue_sizes.end()}, std::move(options.host)} {
    for (const unsigned bit : host.features) offer({bit});
    put_config(0, options.cid, 8);
  }

  // --- settings, besides those of the service and the peers ---

  sending tx = sending::serve;
  std::size_t burst = std::numeric_limits<std::size_t>::max();  // maximum packets to the guest in a step

  /// Returns the kept buffers of the send ring, and serves it again.
  void give_back() {
    tx = sending::serve;
    wake(1);
  }
  /// Ends all connections and gives the guest this CID. Nothing is sent until the guest has kicked the event queue.
  void reset_transport(std::uint64_t new_cid) {
    change_cid(new_cid);
    drop_connections();
    raise(0);
    paused_at_ = doorbells(2);
  }
  /// Raises an event.
  void raise(std::uint32_t id) {
    if (events_.empty() && at(2).in_use->pending() == 0) report("VSOCK-09: no buffer for an event");
    events_.push_back(id);
    wake(2);
  }
  /// Event buffers that the driver has posted.
  [[nodiscard]] std::uint16_t event_buffers() { return at(2).in_use->pending(); }

  /// Steps until all remaining work needs the driver.
  void settle() {
    for (bool again = true; again;) {
      again = step() != 0;
      for (std::size_t q = 0; q < queue_count(); ++q) again = again || at(q).rung;
    }
  }

 protected:
  [[nodiscard]] bool knows(unsigned bit) const override { return bit < 24 ? bit <= 2 : device_model::knows(bit); }
  [[nodiscard]] field config_field(std::uint32_t offset) const override {
    return offset < 8 ? field{0, 8, 128} : device_model::config_field(offset);
  }

  std::optional<chain> take(std::uint16_t queue) override {
    switch (queue) {
      case 0: return take_receive();
      case 1: return take_send();
      case 2: return take_event();
      default: return device_model::take(queue);
    }
  }
  // The work is done when a buffer is taken; only the used length remains.
  std::uint32_t process(std::uint16_t queue, chain& buffer) override {
    const auto found = lengths_.find({queue, buffer.head});
    if (found == lengths_.end()) return 0;
    const std::uint32_t length = found->second;
    lengths_.erase(found);
    return length;
  }
  void was_reset() override {
    vsock_service::was_reset();
    events_.clear();
    kept_.clear();
    lengths_.clear();
    taken_ = burst_ = 0;
    paused_at_.reset();
    throttled_ = events_checked_ = false;
  }

 private:
  // --- to the guest ---

  std::optional<chain> take_receive() {
    if (paused_at_) return std::nullopt;
    if (burst_ >= burst) {
      burst_ = 0;
      if (has_more()) at(0).rung.store(true, std::memory_order_release);
      return std::nullopt;
    }
    if (!has_more()) {
      burst_ = 0;
      return std::nullopt;
    }
    auto buffer = device_model::take(0);
    if (!buffer) {
      burst_ = 0;
      return std::nullopt;
    }
    ++burst_;
    check_receive_buffer(*buffer);
    const std::uint64_t room = buffer->writable() > header_size ? buffer->writable() - header_size : 0;
    deliver(*buffer, next(static_cast<std::uint32_t>(std::min<std::uint64_t>(room, host.max_payload))));
    if (throttled_ && replies() < at(1).size) {
      throttled_ = false;
      at(1).rung.store(true, std::memory_order_release);
    }
    return buffer;
  }

  void check_receive_buffer(const chain& buffer) {
    const auto& e = buffer.elements;
    if (e.size() != 2 || !e[0].writable || !e[1].writable || e[0].length != header_size)
      report("vsock: a receive buffer that is not a header and one piece of data, both writable");
    if (buffer.writable() < header_size) return;
    std::uint8_t old[header_size];
    read_back(buffer, old);
    for (const std::uint8_t byte : old)
      if (byte != 0) return report("vsock: the header of a receive buffer was not zeroed before it was posted");
  }
  void read_back(const chain& buffer, std::uint8_t* to) {
    std::uint32_t done = 0;
    for (const element& e : buffer.elements) {
      const std::uint32_t n = std::min(e.length, header_size - done);
      if (n != 0) (void)memory().read(e.at, to + done, n);
      done += n;
    }
  }

  void deliver(chain& buffer, vsock_packet p) {
    if (p.dst_cid == vsock_packet::the_guest) p.dst_cid = cid();
    std::uint8_t raw[header_size];
    vsock_wire::put_header(raw, p);
    (void)buffer.write(0, raw, std::min(p.header_bytes, header_size));
    const std::uint64_t written = buffer.write(header_size, p.payload.data(), p.payload.size());
    lengths_[{0, buffer.head}] = p.used.value_or(static_cast<std::uint32_t>(header_size + written));
    delivered(p, taken_ + at(1).in_use->pending());
    note(true, std::move(p));
  }

  std::optional<chain> take_event() {
    if (events_.empty()) {
      if (paused_at_ && doorbells(2) != *paused_at_) {
        paused_at_.reset();
        wake(0);
      }
      return std::nullopt;
    }
    auto buffer = device_model::take(2);
    if (!buffer) return std::nullopt;
    if (buffer->readable() != 0 || buffer->writable() < 4) report("vsock: an event buffer without room for an event");
    std::uint8_t raw[4];
    wire::put32(raw, events_.front());
    events_.pop_front();
    (void)buffer->write(0, raw, sizeof raw);
    lengths_[{2, buffer->head}] = host.claims_event_buffer ? static_cast<std::uint32_t>(buffer->writable()) : 4;
    if (paused_at_) paused_at_ = doorbells(2);
    events_checked_ = true;
    return buffer;
  }

  // --- from the guest ---

  std::optional<chain> take_send() {
    for (;;) {
      if (tx == sending::ignore) return std::nullopt;
      if (tx == sending::serve && !kept_.empty()) {
        chain one = kept_.front();
        kept_.pop_front();
        return one;
      }
      if (host.throttles && replies() >= at(1).size) {
        throttled_ = true;
        return std::nullopt;
      }
      auto buffer = device_model::take(1);
      if (!buffer) return std::nullopt;
      ++taken_;
      if (!events_checked_ && at(2).in_use->pending() == 0)
        report("VSOCK-09: packets before there was a buffer for events");
      events_checked_ = true;
      const bool sound = packet_from(*buffer);
      if (has_more()) wake(0);
      if (!sound && !host.returns_malformed) continue;
      lengths_[{1, buffer->head}] = host.claims_sent ? static_cast<std::uint32_t>(buffer->readable()) : 0;
      if (tx == sending::serve) return buffer;
      kept_.push_back(*buffer);
    }
  }

  bool packet_from(const chain& buffer) {
    const auto& e = buffer.elements;
    if (buffer.writable() != 0 || e.empty() || e.size() > 2 || e[0].length != header_size) {
      report("vsock: a packet that is not a header, or a header and one piece of data, both readable");
      return false;
    }
    std::uint8_t raw[header_size];
    (void)buffer.read(0, raw, sizeof raw);
    vsock_packet p = vsock_wire::get_header(raw);
    const std::uint64_t rest = buffer.readable() - header_size;
    if (p.len != rest)
      report("vsock: a header that says " + std::to_string(p.len) + " bytes, and " + std::to_string(rest) + " of them");
    if (p.len > rest || p.len > 65536) {
      report("vsock: a packet of " + std::to_string(p.len) + " bytes");
      return false;
    }
    p.payload.resize(p.len);
    (void)buffer.read(header_size, p.payload.data(), p.len);
    serve_packet(p, taken_);
    note(false, std::move(p));
    return true;
  }

  std::deque<std::uint32_t> events_;
  std::deque<chain> kept_;
  std::map<std::pair<std::uint16_t, std::uint16_t>, std::uint32_t> lengths_;  // by queue and head: the used length
  std::uint64_t taken_ = 0;                                                   // from the send ring since the reset
  std::size_t burst_ = 0;
  std::optional<std::uint32_t> paused_at_;  // doorbells of the event queue before a packet may be sent
  bool throttled_ = false, events_checked_ = false;
};

}  // namespace virtio::testing
