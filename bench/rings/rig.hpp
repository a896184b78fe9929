// SPDX-License-Identifier: MIT
// A ring with event index on, its device, and requests. 64-bit little-endian hosts: device addresses are CPU addresses.
#pragma once

#include <memory>

#include "batches.hpp"
#include "device.hpp"

namespace bench {

inline constexpr unsigned most = 32;  // requests in flight

template <class Ring>
struct rig {
  static constexpr bool is_packed = Ring::required.has(virtio::feature::ring_packed);
  using device = std::conditional_t<is_packed, packed_device, split_device>;

  Ring queue{};
  virtio::dma_storage<Ring::dma_bytes> storage{};
  unsigned char memory[most][4096 + 32];
  request requests[most];
  device other{nullptr, nullptr, nullptr, 0, false};
  unsigned batch;
  virtio::u64 cookies = 0;

  /// Runs `count` requests at once, for which the ring has room.
  explicit rig(unsigned count = most) : batch{count} {
    using namespace virtio;
    const auto address = [](const void* at) { return dma_addr{reinterpret_cast<uptr>(at)}; };
    const auto layout = queue.attach({storage.memory, storage.size, address(storage.memory)}, Ring::slots,
                                     Ring::wanted | Ring::required);
    if (!layout) __builtin_trap();
    other = device{storage.memory + layout->descriptors, storage.memory + layout->driver,
                   storage.memory + layout->device, Ring::slots, Ring::wanted.has(virtio::feature::in_order)};
    for (unsigned i = 0; i < most; ++i)
      requests[i] = {address(memory[i]), address(memory[i] + 32), address(memory[i] + 16)};
  }

  template <class Add>
  void turn(Add add) {
    add(queue, requests, batch);
    publish(queue);
    if (decide(queue)) other.serve();
    reap(queue, cookies, batch);
  }

  /// Returns whether all requests of `turns` batches completed: the cookies were 0 to batch - 1.
  [[nodiscard]] bool complete(unsigned long turns) const { return cookies == turns * (batch * (batch - 1) / 2); }
};

}  // namespace bench
