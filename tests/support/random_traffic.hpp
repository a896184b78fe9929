// SPDX-License-Identifier: MIT
// The one random traffic that tests drive over any ring.
#pragma once

#include "ring_rig.hpp"

namespace rig {

/// Drives both sides of a ring by so many operations at random, from VIRTIO_TEST_SEED if there is one. Every answer of either side is
/// compared with queues of what must be where. Both start again, with other features and another size, after every `between_resets`
/// operations: first and now and then near where indices wrap. A ring that would use IN_ORDER mostly does, one by one and in batches.
void random_traffic(subject& r, u64 operations, u64 between_resets);

}  // namespace rig

#ifdef VIRTIO_TEST_ONE_UNIT
#include "random_traffic.cpp"
#endif
