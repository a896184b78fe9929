// SPDX-License-Identifier: MIT
// case: DMA storage of a socket device whose bytes wrap on a 32-bit target does not compile, and the remedy is named
// target: i686-none-elf
// says: the DMA storage of a vsock::device must stay below 2 GiB: fewer or smaller buffers in vsock::limits
#include <virtio/mmio.hpp>
#include <virtio/vsock.hpp>

#if defined(FAIL)
constexpr virtio::vsock::limits limits{
    .receive_packet = 4096, .receive_buffer = 4096, .send_packet = 65536, .send_packets = 65500};
#else
constexpr virtio::vsock::limits limits{
    .receive_packet = 4096, .receive_buffer = 4096, .send_packet = 16384, .send_packets = 65500};
#endif

constinit virtio::vsock::device<virtio::identity_platform<>, virtio::mmio::modern<virtio::mmio::slots>,
                                virtio::split_queue<64>, limits>
    sockets;
