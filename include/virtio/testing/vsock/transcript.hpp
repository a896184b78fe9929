// SPDX-License-Identifier: MIT
// The packets of a socket device in both directions, in order, also as text, and counts by kind of those from the
// guest.
// Layer: testing.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <virtio/testing/vsock/wire.hpp>

namespace virtio::testing {

class vsock_transcript {
 public:
  struct seen {
    bool to_guest;
    vsock_packet packet;  // without its payload
    std::uint32_t payload;
  };
  bool recording = true;

  /// Every packet since the last clear(), in order.
  [[nodiscard]] const std::vector<seen>& record() const { return record_; }
  void clear() {
    record_.clear();
    for (auto& one : sent_) one = 0;
    small_ = 0;
  }
  /// The same as text: direction from the guest's view, op, guest port:peer port. Credit is optional, since hosts
  /// differ in it.
  [[nodiscard]] std::vector<std::string> transcript(bool with_credit = true) const {
    using namespace vsock_wire;
    std::vector<std::string> all;
    for (const seen& one : record_)
      if (with_credit || (one.packet.op != credit_update && one.packet.op != credit_request)) all.push_back(line(one));
    return all;
  }
  [[nodiscard]] std::string text(bool with_credit = true) const {
    std::string all;
    for (const std::string& one : transcript(with_credit)) all += (all.empty() ? "" : "\n") + one;
    return all;
  }
  /// Packets from the guest with one op since the last clear(); and data packets of less than 1 KiB.
  [[nodiscard]] std::uint32_t count(std::uint16_t op) const { return op < std::size(sent_) ? sent_[op] : 0; }
  [[nodiscard]] std::uint32_t small_packets() const { return small_; }
  /// Packets of both directions since the start.
  [[nodiscard]] std::uint64_t packets() const { return packets_; }
  /// The last packet from the guest on a flow.
  [[nodiscard]] std::optional<vsock_packet> last(const vsock_flow& f) const {
    for (auto one = record_.rbegin(); one != record_.rend(); ++one)
      if (!one->to_guest && one->packet.flow_from_guest() == f) return one->packet;
    return std::nullopt;
  }

 protected:
  /// A packet from the guest is counted before it is served, and recorded after: its answers may be in the record
  /// already.
  void count_sent(const vsock_packet& p) {
    if (p.op < std::size(sent_)) ++sent_[p.op];
    if (p.op == vsock_wire::data && p.len < 1024) ++small_;
  }
  void note(bool to_guest, vsock_packet p) {
    ++packets_;
    if (!recording) return;
    const auto n = static_cast<std::uint32_t>(p.payload.size());
    p.payload = {};
    record_.push_back({to_guest, std::move(p), n});
  }

 private:
  [[nodiscard]] static std::string line(const seen& one) {
    const vsock_packet& p = one.packet;
    const vsock_flow f = one.to_guest ? p.flow_to_guest() : p.flow_from_guest();
    std::string text = (one.to_guest ? "< " : "> ") + vsock_wire::name_of(p.op) + " " + std::to_string(f.guest_port) +
                       ":" + std::to_string(f.host_port);
    if (f.cid != 2) text += " cid=" + std::to_string(f.cid);
    if (p.type != 1) text += " type=" + std::to_string(p.type);
    if (p.flags != 0) text += " flags=" + std::to_string(p.flags);
    if (p.len != 0) text += " len=" + std::to_string(p.len);
    return text;
  }

  std::vector<seen> record_;
  std::uint32_t sent_[8] = {}, small_ = 0;
  std::uint64_t packets_ = 0;
};

}  // namespace virtio::testing
