// SPDX-License-Identifier: MIT
// A console and its host: what each port received, what it will send, and whether it reads. Ports appear and receive
// their names as on QEMU. Spec: virtio 1.4, 5.3. Layer: testing.
#pragma once

#include <deque>
#include <string>

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

class console_model : public device_model {
 public:
  static constexpr unsigned size_bit = 0, multiport_bit = 1, emergency_bit = 2;
  enum message_kind : unsigned {
    device_ready,
    port_add,
    port_remove,
    port_ready,
    console_port,
    resize,
    port_open,
    port_name
  };

  /// A port at the host. Port n is `ports[n]`; a port without `there` is not announced.
  struct port {
    bool there = true, is_console = false, host_open = true;
    std::string name{};
    bool listens = true;  // false: received data stays in the queue
    bool guest_ready = false, guest_open = false;
    std::string heard{};                  // from the guest
    std::deque<std::uint8_t> says{};      // to the guest, as buffers allow
    std::size_t piece = ~std::size_t{0};  // maximum number of bytes in one buffer; 0: each buffer is used with length 0
  };
  struct message {
    std::uint32_t port;
    unsigned event, value;
  };

  explicit console_model(device_memory& memory, const std::vector<unsigned>& offered = {}, std::size_t ports_ = 1,
                         std::uint16_t queue_size = 16)
      : device_model{memory, 3,
                     std::vector<std::uint16_t>(has(offered, multiport_bit) ? 2 * ports_ + 2 : 2, queue_size),
                     std::vector<std::uint8_t>(12)},
        ports(ports_) {
    for (const unsigned bit : offered) offer({bit});
    if (has(offered, multiport_bit)) put_config(4, ports_, 4);
  }

  std::vector<port> ports;
  std::vector<message> told;  // by the driver, on the control queue
  std::string emergency;      // written to the register
  // changes what is about to be written to the guest
  std::function<void(std::uint16_t queue, std::vector<std::uint8_t>&)> falsify;

  /// Sends this from a port of the host, at once as far as there are buffers.
  void say(std::size_t to, const std::string& text) {
    ports[to].says.insert(ports[to].says.end(), text.begin(), text.end());
    (void)serve(receiveq(to));
  }
  /// Queues a control message with its payload; it is sent when there is a buffer for it.
  void queue_control(std::uint32_t which, unsigned event, unsigned value = 0, const std::string& more = {}) {
    std::vector<std::uint8_t> raw(8);
    put_shared(raw.data(), which, 4);
    put_shared(raw.data() + 4, event, 2);
    put_shared(raw.data() + 6, value, 2);
    raw.insert(raw.end(), more.begin(), more.end());
    messages_.push_back(std::move(raw));
  }
  /// The same, at once if there is a buffer.
  void control(std::uint32_t which, unsigned event, unsigned value = 0, const std::string& more = {}) {
    queue_control(which, event, value, more);
    (void)serve(2);
  }
  void control_resize(std::uint32_t which, unsigned columns, unsigned rows) {
    std::uint8_t raw[4];
    put_shared(raw, columns, 2);
    put_shared(raw + 2, rows, 2);
    control(which, resize, 0, std::string(reinterpret_cast<const char*>(raw), 4));
  }
  /// Uses exactly one buffer of a queue.
  void serve_one(std::uint16_t queue) {
    most_ = 1;
    (void)serve(queue);
    most_ = ~0u;
  }
  [[nodiscard]] static std::uint16_t receiveq(std::size_t of) {
    return static_cast<std::uint16_t>(of == 0 ? 0 : 2 * of + 2);
  }
  [[nodiscard]] static std::uint16_t transmitq(std::size_t of) { return static_cast<std::uint16_t>(receiveq(of) + 1); }
  [[nodiscard]] std::size_t unsaid() const { return messages_.size(); }

 protected:
  [[nodiscard]] bool knows(unsigned bit) const override { return bit <= 2 || (bit >= 24 && device_model::knows(bit)); }
  [[nodiscard]] field config_field(std::uint32_t offset) const override {
    return offset < 2   ? field{0, 2, size_bit}
           : offset < 4 ? field{2, 2, size_bit}
           : offset < 8 ? field{4, 4, multiport_bit}
                        : field{8, 4, emergency_bit};
  }
  [[nodiscard]] bool config_writable(std::uint32_t offset, std::uint32_t) const override { return offset == 8; }
  [[nodiscard]] bool config_writable_at_once(std::uint32_t offset) const override { return offset == 8; }
  void config_written(std::uint32_t, std::uint32_t) override { emergency += static_cast<char>(config()[8]); }
  void was_reset() override {
    messages_.clear();
    ready_ = false;
    for (port& one : ports) one.guest_ready = one.guest_open = false;
  }

  std::optional<chain> take(std::uint16_t queue) override {
    if (most_ == 0) return std::nullopt;
    auto got = take_some(queue);
    if (got && most_ != ~0u) --most_;
    return got;
  }

  std::uint32_t process(std::uint16_t queue, chain& buffer) override {
    if (queue % 2 == 0 && buffer.readable() != 0)
      report("CONSOLE-01: readable bytes on receiveq " + std::to_string(queue));
    if (queue % 2 == 1 && buffer.writable() != 0)
      report("CONSOLE-02: writable bytes on transmitq " + std::to_string(queue));
    if (is_control(queue) && framing_is_legacy() && buffer.elements.size() != 1)
      report("CONSOLEL-04: a control message in " + std::to_string(buffer.elements.size()) + " pieces");
    if (queue % 2 == 1) {
      const std::vector<std::uint8_t> data = buffer.read_all();
      if (is_control(queue)) take_message(data);
      else ports[port_of(queue)].heard.append(data.begin(), data.end());
      return 0;
    }
    std::vector<std::uint8_t> data;
    if (is_control(queue)) {
      if (messages_.empty()) return 0;  // a reset came in between
      data = messages_.front();
      messages_.pop_front();
    } else {
      port& one = ports[port_of(queue)];
      const std::size_t now = std::min({one.says.size(), one.piece, static_cast<std::size_t>(buffer.writable())});
      data.assign(one.says.begin(), one.says.begin() + static_cast<std::ptrdiff_t>(now));
      one.says.erase(one.says.begin(), one.says.begin() + static_cast<std::ptrdiff_t>(now));
    }
    if (falsify) falsify(queue, data);
    return static_cast<std::uint32_t>(buffer.write(0, data.data(), data.size()));
  }

 private:
  std::optional<chain> take_some(std::uint16_t queue) {
    if (is_control(queue)) return queue == 2 && messages_.empty() ? std::nullopt : device_model::take(queue);
    port& one = ports[port_of(queue)];
    const bool idle = queue % 2 == 0 ? one.says.empty() || !(one.guest_open || !accepted(multiport_bit)) : !one.listens;
    return idle ? std::nullopt : device_model::take(queue);
  }
  static bool has(const std::vector<unsigned>& bits, unsigned bit) {
    return std::find(bits.begin(), bits.end(), bit) != bits.end();
  }
  [[nodiscard]] bool is_control(std::uint16_t queue) const {
    return accepted(multiport_bit) && (queue == 2 || queue == 3);
  }
  [[nodiscard]] static std::size_t port_of(std::uint16_t queue) { return queue < 2 ? 0 : (queue - 2u) / 2; }

  void take_message(const std::vector<std::uint8_t>& data) {
    if (data.size() != 8) return report("console: a control message of " + std::to_string(data.size()) + " bytes");
    const message one{static_cast<std::uint32_t>(shared(data.data(), 4)),
                      static_cast<unsigned>(shared(data.data() + 4, 2)),
                      static_cast<unsigned>(shared(data.data() + 6, 2))};
    told.push_back(one);
    if (one.event == device_ready) {
      ready_ = one.value == 1;
      for (std::uint32_t i = 0; i < ports.size(); ++i)
        if (ports[i].there) control(i, port_add);
      return;
    }
    if (!ready_) report("CONSOLE-03: a control message before DEVICE_READY");
    if (one.port >= ports.size()) return report("console: a message about port " + std::to_string(one.port));
    port& which = ports[one.port];
    if (one.event == port_ready) {
      which.guest_ready = one.value == 1;
      if (!which.guest_ready) return;
      if (which.is_console) control(one.port, console_port, 1);
      if (!which.name.empty()) control(one.port, port_name, 1, which.name);
      if (which.host_open) control(one.port, port_open, 1);
    } else if (one.event == port_open) {
      if (!which.guest_ready) report("console: port " + std::to_string(one.port) + " is open before it is ready");
      which.guest_open = one.value == 1;
    } else {
      report("console: event " + std::to_string(one.event) + " is not a driver's");
    }
  }

  std::deque<std::vector<std::uint8_t>> messages_;
  bool ready_ = false;
  unsigned most_ = ~0u;
};

}  // namespace virtio::testing
