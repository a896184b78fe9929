// SPDX-License-Identifier: MIT
// A network link whose other end cuts, breaks and ends its stream as it likes.
#include <random>
#include <vector>

#include "ethernet_script.hpp"
#include "ring_rig.hpp"
#include "vsock.hpp"

TEST_CASE("hostile: whatever comes in its stream, a network link brings frames that were sent, whole and in order",
          "[vsock][hostile]") {
  const virtio::u32 seed = rig::seed();
  CAPTURE(seed);
  std::mt19937 random{seed};
  rig::ethernet_script script;
  std::vector<virtio::u8> moves(600);
  for (int round = 0; round < 25; ++round) {
    for (auto& one : moves) one = static_cast<virtio::u8>(random());
    script.run({moves.data(), moves.size()});
  }
  CHECK(script.frames() > 1200);
}
