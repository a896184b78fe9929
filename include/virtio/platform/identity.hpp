// SPDX-License-Identifier: MIT
// A ready-made platform for a usual bare machine: device addresses are CPU addresses, and waits poll.
// Layer: platform.
#pragma once

#include <virtio/platform/concepts.hpp>
#include <virtio/platform/polling.hpp>

namespace virtio {

/// The memory half of a platform: device addresses are CPU addresses. Inherit it for `barriers` and `map()`. The board
/// is a platform only with a `keep_waiting`, its own or from `polling`. It has no state.
template <barrier_set Barriers = smp_barriers>
struct identity_mapped {
  using barriers = Barriers;  // `platform` concept: the barrier set

  /// `platform` concept: maps a buffer to its own address. Error: `no_space`.
  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }
};

/// Both halves of a platform: identity-mapped, and polling with the bounds of `polling`.
template <barrier_set Barriers = smp_barriers, u64 Attempts = 500'000'000>
struct identity_platform : identity_mapped<Barriers>, polling<Attempts> {};

static_assert(platform<identity_platform<>>);

}  // namespace virtio
