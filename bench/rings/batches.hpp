// SPDX-License-Identifier: MIT
// The counted functions of a ring: separate, so that a profiler distinguishes them from the device's side. Each does a
// driver's part for several requests in flight, from the chain to the release of the slot.
#pragma once

#include <virtio/queue/packed.hpp>
#include <virtio/queue/split.hpp>

namespace bench {

/// The buffers of one request, as a driver has them.
struct request {
  virtio::dma_addr header;
  virtio::dma_addr data;
  virtio::dma_addr status;
};

template <class Ring>
void add_single(Ring& queue, const request* requests,
                unsigned count);  // chains of one descriptor that the device writes
template <class Ring>
void add_triple(Ring& queue, const request* requests, unsigned count);  // header, 4 KiB of data, status: block reads
template <class Ring>
void publish(Ring& queue);
template <class Ring>
bool decide(Ring& queue);  // whether to ring the doorbell, after publish
template <class Ring>
void reap(Ring& queue, virtio::u64& cookies, unsigned count);  // completions taken and released

// The rings that are measured: X(name on the command line, type).
#define BENCH_RINGS(X)                                                                 \
  X("split", virtio::split_ring<256>)                                                  \
  X("split-8", virtio::split_ring<8>)                                                  \
  X("split-32768", virtio::split_ring<32768>)                                          \
  X("split-in-order", virtio::split_ring<256, virtio::ring_options{.in_order = true}>) \
  X("packed", virtio::packed_ring<256>)                                                \
  X("packed-8", virtio::packed_ring<8>)                                                \
  X("packed-32768", virtio::packed_ring<32768>)                                        \
  X("packed-in-order", virtio::packed_ring<256, virtio::packed_options{.in_order = true}>)

}  // namespace bench
