// SPDX-License-Identifier: MIT
// How socket devices of hosts behave where the specification leaves it to them, and the behaviour of real hosts.
// Spec: virtio 1.4, 5.10.6. Layer: testing.
#pragma once

#include <cstdint>
#include <vector>

namespace virtio::testing {

/// The behaviour of a host.
struct vsock_host {
  std::vector<unsigned> features{};
  std::uint32_t buf_alloc = 256 * 1024;
  std::uint32_t max_payload = 65536;
  std::uint32_t update_below = 65536;  // updates the credit when the guest has less than this
  std::uint32_t queued_packets = 0;    // resets a connection with more unread packets; 0: never
  bool asks_for_credit = false;
  bool resets_unknown = true;  // packets that belong to no connection
  bool resets_refused = true;
  bool resets_wrong_type = true;
  bool resets_excess = false;       // data beyond its credit; false: dropped
  bool resets_once_drained = true;  // a SHUTDOWN of both ends before all was read; false: no answer
  bool resets_carry_credit = true;
  bool returns_malformed = true;
  bool throttles = false;            // takes no packets while as many replies wait as the send ring has entries
  bool claims_sent = false;          // the used length of a sent packet is its length; false: 0
  bool claims_event_buffer = false;  // the used length of an event is the buffer's; false: 4

  /// Linux's vhost-vsock.
  [[nodiscard]] static vsock_host kernel() {
    vsock_host h{};
    h.features = {1, 28, 29};
    h.queued_packets = h.buf_alloc / 1024;
    h.returns_malformed = false;
    h.throttles = true;
    return h;
  }
  [[nodiscard]] static vsock_host firecracker() {
    vsock_host h{};
    h.features = {29, 35};
    h.buf_alloc = 65536;
    h.update_below = 4096;
    h.asks_for_credit = h.resets_excess = h.claims_event_buffer = true;
    h.resets_carry_credit = false;
    return h;
  }
  /// rust-vmm's vhost-device-vsock.
  [[nodiscard]] static vsock_host vhost_device() {
    vsock_host h{};
    h.features = {29};
    h.buf_alloc = 65536;
    h.update_below = 16384;
    h.asks_for_credit = true;
    h.resets_unknown = h.resets_refused = h.resets_wrong_type = h.resets_once_drained = h.returns_malformed = false;
    return h;
  }
};

}  // namespace virtio::testing
