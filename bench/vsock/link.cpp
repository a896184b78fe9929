// SPDX-License-Identifier: MIT
// The cost of a frame of 1,500 bytes over a stream of the socket driver: by the calls of sockets (`raw`), and by
// ethernet_link. The whole driver, with a host of registers in memory. Callgrind counts `bench::one_sent` or
// `bench::one_received` (tools/bench), with a poll and without copies: `memcpy` below leaves out those of frames. The
// host is written from the specification (2.7, 5.10).
// Little-endian x86-64 hosts.
// usage: link_instructions send|receive raw|link FRAMES
#include <cstdio>
#include <cstdlib>
#include <memory>

#include <virtio/queue/split.hpp>
#include <virtio/vsock.hpp>
#include <virtio/vsock/ethernet_link.hpp>

#include "host.hpp"

extern "C" [[gnu::noinline]] void* memcpy(void* to, const void* from, std::size_t size) {
  void* const out = to;
  if (size >= 1000) return out;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
  return out;
}

namespace bench {

constexpr u32 frame_bytes = 1500, prefix_bytes = 2, host_port = 1024;

struct host : vsock_host {
  u32 guest_port = 0, read = 0, frames = 0;
  bool connects = false;

  void send(operation what, u32 length) {
    constexpr u16 prefix = frame_bytes;
    vsock_host::send(what, host_port, guest_port, 1u << 20, read, length, &prefix, length == 0 ? 0 : sizeof prefix);
  }
  void read_all() {
    vsock_host::read_all([this](const unsigned char* header) {
      guest_port = get<std::uint32_t>(header + 16);
      const auto what = get<std::uint16_t>(header + 30);
      const auto length = get<std::uint32_t>(header + length_at);
      if (what == request) connects = true;
      if (what == data) read += length;
      if (what == data && length == prefix_bytes + frame_bytes) ++frames;
    });
    if (!connects) return;
    connects = false;
    send(response, 0);
  }
};

struct machine : identity_mapped<> {
  [[nodiscard]] bool keep_waiting(waiting, u64) const { return false; }
};
struct no_clock {
  u64 operator()() const { return 0; }
};

using sockets_t = vsock::device<machine, memory_transport<host>, split_queue<256>,
                                vsock::limits{.connections = 4,
                                              .receive_packet = 2048,
                                              .receive_buffer = 128 * 1024,
                                              .pieces = 32,
                                              .send_packet = 2048,
                                              .send_packets = 64}>;
using link_t = vsock::ethernet_link<sockets_t, no_clock>;

unsigned char frame[frame_bytes], prefix[prefix_bytes] = {frame_bytes & 255, frame_bytes >> 8};

struct by_hand {
  sockets_t& sockets;
  vsock::socket name{};

  bool send() { return sockets.try_send_all(name, {const_bytes{prefix}, const_bytes{frame}}).has_value(); }
  void poll() {
    (void)sockets.poll([](const vsock::event&) {});
  }
  u32 receive() {
    const auto got = sockets.receive_with(name, [](const vsock::arrived& all) { return all.size(); });
    return got ? static_cast<u32>(*got) - prefix_bytes : 0;
  }
};
struct linked {
  link_t& link;

  bool send() { return link.try_send(scatter<const_bytes>{&whole, 1}).has_value(); }
  void poll() { (void)link.poll(); }
  u32 receive() {
    u32 size = 0;
    (void)link.receive_with([&](const net::frame& one) {
      size = one.size;
      return net::after_look::done;
    });
    return size;
  }

  const_bytes whole{frame};
};

template <class By>
[[gnu::noinline]] bool one_sent(By& by) {
  const bool sent = by.send();
  by.poll();
  return sent;
}
template <class By>
[[gnu::noinline]] u32 one_received(By& by) {
  by.poll();
  return by.receive();
}

template <class By>
int run(host& other, By& by, bool sends, u32 frames) {
  const u32 before = other.frames;
  u32 bad = 0;
  for (u32 i = 0; i < frames; ++i) {
    if (sends) {
      if (i % 16 == 0) other.send(host::credit_update, 0);
      bad += !one_sent(by);
    } else {
      other.send(host::data, prefix_bytes + frame_bytes);
      bad += one_received(by) != frame_bytes;
    }
    other.read_all();
  }
  if (bad != 0 || (sends && other.frames - before != frames)) {
    std::printf("%u of %u were not as they should be, %u came\n", bad, frames, other.frames - before);
    return 1;
  }
  std::printf("frames %u\n", frames);
  return 0;
}

}  // namespace bench

int main(int argc, char** argv) {
  using namespace bench;
  if (argc != 4) return 2;
  const bool sends = argv[1][0] == 's';
  const auto frames = static_cast<u32>(std::strtoul(argv[3], nullptr, 10));

  host other;
  const auto sockets = std::make_unique<sockets_t>();
  const auto storage = std::make_unique<dma_storage<sockets_t::dma_bytes>>();
  if (!sockets->start(machine{}, {&other}, *storage, vsock::seed{1})) return 1;
  if (argv[2][0] == 'r') {
    by_hand by{*sockets};
    const auto made = sockets->try_connect({vsock::host_cid, host_port});
    if (!made) return 1;
    by.name = *made;
    other.read_all();
    by.poll();
    return run(other, by, sends, frames);
  }
  const auto link = std::make_unique<link_t>();
  if (!link->start(*sockets, {.settle = 0})) return 1;
  linked by{*link};
  for (int i = 0; i < 10; ++i) {
    by.poll();
    other.read_all();
  }
  if (link->state() != net::link_state::up) {
    std::puts("the link does not come up");
    return 1;
  }
  return run(other, by, sends, frames);
}
