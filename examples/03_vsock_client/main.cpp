// SPDX-License-Identifier: MIT
// Socket hello world: connects to port 1234 of the host, sends a line, prints the answer.
#include <virtio/vsock.hpp>

#include "board.hpp"

using vsock_t = virtio::vsock::device<board, bus::transport<board>, virtio::queue<64>,
                                      virtio::vsock::limits{.connections = 4, .receive_buffer = 8192}>;
constinit virtio::dma_storage<vsock_t::dma_bytes> vsock_dma;
constinit vsock_t sockets;

extern "C" int guest_main(const char*) {
  const auto where = bus::find(board{}, virtio::device_type::vsock);
  if (!where) return board::fail("no vsock", where);
  // The seed is the clock: with the same seed at each boot the guest uses the ports of the previous boot, whose
  // connections the host may still have.
  const virtio::vsock::seed now{boot::timestamp()};
  if (auto up = sockets.start(board{}, *where, vsock_dma, now); !up)
    return board::fail("start", up.error(), sockets.why());

  auto peer = sockets.connect({virtio::vsock::host_cid, 1234});
  if (!peer) return board::fail("connect", peer.error());
  if (auto sent = peer->send(virtio::text("hello from the guest\n")); !sent) return board::fail("send", sent.error());

  static char reply[65];  // 64 bytes are received; the last one is the terminator
  auto got = peer->receive(virtio::bytes{reply, 64});
  if (!got) return board::fail("receive", got.error());
  boot::print("the host says: ", reply);
  auto closed = peer->close();
  return closed ? 0 : board::fail("close", closed.error());
}
