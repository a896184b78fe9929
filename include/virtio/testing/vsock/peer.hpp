// SPDX-License-Identifier: MIT
// The host's end of one connection: its state, credit in both directions, received and pending streams or messages. It
// depends on no device or other connection, and does not act by itself: peers.hpp calls it.
// Spec: virtio 1.4, 5.10.6.3 to 5.10.6.6. Layer: testing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include <virtio/testing/vsock/host.hpp>
#include <virtio/testing/vsock/wire.hpp>

namespace virtio::testing {

struct vsock_message {
  std::vector<std::uint8_t> bytes;
  bool record_ends;
  [[nodiscard]] friend bool operator==(const vsock_message&, const vsock_message&) = default;
};

/// A test reads it and may change the settings.
struct vsock_peer {
  // asked: the guest received the request; waiting: the guest sent it
  enum class state : std::uint8_t { asked, waiting, silent, open, closed };
  enum class ending : std::uint8_t { none, by_guest, by_host, by_transport };

  state now = state::closed;
  ending end = ending::none;
  std::uint16_t type = 1;
  bool reads = true;  // consumes arriving data at once; false: read() does
  bool keeps = true;  // keeps consumed data in `bytes` and `messages`; false: only counts it
  bool answers_shutdown = true;

  std::vector<std::uint8_t> bytes{};      // consumed
  std::vector<vsock_message> messages{};  // seqpacket: complete ones
  std::uint64_t arrived = 0;              // payload bytes in total
  std::uint32_t packets = 0;              // data packets in total
  std::uint32_t guest_ends = 0;           // SHUTDOWN flags received
  [[nodiscard]] std::size_t unread() const { return queued_bytes_; }
  [[nodiscard]] std::size_t unread_packets() const { return queued_.size(); }
  [[nodiscard]] std::uint64_t unsent() const { return outbox_bytes_; }

  // Towards the host, in the host's terms: received, consumed, permitted; and what was reported to the guest.
  std::uint32_t received = 0, consumed = 0, window = 0, known_consumed = 0, known_window = 0, furthest = 0;
  // Towards the guest: how much was sent, and what the guest reported.
  std::uint32_t sent = 0, guest_consumed = 0, guest_window = 0;
  bool guest_has_spoken = false;

  // What the guest allows us to send now.
  [[nodiscard]] std::uint32_t credit() const {
    const std::uint32_t ahead = sent - guest_consumed;
    return guest_window > ahead ? guest_window - ahead : 0;
  }
  // What the guest may still send as far as it was notified.
  [[nodiscard]] std::uint32_t known_space() const {
    const std::uint32_t ahead = received - known_consumed;
    return known_window > ahead ? known_window - ahead : 0;
  }

  // --- lifetime ---

  vsock_peer() = default;
  vsock_peer(std::uint16_t of_type, state as, std::uint32_t space, std::uint32_t counters_start)
      : now{as}, type{of_type}, window{space} {
    received = consumed = known_consumed = furthest = sent = guest_consumed = counters_start;
  }
  void finish(ending how) {
    now = state::closed;
    end = how;
    outbox_.clear();
    outbox_bytes_ = 0;
  }

  // --- to the guest ---

  void put(std::vector<std::uint8_t> all, std::uint32_t flags) {
    outbox_bytes_ += all.size();
    outbox_.push_back({std::move(all), 0, flags});
  }
  void shut(std::uint32_t ends) { shut_wanted_ |= ends; }
  /// The ends whose shutdown was sent to the guest.
  [[nodiscard]] std::uint32_t ends_sent() const { return shut_sent_; }

  [[nodiscard]] bool has_data(const vsock_host& host) const {
    if (now != state::open || outbox_.empty() || !guest_has_spoken) return false;
    if (outbox_.front().bytes.empty() || credit() != 0) return true;
    return host.asks_for_credit && !asked_for_credit_;
  }
  [[nodiscard]] bool has_shutdown() const {
    return now == state::open && outbox_.empty() && (shut_wanted_ & ~shut_sent_) != 0;
  }
  /// Nothing is pending, with or without credit.
  [[nodiscard]] bool is_idle() const {
    return now == state::closed || (outbox_.empty() && (shut_wanted_ & ~shut_sent_) == 0);
  }

  /// The next packet's op, flags and data, at most `room` bytes. Requires has_data() or has_shutdown().
  void fill(vsock_packet& p, std::uint32_t room) {
    if (has_shutdown()) {
      p.op = vsock_wire::shutdown;
      shut_sent_ |= shut_wanted_;
      p.flags = shut_sent_;
      return;
    }
    piece& first = outbox_.front();
    const auto n = static_cast<std::uint32_t>(std::min<std::size_t>({first.bytes.size() - first.done, credit(), room}));
    if (n == 0 && !first.bytes.empty()) {
      p.op = vsock_wire::credit_request;
      asked_for_credit_ = true;
      return;
    }
    p.op = vsock_wire::data;
    p.len = n;
    const auto from = first.bytes.begin() + static_cast<std::ptrdiff_t>(first.done);
    p.payload.assign(from, from + n);
    first.done += n;
    outbox_bytes_ -= n;
    if (first.done == first.bytes.size()) {
      p.flags = first.flags;
      outbox_.pop_front();
    }
  }
  /// Adds the credit fields for the guest.
  void add_credit(vsock_packet& p) const {
    p.buf_alloc = window;
    p.fwd_cnt = consumed;
  }
  /// The guest received this packet, which is not a reset.
  void was_delivered(const vsock_packet& p) {
    known_consumed = p.fwd_cnt;
    known_window = p.buf_alloc;
    if (static_cast<std::int32_t>(p.fwd_cnt + p.buf_alloc - furthest) > 0) furthest = p.fwd_cnt + p.buf_alloc;
    if (p.op == vsock_wire::data) sent += p.len;
  }

  // --- from the guest ---

  /// The guest's credit fields of a packet.
  void take_credit(const vsock_packet& p) {
    guest_consumed = p.fwd_cnt;
    guest_window = p.buf_alloc;
    guest_has_spoken = true;
  }
  /// With credit, no request for it is needed.
  void look_at_credit() {
    if (credit() != 0) asked_for_credit_ = false;
  }
  void count(const vsock_packet& p) {
    received += p.len;
    arrived += p.len;
    ++packets;
  }
  /// Takes counted data. True: it was consumed at once; false: consume() does that.
  bool take(const vsock_packet& p) {
    if (reads && queued_.empty()) {
      hand_up(p.payload.data(), p.len, p.flags, true);
      consumed += p.len;
      return true;
    }
    queued_bytes_ += p.len;
    queued_.push_back({p.payload, 0, p.flags});
    return false;
  }
  /// Consumes up to `most` bytes of the taken data.
  void consume(std::size_t most) {
    while (!queued_.empty()) {
      piece& one = queued_.front();
      const std::size_t n = std::min(most, one.bytes.size() - one.done);
      if (n == 0 && !one.bytes.empty()) break;
      const bool whole = one.done + n == one.bytes.size();
      hand_up(one.bytes.data() + one.done, n, one.flags, whole);
      one.done += n;
      most -= n;
      queued_bytes_ -= n;
      consumed += static_cast<std::uint32_t>(n);
      if (whole) queued_.pop_front();
    }
  }
  /// Both of the guest's ends are shut, and a reset is the answer: now, or after everything was read if this host does
  /// that.
  [[nodiscard]] bool is_read_out_after_shutdown(const vsock_host& host) {
    if (queued_.empty()) return true;
    reset_when_drained_ = host.resets_once_drained;
    return false;
  }
  [[nodiscard]] bool must_reset() const { return reset_when_drained_ && queued_.empty(); }

 private:
  struct piece {
    std::vector<std::uint8_t> bytes;
    std::size_t done;
    std::uint32_t flags;
  };

  // This many bytes of a packet go to the program, whether they are its last or not.
  void hand_up(const std::uint8_t* from, std::size_t n, std::uint32_t flags, bool whole) {
    auto& to = type == 1 ? bytes : partial_;
    if (keeps) to.insert(to.end(), from, from + n);
    if (type == 1 || !whole || (flags & vsock_wire::end_of_message) == 0) return;
    messages.push_back({std::move(partial_), (flags & vsock_wire::end_of_record) != 0});
    partial_.clear();
  }

  std::deque<piece> outbox_{};
  std::uint64_t outbox_bytes_ = 0;
  std::deque<piece> queued_{};  // unread packets
  std::size_t queued_bytes_ = 0;
  std::vector<std::uint8_t> partial_{};
  std::uint32_t shut_wanted_ = 0, shut_sent_ = 0;
  bool asked_for_credit_ = false, reset_when_drained_ = false;
};

}  // namespace virtio::testing
