// SPDX-License-Identifier: MIT
// case: more receive buffers than can be numbered do not compile, although their number wraps to a small one
// target: i686-none-elf
// says: vsock::limits: see the bounds at make_sense|more buffers than 16 bits can number
#include <virtio/mmio.hpp>
#include <virtio/vsock.hpp>

#if defined(FAIL)
constexpr virtio::vsock::limits limits{.connections = 64, .receive_packet = 64, .receive_buffer = 0xffffffc0};
#else
constexpr virtio::vsock::limits limits{.connections = 64, .receive_packet = 64, .receive_buffer = 4096};
#endif

constinit virtio::vsock::device<virtio::identity_platform<>, virtio::mmio::modern<virtio::mmio::slots>,
                                virtio::split_queue<64>, limits>
    sockets;
