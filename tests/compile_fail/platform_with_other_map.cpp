// SPDX-License-Identifier: MIT
// case: a type whose map() cannot fail is not a platform
// gcc: p\.map\(va, n, way, out\)' does not satisfy
// clang: same_as<virtio::dma_addr, (virtio::)?result<(void)?> ?>' was not satisfied
#include <virtio/platform/concepts.hpp>

struct board {
  using barriers = virtio::smp_barriers;
  bool keep_waiting(virtio::waiting, virtio::u64 attempt) const { return attempt < 1000; }
#if defined(FAIL)
  virtio::dma_addr map(const volatile void* va, virtio::usize, virtio::direction, virtio::segments&) const {
    return virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)};
  }
#else
  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way,
                           virtio::segments& out) const {
    return out.push(virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)}, n, way);
  }
#endif
};

template <virtio::platform P>
struct driver {};
driver<board> one;
