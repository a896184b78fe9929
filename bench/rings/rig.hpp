// SPDX-License-Identifier: MIT
// A ring with event index on, its device, and 32 requests. 64-bit little-endian hosts: device addresses are CPU addresses.
#pragma once

#include "batches.hpp"
#include "device.hpp"

namespace bench {

struct rig {
  ring queue{};
  device other{nullptr, nullptr, 0};
  request requests[batch];
  virtio::u64 cookies = 0;

  rig() {
    using namespace virtio;
    static dma_storage<ring::dma_bytes> storage;
    static unsigned char memory[batch][4096 + 32];
    const auto address = [](const void* at) { return dma_addr{reinterpret_cast<uptr>(at)}; };
    constexpr u16 entries = 256;
    const auto layout = queue.attach({storage.memory, storage.size, address(storage.memory)}, entries,
                                     feature_set{feature::event_idx});
    if (!layout) __builtin_trap();
    other = device{storage.memory + layout->driver, storage.memory + layout->device, entries};
    for (unsigned i = 0; i < batch; ++i)
      requests[i] = {address(memory[i]), address(memory[i] + 32), address(memory[i] + 16)};
  }

  template <class Add>
  void turn(Add add) {
    add(queue, requests);
    publish(queue);
    if (decide(queue)) other.serve();
    reap(queue, cookies);
  }

  /// Whether every request of `turns` batches came back: the cookies were 0 to 31.
  bool complete(unsigned long turns) const { return cookies == turns * (batch * (batch - 1) / 2); }
};

}  // namespace bench
