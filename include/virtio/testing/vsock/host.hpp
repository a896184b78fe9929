// SPDX-License-Identifier: MIT
// What hosts of socket devices do where the specification leaves it to them, and what those do that there are.
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
  std::uint32_t update_below = 65536;    // tells of space when the guest knows of less than this
  std::uint32_t queued_packets = 0;      // resets a connection with more unread packets than this; 0: never
  bool asks_for_credit = false;
  bool resets_unknown = true;            // what belongs to no connection
  bool resets_refused = true;
  bool resets_wrong_type = true;
  bool resets_excess = false;            // data beyond its credit; else it is dropped
  bool resets_once_drained = true;       // a SHUTDOWN of both ends that comes before all was read; else nobody answers it
  bool resets_carry_credit = true;
  bool returns_malformed = true;
  bool throttles = false;                // takes no packets while as many replies wait as the send ring holds
  bool claims_sent = false;              // the used length of a sent packet is its length; else 0
  bool claims_event_buffer = false;      // the used length of an event is the buffer's; else 4

  /// vhost-vsock of Linux.
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
  /// vhost-device-vsock of rust-vmm.
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
