// SPDX-License-Identifier: MIT
// A network device and its wire: the frames that the driver sent, and those that will arrive, in as many receive
// buffers as needed. A test can falsify a frame's header. Spec: virtio 1.4, 5.1. Layer: testing.
#pragma once

#include <deque>
#include <string>

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

class net_model : public device_model {
 public:
  static constexpr unsigned csum_bit = 0, guest_csum_bit = 1, mtu_bit = 3, mac_bit = 5, mrg_rxbuf_bit = 15,
                            status_bit = 16, control_bit = 17;

  /// The header before a frame.
  struct header {
    unsigned flags = 0, gso_type = 0, hdr_len = 0, gso_size = 0, csum_start = 0, csum_offset = 0, num_buffers = 0;
  };
  struct frame {
    header head;
    std::vector<std::uint8_t> data;
  };

  /// The control queue exists if it is offered; it accepts no command.
  explicit net_model(device_memory& memory, const std::vector<unsigned>& offered = {mac_bit, status_bit},
                     std::uint16_t queue_size = 64)
      : device_model{memory, 1,
                     std::vector<std::uint16_t>(
                         std::find(offered.begin(), offered.end(), control_bit) == offered.end() ? 2 : 3, queue_size),
                     std::vector<std::uint8_t>(20)} {
    for (const unsigned bit : offered) offer({bit});
    const std::uint8_t address[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
    std::copy(address, address + 6, config().begin());
    put_config(6, 1, 2);
    put_config(8, 1, 2);
    put_config(10, 1500, 2);
  }

  std::vector<frame> sent;              // by the driver
  std::deque<frame> wire;               // to the driver: a frame leaves when there are buffers for all of it
  bool waits_for_notification = false;  // no frame arrives before receiveq was notified once since the reset (vmd)
  bool stops_responding = false;  // after that notification it polls by itself and requests no more until a reset (vmd)
  bool keeps_last_buffer = false;  // the last receive buffer that was posted is never used (vmd of 2018)
  // num_buffers is the number of descriptors of a buffer, whatever was negotiated (vmd)
  bool counts_descriptors = false;
  std::size_t fewest_bytes = 0;    // receive buffers with fewer bytes after the header stop the device (vmd)
  bool locks_address = false;      // frames whose source address is not the device's are taken but not sent (vmd)
  bool listens = true;             // false: sent frames stay in the queue
  std::optional<unsigned> claims;  // the number of buffers that every header reports, whatever the frame needs
  // changes what is about to be written into one buffer
  std::function<void(std::size_t part, std::vector<std::uint8_t>&)> falsify;

  /// Adds a frame, which arrives at once as far as there are buffers.
  void arrive(std::vector<std::uint8_t> data, const header& head) {
    wire.push_back({head, std::move(data)});
    (void)serve(0);
  }
  void arrive(std::vector<std::uint8_t> data) { arrive(std::move(data), header{}); }
  void set_link(bool up) { change_config(6, up ? 1 : 0, 2); }
  [[nodiscard]] std::size_t header_size() const { return accepted(32) || accepted(mrg_rxbuf_bit) ? 12 : 10; }

 protected:
  [[nodiscard]] bool knows(unsigned bit) const override {
    return bit <= 23 ? bit != 4
                     : (bit >= 50 && bit <= 70 && bit != 58) || (bit >= 24 && bit < 44 && device_model::knows(bit));
  }
  [[nodiscard]] field config_field(std::uint32_t offset) const override {
    return offset < 6    ? field{offset, 1, mac_bit}
           : offset < 8  ? field{6, 2, status_bit}
           : offset < 10 ? field{8, 2, 22}
           : offset < 12 ? field{10, 2, mtu_bit}
           : offset < 16 ? field{12, 4, 63}
                         : field{16, 1, 63};
  }
  [[nodiscard]] bool asked_for(std::uint16_t queue) const override { return queue < 2 || accepted(control_bit); }
  void was_reset() override {
    rung_before_ = doorbells(0);
    ahead_.clear();
    parts_.clear();
    content_.clear();
  }

  std::optional<chain> take(std::uint16_t queue) override {
    if (queue != 0) return listens ? device_model::take(queue) : std::nullopt;
    if (waits_for_notification && doorbells(0) == rung_before_) return std::nullopt;
    if (stops_responding && doorbells(0) != rung_before_ && !ring_in_use(0).no_notify())
      ring_in_use(0).set_no_notify(true);
    if (parts_.empty() && !wire.empty()) begin_frame();
    if (parts_.empty()) return std::nullopt;
    const chain next = ahead_.front();
    ahead_.pop_front();
    content_[next.head] = std::move(parts_.front());
    parts_.pop_front();
    return next;
  }

  std::uint32_t process(std::uint16_t queue, chain& buffer) override {
    if (queue == 1) return take_message(buffer), 0;
    if (queue == 2) return report("net: a command on the control queue"), 0;
    const auto found = content_.find(buffer.head);
    if (found == content_.end()) return 0;  // a reset came in between
    std::vector<std::uint8_t> data = std::move(found->second);
    content_.erase(found);
    if (falsify) falsify(part_++, data);
    return static_cast<std::uint32_t>(buffer.write(0, data.data(), data.size()));
  }

 private:
  // Takes buffers until the first frame of the wire fits, and cuts the frame.
  void begin_frame() {
    const frame& next = wire.front();
    const std::size_t whole = header_size() + next.data.size();
    std::size_t room = 0, count = 0;
    while (room < whole) {
      if (count != 0 && !accepted(mrg_rxbuf_bit)) break;  // it is cut off
      if (count == ahead_.size()) {
        if (keeps_last_buffer && ring_in_use(0).pending() < 2) return;
        auto more = device_model::take(0);
        if (!more) return;
        check_receive_buffer(*more);
        if (fewest_bytes != 0 &&
            (more->elements[0].length < header_size() || more->writable() < header_size() + fewest_bytes))
          return stall(
              "net: a receive buffer that does not hold a header in its first descriptor and a frame behind it");
        ahead_.push_back(*more);
      }
      room += static_cast<std::size_t>(ahead_[count++].writable());
    }
    std::vector<std::uint8_t> all(header_size());
    all[0] = static_cast<std::uint8_t>(next.head.flags);
    all[1] = static_cast<std::uint8_t>(next.head.gso_type);
    put_shared(all.data() + 2, next.head.hdr_len, 2);
    put_shared(all.data() + 4, next.head.gso_size, 2);
    put_shared(all.data() + 6, next.head.csum_start, 2);
    put_shared(all.data() + 8, next.head.csum_offset, 2);
    if (all.size() == 12)
      put_shared(all.data() + 10,
                 claims.value_or(static_cast<unsigned>(counts_descriptors ? ahead_[0].elements.size() : count)), 2);
    all.insert(all.end(), next.data.begin(), next.data.end());
    std::size_t at = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t size = std::min(all.size() - at, static_cast<std::size_t>(ahead_[i].writable()));
      parts_.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(at),
                          all.begin() + static_cast<std::ptrdiff_t>(at + size));
      at += size;
    }
    part_ = 0;
    wire.pop_front();
  }
  void check_receive_buffer(const chain& buffer) {
    const std::size_t bytes = header_size();
    if (buffer.readable() != 0) report("NET: readable bytes on receiveq");
    if (buffer.writable() < bytes)
      report("NET-43: a receive buffer of " + std::to_string(buffer.writable()) + " bytes");
    if (!accepted(mrg_rxbuf_bit) && accepted(32) && buffer.writable() < 1526)
      report("NET-42: a receive buffer of " + std::to_string(buffer.writable()) + " bytes");
    if (accepted(mtu_bit) && !accepted(mrg_rxbuf_bit) &&
        buffer.writable() < bytes + 14 + wire::get(config().data() + 10, 2))
      report("NET-08: a receive buffer of " + std::to_string(buffer.writable()) + " bytes");
    if (framing_is_legacy() && (buffer.elements.size() < 2 || buffer.elements[0].length != bytes))
      report("NETL-08: the header of a receive buffer is not in a descriptor of its own");
  }

  void take_message(const chain& buffer) {
    const std::size_t bytes = header_size();
    std::vector<std::uint8_t> all = buffer.read_all();
    if (buffer.writable() != 0) report("NET: writable bytes on transmitq");
    if (all.size() < bytes + 14)
      return report("NET-15: a frame to send of " + std::to_string(all.size()) + " bytes with its header");
    if (framing_is_legacy() && (buffer.elements.size() < 2 || buffer.elements[0].length != bytes))
      report("NETL-08: the header of a frame to send is not in a descriptor of its own");
    const auto word = [&](std::size_t at) { return static_cast<unsigned>(shared(all.data() + at, 2)); };
    frame one;
    one.head = {all[0], all[1], word(2), word(4), word(6), word(8), bytes == 12 ? word(10) : 0};
    one.data.assign(all.begin() + static_cast<std::ptrdiff_t>(bytes), all.end());
    if (one.head.num_buffers != 0)
      report("NET-16: num_buffers " + std::to_string(one.head.num_buffers) + " of a frame to send");
    if (!accepted(csum_bit) && one.head.flags != 0)
      report("NET-17: flags " + wire::hex(one.head.flags) + " without CSUM");
    if ((one.head.flags & ~1u) != 0) report("NET-40: flags " + wire::hex(one.head.flags) + " of a frame to send");
    if ((one.head.gso_type & 0x7f) != 0 && !segments(one.head.gso_type & 0x7f))
      report("NET-34: gso_type " + std::to_string(one.head.gso_type) + ", which was not negotiated");
    if ((one.head.flags & 1) != 0 && one.head.csum_start + one.head.csum_offset + 2 > one.data.size())
      report("NET-33: a checksum at " + std::to_string(one.head.csum_start + one.head.csum_offset) +
             " of a shorter frame");
    if (accepted(mtu_bit) && one.head.gso_type == 0 && one.data.size() > wire::get(config().data() + 10, 2) + 14)
      report("NET-09: a frame to send of " + std::to_string(one.data.size()) + " bytes");
    if (locks_address && !std::equal(one.data.begin() + 6, one.data.begin() + 12, config().begin())) return;
    sent.push_back(std::move(one));
  }
  [[nodiscard]] bool segments(unsigned type) const {
    return type == 1 ? accepted(11) : type == 3 ? accepted(14) : type == 4 ? accepted(12) : type == 5 && accepted(56);
  }

  std::deque<chain> ahead_;                                     // buffers taken for the next frame
  std::deque<std::vector<std::uint8_t>> parts_;                 // the content of the first of them
  std::map<std::uint16_t, std::vector<std::uint8_t>> content_;  // and of those being served
  std::size_t part_ = 0;
  std::uint32_t rung_before_ = 0;  // doorbells of receiveq up to the last reset
};

}  // namespace virtio::testing
