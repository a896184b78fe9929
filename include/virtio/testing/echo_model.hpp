// SPDX-License-Identifier: MIT
// An echo device, which exists only in the test kit: the example device of new drivers. Its complete specification:
//
// Device ID       62 (0x3e). Modern interface only: VERSION_1, and every number little-endian.
// Virtqueues      0 requestq
//                 1 eventq, which exists if ECHO_F_EVENTS is offered, and is used only if it was negotiated as well
// Feature bits    ECHO_F_EVENTS (0): the device counts the requests that it serves, and reports the count on eventq
// Configuration   le32 largest, at 0: the maximum bytes of one request, at least 1. Read-only and constant
//
// requestq        A buffer has 1 to `largest` device-readable bytes, in any descriptors, followed by at least 1
//                 device-writable byte. The device copies the readable bytes to the start of the writable part, as many
//                 as
//                 fit, and uses the buffer with the number of bytes copied as its length. Requests are served in order,
//                 but may be used in any order. A buffer that breaks a rule above is used with length 0 and not
//                 counted.
// eventq          The driver posts buffers of at least 4 device-writable bytes and no readable ones, at any time after
// it
//                 has set up the queue. The device keeps them. After every 16 requests served, it writes one le32 into
//                 the next of them, the number of requests served since its reset, modulo 2^32, and uses it with length
//                 4.
//                 An event without a buffer is lost; the number in the next event shows that. The order of an event and
//                 of the 16th request is not defined.
//
// A driver MUST NOT send more than `largest` bytes in a request, and MUST NOT trust `largest`, a length or an event.
// Layer: testing.
#pragma once

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

class echo_model : public device_model {
 public:
  static constexpr std::uint16_t id = 62, requestq = 0, eventq = 1;
  static constexpr unsigned events_bit = 0;
  static constexpr std::uint32_t requests_per_event = 16;

  explicit echo_model(device_memory& memory, std::initializer_list<unsigned> offered = {}, std::uint32_t largest = 4096,
                      std::uint16_t queue_size = 8)
      : device_model{memory, id, std::vector<std::uint16_t>(has_events(offered) ? 2 : 1, queue_size),
                     std::vector<std::uint8_t>(4)} {
    offer(offered);
    put_config(0, largest, 4);
  }

  [[nodiscard]] std::uint32_t largest() { return static_cast<std::uint32_t>(wire::get(config().data(), 4)); }
  [[nodiscard]] std::uint32_t served() const { return served_; }  // requests since the last reset
  // because no buffer was available, since the last reset
  [[nodiscard]] std::uint32_t events_lost() const { return events_lost_; }
  // changes what is about to be written into a buffer of either queue
  std::function<void(std::vector<std::uint8_t>&)> falsify;

 protected:
  [[nodiscard]] bool knows(unsigned bit) const override {
    return bit == events_bit || (bit >= 24 && device_model::knows(bit));
  }
  [[nodiscard]] field config_field(std::uint32_t) const override { return {0, 4, 128}; }
  void was_reset() override { served_ = events_lost_ = 0; }

  std::optional<chain> take(std::uint16_t queue) override {
    if (queue == eventq && !event_due_) return std::nullopt;
    auto buffer = device_model::take(queue);
    if (queue == eventq && buffer) event_due_ = false;
    return buffer;
  }

  std::uint32_t process(std::uint16_t queue, chain& buffer) override {
    if (queue == eventq) {
      if (!accepted(events_bit)) report("echo: a buffer on eventq without ECHO_F_EVENTS");
      if (buffer.readable() != 0) report("echo: readable bytes on eventq");
      if (buffer.writable() < 4) report("echo: " + std::to_string(buffer.writable()) + " bytes for an event");
      std::vector<std::uint8_t> event(4);
      wire::put(event.data(), served_, 4);
      return put(buffer, event);
    }
    if (buffer.readable() == 0 || buffer.writable() == 0) {
      report("echo: a request of " + std::to_string(buffer.readable()) + " bytes and room for " +
             std::to_string(buffer.writable()));
      return 0;
    }
    if (buffer.readable() > largest()) {
      report("echo: a request of " + std::to_string(buffer.readable()) + " bytes, and the largest has " +
             std::to_string(largest()));
      return 0;
    }
    const auto said = buffer.read_all();
    ++served_;
    if (accepted(events_bit) && served_ % requests_per_event == 0) {
      event_due_ = true;
      (void)serve(eventq);
      if (event_due_) ++events_lost_;
      event_due_ = false;
    }
    return put(buffer, said);
  }

 private:
  static bool has_events(std::initializer_list<unsigned> offered) {
    return std::find(offered.begin(), offered.end(), events_bit) != offered.end();
  }
  std::uint32_t put(const chain& buffer, std::vector<std::uint8_t> data) {
    if (falsify) falsify(data);
    return static_cast<std::uint32_t>(buffer.write(0, data.data(), data.size()));
  }

  std::uint32_t served_ = 0, events_lost_ = 0;
  bool event_due_ = false;
};

}  // namespace virtio::testing
