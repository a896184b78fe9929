// SPDX-License-Identifier: MIT
// What is counted of a ring: functions that stand alone, so that a profiler can tell them from the device's side. Each does a
// driver's part for 32 requests in flight at once, from building the chain to giving the slot back.
#pragma once

#include <virtio/queue/split.hpp>

namespace bench {

using ring = virtio::split_ring<256>;

inline constexpr unsigned batch = 32;

/// Buffers of one request, as a driver would know them.
struct request {
  virtio::dma_addr header;
  virtio::dma_addr data;
  virtio::dma_addr status;
};

void add_single(ring& queue, const request* requests);    // 32 chains of one descriptor that the device writes
void add_triple(ring& queue, const request* requests);    // 32 chains of header, 4 KiB of data, status: block reads
bool decide(ring& queue);                                 // whether to ring the doorbell, the index being published
void publish(ring& queue);
void reap(ring& queue, virtio::u64& cookies);             // 32 completions taken and released

}  // namespace bench
