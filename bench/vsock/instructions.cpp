// SPDX-License-Identifier: MIT
// The cost of a received packet by the number of open connections: the whole driver, with a host of registers in memory
// that sends packets of 64 bytes, each to another connection than the previous one. Callgrind counts only
// `bench::receive_one` (tools/bench): a poll, its event, and reading the bytes in place. The host is written from the
// specification (2.7, 5.10). Little-endian hosts.
// usage: vsock_instructions CONNECTIONS PACKETS
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <virtio/queue/split.hpp>
#include <virtio/vsock.hpp>

#include "host.hpp"

namespace bench {

using namespace virtio;

constexpr u32 payload = 64, most_connections = 4096, first_port = 50'000, guest_port = 1;

struct host : vsock_host {
  void send(u32 port, operation what, u32 length) {
    static constexpr unsigned char bytes[payload]{};
    vsock_host::send(what, port, guest_port, 65536, 0, length, bytes, length);
  }
  void read_all() {
    vsock_host::read_all([](const unsigned char*) {});
  }
};

struct machine : identity_mapped<> {
  [[nodiscard]] bool keep_waiting(waiting, u64) const { return false; }
};

// One layout for every number of open connections.
using sockets_t =
    vsock::device<machine, memory_transport<host>, split_queue<256>,
                  vsock::limits{.connections = most_connections, .receive_packet = 1024, .receive_buffer = 1024}>;

[[gnu::noinline]] usize receive_one(sockets_t& sockets) {
  usize bytes = 0;
  const auto told = sockets.poll([&](const vsock::event& happened) {
    const auto got = sockets.receive_with(happened.which, [](const_bytes here) { return here.size(); });
    if (got) bytes += *got;
  });
  return told ? bytes : 0;
}

}  // namespace bench

int main(int argc, char** argv) {
  using namespace bench;
  if (argc != 3) return 2;
  const auto connections = static_cast<u32>(std::strtoul(argv[1], nullptr, 10));
  const unsigned long packets = std::strtoul(argv[2], nullptr, 10);
  if (connections < 1 || connections > most_connections) return 2;

  host other;
  const auto sockets = std::make_unique<sockets_t>();
  const auto storage = std::make_unique<dma_storage<sockets_t::dma_bytes>>();
  bool good = sockets->start(machine{}, {&other}, *storage, vsock::seed{1}).has_value() &&
              sockets->listen(guest_port, 1).has_value();
  for (u32 i = 0; good && i < connections; ++i) {
    other.send(first_port + i, host::request, 0);
    (void)sockets->poll([](const vsock::event&) {});
    good = sockets->try_accept(guest_port).has_value();
    other.read_all();
  }
  usize bytes = 0;
  for (unsigned long i = 0; good && i < packets; ++i) {
    other.send(first_port + static_cast<u32>(i * 1021 % connections), host::data, payload);  // all in turn, in no order
    bytes += receive_one(*sockets);
    other.read_all();
  }
  if (!good || bytes != packets * payload) {
    std::printf("%zu bytes of %lu came\n", static_cast<std::size_t>(bytes), packets * payload);
    return 1;
  }
  std::printf("packets %lu\n", packets);
  return 0;
}
