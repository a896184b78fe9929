// SPDX-License-Identifier: MIT
// The time limits of the boards, in milliseconds of the machine's clock.
#pragma once

#include <virtio/platform/concepts.hpp>

#include "runtime.hpp"

namespace boot {

/// Returns the limit of a wait. A peer may never answer a connection; a disk may be slow.
[[nodiscard]] constexpr virtio::u64 time_limit(virtio::waiting why) {
  switch (why) {
    case virtio::waiting::reset: return 60'000;
    case virtio::waiting::request: return 120'000;
    case virtio::waiting::connect: return 5'000;
    case virtio::waiting::shutdown: return 5'000;
    case virtio::waiting::peer: return 120'000;
  }
  return 0;
}

/// Makes one more step of a wait; attempt 0 starts the clock. Returns false after the limit. One wait at a time.
inline bool wait_within(virtio::u64 attempt, virtio::u64 milliseconds) {
  static virtio::u64 began;
  if (attempt == 0) began = timestamp();
  pause();
  return milliseconds_since(began) < milliseconds;
}

/// The waiting half of a board.
struct waits_by_clock {
  bool keep_waiting(virtio::waiting why, virtio::u64 attempt) const { return wait_within(attempt, time_limit(why)); }
};

}  // namespace boot
