// SPDX-License-Identifier: MIT
// An entropy device whose bytes are distinguishable from all others, and whose used lengths a test chooses.
// Spec: virtio 1.4, 5.4. Layer: testing.
#pragma once

#include <deque>

#include <virtio/testing/device_model.hpp>

namespace virtio::testing {

class rng_model : public device_model {
 public:
  explicit rng_model(device_memory& memory, std::uint16_t queue_size = 8) : device_model{memory, 4, {queue_size}} {}

  /// Maximum bytes of one request: OpenBSD's vmd rejects longer ones, Firecracker cuts them.
  static constexpr std::uint64_t most_bytes = 65536;

  /// Used lengths of the next answers, in order. Afterwards the first descriptor of every buffer is filled (vmd, Cloud
  /// Hypervisor), or all of them with `fills_all` (QEMU). With 0 nothing is reported as written; a length beyond the
  /// buffer is reported but not written.
  std::deque<std::uint32_t> answers;
  bool fills_all = false;
  /// OpenBSD's vmd: takes the entry after the newest one, and one buffer per notification.
  bool reads_past_the_newest = false;
  bool crashes_on_long_requests = false;  // vmd of 2018

  /// Byte `position` of all bytes that this device wrote. Never 0, 0x5a, 0xa5 or 0xff, which fill memory elsewhere.
  [[nodiscard]] static std::uint8_t pattern(std::uint64_t position) {
    const auto b = static_cast<std::uint8_t>((position * 167 + (position >> 8) * 13 + 29) & 0xff);
    return b == 0 || b == 0x5a || b == 0xa5 || b == 0xff ? 0x77 : b;
  }
  /// Bytes written so far.
  [[nodiscard]] std::uint64_t written() const { return written_; }

 protected:
  [[nodiscard]] bool knows(unsigned bit) const override { return bit >= 24 && device_model::knows(bit); }

  std::uint32_t process(std::uint16_t, chain& buffer) override {
    if (buffer.readable() != 0) report("RNG-01: " + std::to_string(buffer.readable()) + " readable bytes on requestq");
    const std::uint64_t room = buffer.writable();
    if (room > most_bytes) {
      report("rng: a request of " + std::to_string(room) + " bytes, and some hosts take " + std::to_string(most_bytes));
      if (crashes_on_long_requests) abort("rng: a request of " + std::to_string(room) + " bytes");
      return 0;
    }
    std::uint64_t claimed = fills_all || room == 0 ? room : buffer.elements.front().length;
    if (!answers.empty()) {
      claimed = answers.front();
      answers.pop_front();
    }
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(std::min(room, claimed)));
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = pattern(written_ + i);
    written_ += buffer.write(0, bytes.data(), bytes.size());
    return static_cast<std::uint32_t>(claimed);
  }

  std::optional<chain> take(std::uint16_t queue) override {
    if (!reads_past_the_newest || accepted(34)) return device_model::take(queue);
    split_device& r = ring(queue);
    if (r.pending() == 0) return std::nullopt;
    const std::uint16_t newest = r.raw_available_idx();
    return r.pop_at(newest, newest);
  }

 private:
  std::uint64_t written_ = 0;
};

}  // namespace virtio::testing
