// SPDX-License-Identifier: MIT
// A legacy device for a guest whose numbers are big-endian, on any CPU. It has no bus: its registers are members,
// device addresses are pointers, and it works while the driver waits. Written from the specification: virtio 1.4,
// 2.4.3, 2.7.3.
#pragma once

#include <string>
#include <vector>

#include <virtio/base/report.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/testing/scripted_io.hpp>
#include <virtio/transport/concepts.hpp>
#include <virtio/transport/config_access.hpp>

namespace rig {

using namespace virtio;

/// The base of a model, which adds `static constexpr device_type type` and `void serve()`, which takes buffers from the
/// rings.
struct big_endian_device {
  struct ring {
    const u8* descriptors = nullptr;
    const u8* available = nullptr;
    u8* used = nullptr;
    u16 taken = 0;

    [[nodiscard]] bool has_more() const { return used != nullptr && taken != static_cast<u16>(get(available + 2, 2)); }
    /// The head of the next chain.
    [[nodiscard]] u16 head() const { return static_cast<u16>(get(available + 4 + 2 * (taken % entries), 2)); }
    [[nodiscard]] const u8* descriptor(u16 n) const { return descriptors + 16 * (n % entries); }
    /// Returns that chain.
    void give_back(u16 chain, u32 written) {
      put(used + 4 + 8 * (taken % entries), chain, 4);
      put(used + 8 + 8 * (taken % entries), written, 4);
      put(used + 2, ++taken, 2);
    }
  };
  static constexpr u16 entries = 8;

  u8 status = 0;
  u32 offered = 0, accepted = 0;
  ring rings[8];
  virtio::testing::recording config;  // returns little-endian numbers, as a bus does

  explicit big_endian_device(usize config_bytes) : config{config_bytes} {}
  [[nodiscard]] bool is_up() const { return (status & 4) != 0; }

  static u64 get(const u8* at, usize bytes) {
    u64 value = 0;
    for (usize i = 0; i < bytes; ++i) value = value << 8 | at[i];
    return value;
  }
  static void put(u8* at, u64 value, usize bytes) {
    for (usize i = bytes; i-- != 0; value >>= 8) at[i] = static_cast<u8>(value);
  }
};

template <class Device>
struct big_endian_transport {
  using location = Device*;
  struct doorbell {
    void ring(u16) const {}
  };
  static constexpr byte_order ring_order = byte_order::big;
  static constexpr feature_set wanted{};

  [[nodiscard]] static device_type type_of(const location&) { return Device::type; }
  result<void> open(const location& where, report& why) {
    at = where;
    why = {.type = Device::type};
    return {};
  }
  [[nodiscard]] device_type type() const { return at ? Device::type : device_type::none; }
  [[nodiscard]] transport_kind kind() const { return transport_kind::pci_legacy; }
  [[nodiscard]] bool is_legacy() const { return true; }
  [[nodiscard]] u8 status() const { return at->status; }
  void set_status(u8 value) const { at->status = value; }
  [[nodiscard]] feature_set device_features(u32) const {
    feature_set offered;
    offered.set_word(0, at->offered);
    return offered;
  }
  void accept_features(feature_set chosen, u32) const { at->accepted = chosen.word(0); }
  [[nodiscard]] queue_limits queue(u16) const { return {at->entries, true}; }
  [[nodiscard]] result<void> enable_queue(u16 q, const queue_areas& areas, const feature_set&, u16, doorbell&) const {
    at->rings[q] = {reinterpret_cast<const u8*>(raw(areas.descriptors)), reinterpret_cast<const u8*>(raw(areas.driver)),
                    reinterpret_cast<u8*>(raw(areas.device)), 0};
    return {};
  }
  [[nodiscard]] result<void> begin_queue_reset(u16) const { return errc::unsupported; }
  [[nodiscard]] bool queue_reset_done(u16) const { return false; }
  [[nodiscard]] result<void> set_config_vector(u16) const { return errc::unsupported; }
  // The bus transfers bytes; pci::legacy and mmio::legacy convert them to numbers in the same way.
  template <class T>
  [[nodiscard]] result<T> config(usize offset) const {
    return virtio::detail::in_guest_order<byte_order::big>(
        by_field::read<T>(virtio::testing::recording_space{at->config}, offset));
  }
  template <class T>
  result<void> config_write(usize offset, T value) const {
    by_field::write<T>(virtio::testing::recording_space{at->config}, offset,
                       virtio::detail::in_guest_order<byte_order::big>(value));
    return {};
  }
  [[nodiscard]] u32 config_generation() const { return 0; }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const { return {}; }
  void close() const {}

  Device* at = nullptr;
};

template <class Device>
struct big_endian_board : identity_mapped<> {
  Device* at = nullptr;

  big_endian_board() = default;
  explicit big_endian_board(Device& device) : at{&device} {}
  bool keep_waiting(waiting, u64 attempt) const {
    at->serve();
    return attempt < 1000;
  }
};

}  // namespace rig

using rig::big_endian_board;
using rig::big_endian_device;
using rig::big_endian_transport;
