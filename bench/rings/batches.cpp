// SPDX-License-Identifier: MIT
#include "batches.hpp"

namespace bench {

using namespace virtio;

namespace {

// A driver returns each of these errors; here none can happen.
void must(bool holds) {
  if (!holds) [[unlikely]]
    __builtin_trap();
}

}  // namespace

template <class Ring>
void add_single(Ring& queue, const request* requests, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const auto slot = queue.reserve();
    must(slot.has_value());
    segment room[1];
    segments chain{room};
    must(chain.push(requests[i].data, 4096, direction::from_device).has_value());
    must(queue.stage(*slot, chain, i).has_value());
  }
}

template <class Ring>
void add_triple(Ring& queue, const request* requests, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const auto slot = queue.reserve();
    must(slot.has_value());
    segment room[3];
    segments chain{room};
    chain.append(requests[i].header, 16, direction::to_device);
    must(chain.push(requests[i].data, 4096, direction::from_device).has_value());
    chain.append(requests[i].status, 1, direction::from_device);
    must(queue.stage(*slot, chain, i).has_value());
  }
}

template <class Ring>
void publish(Ring& queue) {
  must(queue.publish());
}

template <class Ring>
bool decide(Ring& queue) {
  return queue.needs_kick();
}

template <class Ring>
void reap(Ring& queue, u64& cookies, unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    const auto got = queue.next_completion();
    must(got.has_value());
    cookies += got->cookie;
    queue.release(got->which);
  }
}

#define INSTANTIATE(name, ...)                                      \
  template void add_single(__VA_ARGS__&, const request*, unsigned); \
  template void add_triple(__VA_ARGS__&, const request*, unsigned); \
  template void publish(__VA_ARGS__&);                              \
  template bool decide(__VA_ARGS__&);                               \
  template void reap(__VA_ARGS__&, u64&, unsigned);
BENCH_RINGS(INSTANTIATE)
#undef INSTANTIATE

}  // namespace bench
