// SPDX-License-Identifier: MIT
// A ring and the independent device side of it, over the same memory at different addresses.
#pragma once

#include <catch2/catch_test_macros.hpp>

#include <memory>

#include <virtio/queue/split.hpp>
#include <virtio/testing/split_device.hpp>

namespace rig {

using namespace virtio;

inline constexpr u64 storage_at = 0x7'0000'0000;  // where the device sees the ring: not where the CPU does
inline constexpr u64 buffers_at = 0x9'0000'0000;  // where it sees buffers; nobody looks into them here
inline constexpr u64 buffer_bytes = 1u << 20;

/// One ring and its device. Big, so on the heap: `auto r = std::make_unique<rig::pair<Ring>>(...)`.
template <class Ring>
struct pair {
  Ring ring{};
  virtio::testing::split_device device;
  virtio::testing::device_memory memory;
  dma_storage<Ring::dma_bytes> storage{};
  std::unique_ptr<u8[]> buffers{new u8[buffer_bytes]()};
  u16 entries = 0;

  /// Attaches both sides with this many entries.
  void attach(u16 n, feature_set features) {
    if (entries == 0) {
      REQUIRE(memory.add(storage_at, storage.memory, storage.size, virtio::testing::device_memory::permission::read_write));
      REQUIRE(memory.add(buffers_at, buffers.get(), buffer_bytes, virtio::testing::device_memory::permission::read_write));
    }
    entries = n;
    const auto layout = ring.attach({storage.memory, storage.size, dma_addr{storage_at}}, n, features);
    REQUIRE(layout);
    device.configure(memory, n, storage_at + layout->descriptors, storage_at + layout->driver,
                     storage_at + layout->device,
                     {.event_idx = features.has(feature::event_idx), .indirect = features.has(feature::indirect_desc)});
  }

  /// A chain of readable, then writable pieces of 64 bytes.
  result<token> submit(u16 readable, u16 writable, u64 cookie) {
    const auto slot = ring.reserve();
    if (!slot) return slot.error();
    segment_list<64> chain;
    for (u16 i = 0; i < readable; ++i) REQUIRE(chain.push(dma_addr{buffers_at + 64u * i}, 64, direction::to_device));
    for (u16 i = 0; i < writable; ++i) REQUIRE(chain.push(dma_addr{buffers_at + 64u * (i + readable)}, 64, direction::from_device));
    return ring.stage(*slot, chain, cookie);
  }

  /// Publishes, and rings if the ring says so.
  bool kick() {
    ring.publish();
    const bool wanted = ring.needs_kick();
    if (wanted) device.rang();
    return wanted;
  }

  void require_no_violations() {
    for (const auto& what : device.violations()) UNSCOPED_INFO(what);
    for (const auto& what : memory.faults()) UNSCOPED_INFO("memory: " << what);
    REQUIRE(device.violations().empty());
    REQUIRE(memory.faults().empty());
  }
};

}  // namespace rig
