// SPDX-License-Identifier: MIT
// Random traffic over every ring, against the independent device and against a record of the expected state: a million
// operations for each of the two formats, or the number in VIRTIO_TEST_OPERATIONS. VIRTIO_TEST_SEED replays a run.
#include <catch2/catch_template_test_macros.hpp>

#include <cstdlib>

#include "random_traffic.hpp"
#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

#define SPLIT_RINGS tiny, small, indirect, usual, largest, hardware, either_as_split
#define PACKED_RINGS                                                                                     \
  packed_tiny, packed_odd, packed_small, packed_indirect, packed_usual, packed_largest, packed_hardware, \
      either_as_packed

template <class Ring>
void drive(u32 rings) {
  const char* given = std::getenv("VIRTIO_TEST_OPERATIONS");
  const u64 all = given != nullptr ? std::strtoull(given, nullptr, 0) : 1'000'000;
  random_traffic(*untyped<Ring>(), all / rings + 1, 10'000);
}

TEMPLATE_TEST_CASE("virtqueue: random traffic over split rings [SPLIT-07][SPLIT-09]", "[queue][contract]",
                   SPLIT_RINGS) {
  drive<TestType>(7);
}

TEMPLATE_TEST_CASE("virtqueue: random traffic over packed rings [PACKED-02][PACKED-03][PACKED-11][PACKED-13]",
                   "[queue][contract]", PACKED_RINGS) {
  drive<TestType>(8);
}

}  // namespace
