// SPDX-License-Identifier: MIT
// Shared by tests of sessions: a session without a driver, and one with a ring and its memory.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <memory>

#include <virtio/device/session.hpp>

#include "machine.hpp"

namespace rig {

/// A session without a driver: any device type, any plan, no queue.
template <class Platform = platform_type, class Transport = any_pci>
struct bare_session {
  session<Platform, Transport> s{};
  result<void> up(machine& m, u8 slot, device_type type, feature_plan plan = {}) {
    VIRTIO_TRY(s.open(Platform{&m.memory}, m.where(slot), type));
    return s.negotiate(plan);
  }
};

/// The same with memory for queue 0, of the entropy device in slot 4: the steps of a driver's start up to set_up().
template <class Ring = split_ring<8>>
struct ring_session : bare_session<> {
  struct parts {
    dma_storage<Ring::dma_bytes> storage{};
    Ring ring{};
  };
  std::unique_ptr<parts> at{new parts};
  dma_area area{};
  any_pci::doorbell bell{};

  explicit ring_session(machine& m, feature_plan plan = {}) {
    REQUIRE(up(m, 4, device_type::entropy, plan));
    REQUIRE(locate(m.platform(), at->storage, area));
  }
  Ring& ring() { return at->ring; }
  result<void> set_up(u16 vector = no_vector) { return s.set_up(0, ring(), area, vector, bell); }
};

}  // namespace rig

using rig::bare_session;
using rig::ring_session;
