// SPDX-License-Identifier: MIT
// Entropy hello world: 32 random bytes from the host.
#include <virtio/rng.hpp>

#include "board.hpp"

using rng_t = virtio::rng::device<board, bus::transport<board>, virtio::queue<8>>;
constinit virtio::dma_storage<rng_t::dma_bytes> rng_dma;
constinit rng_t entropy;

extern "C" int guest_main(const char*) {
  const auto where = bus::find(board{}, virtio::device_type::entropy);
  if (!where) return board::fail("no rng", where);
  if (auto up = entropy.start(board{}, *where, rng_dma); !up) return board::fail("start", up.error(), entropy.why());

  static virtio::u8 seed[32];
  // Repeats until the device has written all 32 bytes: the others are not random.
  if (auto r = entropy.fill(seed); !r) return board::fail("fill", r.error());
  for (const virtio::u8 byte : seed) boot::print(boot::hex(byte), " ");
  boot::print("\n");
  return 0;
}
