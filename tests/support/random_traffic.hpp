// SPDX-License-Identifier: MIT
// The random traffic that tests drive over any ring.
#pragma once

#include "ring_rig.hpp"

namespace rig {

/// Drives both sides of a ring by this many random operations, from VIRTIO_TEST_SEED if it is set. Every answer of
/// either side is compared with queues of the expected state. Both sides restart, with other features and another size,
/// after every `between_resets` operations: first, and sometimes later, close to the wrap of indices. A ring that can
/// use IN_ORDER mostly does, one by one and in batches.
void random_traffic(subject& r, u64 operations, u64 between_resets);

}  // namespace rig

#ifdef VIRTIO_TEST_ONE_UNIT
#include "random_traffic.cpp"
#endif
