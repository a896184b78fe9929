// SPDX-License-Identifier: MIT
#include "batches.hpp"

namespace bench {

using namespace virtio;

namespace {

// In a driver every one of these is an error to return; here none can happen.
void must(bool holds) {
  if (!holds) [[unlikely]] __builtin_trap();
}

}  // namespace

void add_single(ring& queue, const request* requests) {
  for (unsigned i = 0; i < batch; ++i) {
    const auto slot = queue.reserve();
    must(slot.has_value());
    segment_list<1> chain;
    must(chain.push(requests[i].data, 4096, direction::from_device).has_value());
    must(queue.stage(*slot, chain, i).has_value());
  }
}

void add_triple(ring& queue, const request* requests) {
  for (unsigned i = 0; i < batch; ++i) {
    const auto slot = queue.reserve();
    must(slot.has_value());
    segment_list<3> chain;
    must(chain.push(requests[i].header, 16, direction::to_device).has_value());
    must(chain.push(requests[i].data, 4096, direction::from_device).has_value());
    must(chain.push(requests[i].status, 1, direction::from_device).has_value());
    must(queue.stage(*slot, chain, i).has_value());
  }
}

void publish(ring& queue) { queue.publish(); }

bool decide(ring& queue) { return queue.needs_kick(); }

void reap(ring& queue, u64& cookies) {
  for (unsigned i = 0; i < batch; ++i) {
    const auto got = queue.next_completion();
    must(got.has_value());
    cookies += got->cookie;
    queue.release(got->which);
  }
}

}  // namespace bench
