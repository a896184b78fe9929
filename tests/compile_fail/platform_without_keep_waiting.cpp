// SPDX-License-Identifier: MIT
// case: a type that cannot wait is not a platform, and the message names keep_waiting
// says: keep_waiting\(why, attempt\)' (is invalid|would be invalid)
#include <virtio/pci.hpp>
#include <virtio/rng.hpp>

struct board : virtio::pci::ecam {
  using barriers = virtio::smp_barriers;
  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way,
                           virtio::segments& out) const {
    return out.push(virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)}, n, way);
  }
#if !defined(FAIL)
  bool keep_waiting(virtio::waiting, virtio::u64 attempt) const { return attempt < 1000; }
#endif
};

constinit virtio::rng::device<board, virtio::pci::modern<board>, virtio::split_queue<8>> entropy;
