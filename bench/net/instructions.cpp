// SPDX-License-Identifier: MIT
// The cost of a frame of 1,500 bytes in one direction: the whole driver, with a host of registers in memory. AT_ONCE
// frames are sent or received at a time. Callgrind counts `bench::send_some` or `bench::receive_some` (tools/bench)
// without copies:
// `memcpy` below leaves out those of frames. Little-endian x86-64 hosts.
// usage: net_instructions send|receive AT_ONCE FRAMES
#include <cstdio>
#include <cstdlib>
#include <memory>

#include <virtio/net.hpp>
#include <virtio/queue/split.hpp>

#include "../host.hpp"

extern "C" [[gnu::noinline]] void* memcpy(void* to, const void* from, std::size_t size) {
  void* const out = to;
  if (size >= 1500) return out;
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
  return out;
}

namespace bench {

constexpr u32 frame_bytes = 1500, header_bytes = 12;

struct host {
  static constexpr device_type type = device_type::network;
  static constexpr feature_set offers{feature::version_1,      feature::event_idx,      net::feature::mac,
                                      net::feature::status,    net::feature::mrg_rxbuf, net::feature::csum,
                                      net::feature::guest_csum};
  u8 status = 0;
  host_queue queues[2];
  u32 doorbells = 0;

  template <class T>
  [[nodiscard]] static T config(usize at) {
    return at == 6 ? T{1} : T{2};
  }

  void send(u32 count) {
    while (count-- != 0) {
      if (!queues[0].has_chain()) __builtin_trap();
      unsigned char* const header = queues[0].buffer(0);
      for (u32 i = 0; i < header_bytes; ++i) header[i] = 0;
      header[10] = 1;
      queues[0].give_back(header_bytes + frame_bytes);
    }
  }
  u32 take_all() {
    u32 count = 0;
    for (; queues[1].has_chain(); ++count) queues[1].give_back(0);
    return count;
  }
};

struct machine : identity_mapped<> {
  [[nodiscard]] bool keep_waiting(waiting, u64) const { return false; }
  void trace(event what) const {
    if (what.what == event::kind::doorbell) ++counted->doorbells;
  }
  host* counted = nullptr;

  machine() = default;
  explicit machine(host& of) : counted{&of} {}
};

using card_t = net::device<machine, memory_transport<host>, split_queue<64>>;

[[gnu::noinline]] u32 send_some(card_t& card, u32 count, const unsigned char* data) {
  const const_bytes one[] = {{data, frame_bytes}};
  u32 sent = 0;
  for (; sent < count; ++sent)
    if (!card.try_send(one)) break;
  card.flush();
  return sent;
}
[[gnu::noinline]] u32 receive_some(card_t& card, u32& bytes) {
  u32 count = 0;
  if (!card.poll()) return 0;
  const auto look = [&](const net::frame& frame) {
    bytes += frame.size;
    return net::after_look::done;
  };
  while (card.receive_with(look)) ++count;
  return count;
}

}  // namespace bench

int main(int argc, char** argv) {
  using namespace bench;
  if (argc != 4) return 2;
  const bool sends = argv[1][0] == 's';
  const auto at_once = static_cast<u32>(std::strtoul(argv[2], nullptr, 10));
  const auto frames = static_cast<u32>(std::strtoul(argv[3], nullptr, 10));
  if (at_once < 1 || at_once > 32) return 2;

  host other;
  const auto card = std::make_unique<card_t>();
  const auto storage = std::make_unique<dma_storage<card_t::dma_bytes>>();
  static unsigned char data[frame_bytes];
  if (!card->start(machine{other}, {&other}, *storage)) return 1;
  other.doorbells = 0;
  u32 moved = 0, came = 0, bytes = 0;
  while (moved < frames) {
    if (sends) {
      moved += send_some(*card, at_once, data);
      came += other.take_all();
    } else {
      other.send(at_once);
      moved += at_once;
      came += receive_some(*card, bytes);
    }
  }
  if (came != moved || (!sends && bytes != moved * frame_bytes)) {
    std::printf("%u frames of %u came\n", came, moved);
    return 1;
  }
  std::printf("frames %u doorbells %u\n", moved, other.doorbells);
  return 0;
}
