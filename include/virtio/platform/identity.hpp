// SPDX-License-Identifier: MIT
// A ready-made platform for the usual bare machine: device addresses are CPU addresses, waits poll.
// Layer: platform.
#pragma once

#include <virtio/platform/concepts.hpp>
#include <virtio/platform/polling.hpp>

namespace virtio {

/// The memory half of a platform: the device sees memory where the CPU does. Inherit it for `barriers` and `map()`; without a
/// `keep_waiting`, from `polling` or of the board itself, the board is no platform yet. It has no state.
template <barrier_set Barriers = smp_barriers>
struct identity_mapped {
  using barriers = Barriers;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }
};

/// Both halves: identity-mapped and polling, with the patience of `polling`.
template <barrier_set Barriers = smp_barriers, u64 Attempts = 500'000'000>
struct identity_platform : identity_mapped<Barriers>, polling<Attempts> {};

static_assert(platform<identity_platform<>>);

}  // namespace virtio
