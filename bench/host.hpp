// SPDX-License-Identifier: MIT
// A host for counted drivers: registers in memory, and rings from which it takes chains in any order. Written from the
// specification (2.7), without the library's structures. Little-endian hosts.
#pragma once

#include <virtio/platform/identity.hpp>
#include <virtio/transport/concepts.hpp>

#include "rings/device.hpp"

namespace bench {

using namespace virtio;

/// A split ring from which the device takes chains in any order.
class host_queue {
 public:
  void enable(const queue_areas& areas) {
    const auto place = [](dma_addr at) { return reinterpret_cast<unsigned char*>(static_cast<uptr>(raw(at))); };
    descriptors_ = place(areas.descriptors);
    available_ = place(areas.driver);
    used_ = place(areas.device);
    entries_ = areas.entries;
  }
  [[nodiscard]] bool has_chain() const { return taken_ != get<std::uint16_t>(available_ + 2); }
  /// Returns the n-th buffer of the next chain.
  [[nodiscard]] unsigned char* buffer(unsigned n) const {
    std::uint16_t at = head();
    while (n-- != 0) at = get<std::uint16_t>(descriptors_ + 16u * at + 14);
    return reinterpret_cast<unsigned char*>(static_cast<uptr>(get<std::uint64_t>(descriptors_ + 16u * at)));
  }
  void give_back(std::uint32_t written) {
    unsigned char* const element = used_ + 4 + 8u * (taken_ % entries_);
    put<std::uint32_t>(element, head());
    put<std::uint32_t>(element + 4, written);
    ++taken_;
    put(used_ + 2, taken_);
    put(used_ + 4 + 8u * entries_, taken_);  // requests a notification of the next one
  }

 private:
  [[nodiscard]] std::uint16_t head() const { return get<std::uint16_t>(available_ + 4 + 2u * (taken_ % entries_)); }

  unsigned char *descriptors_ = nullptr, *available_ = nullptr, *used_ = nullptr;
  unsigned entries_ = 0;
  std::uint16_t taken_ = 0;
};

/// The host's registers are its members: `status`, `queues`, and `config<T>(offset)`; `type` and `offers` identify the
/// device.
template <class Host>
struct memory_transport {
  struct location {
    Host* there = nullptr;
  };
  struct doorbell {
    void ring(u16) const {}  // the host polls
  };
  static constexpr byte_order ring_order = byte_order::little;
  static constexpr feature_set wanted{};

  Host* there = nullptr;

  [[nodiscard]] static device_type type_of(const location&) { return Host::type; }
  [[nodiscard]] result<void> open(const location& where, report& why) {
    why = {};
    there = where.there;
    return {};
  }
  [[nodiscard]] device_type type() const { return there == nullptr ? device_type::none : Host::type; }
  [[nodiscard]] transport_kind kind() const { return transport_kind::mmio_modern; }
  [[nodiscard]] bool is_legacy() const { return false; }
  [[nodiscard]] u8 status() const { return there->status; }
  void set_status(u8 value) { there->status = value; }
  [[nodiscard]] feature_set device_features(u32) const { return Host::offers; }
  void accept_features(const feature_set&, u32) {}
  [[nodiscard]] queue_limits queue(u16) const { return {256, false}; }
  [[nodiscard]] result<void> enable_queue(u16 index, const queue_areas& areas, const feature_set&, u16,
                                          doorbell&) const {
    there->queues[index].enable(areas);
    return {};
  }
  [[nodiscard]] result<void> begin_queue_reset(u16) { return errc::unsupported; }
  [[nodiscard]] bool queue_reset_done(u16) const { return false; }
  [[nodiscard]] result<void> set_config_vector(u16) { return errc::unsupported; }
  template <class T>
  [[nodiscard]] result<T> config(usize at) const {
    return Host::template config<T>(at);
  }
  template <class T>
  [[nodiscard]] result<void> config_write(usize, T) {
    return errc::unsupported;
  }
  [[nodiscard]] u32 config_generation() const { return 0; }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() { return {}; }
  void close() { there = nullptr; }
};

}  // namespace bench
