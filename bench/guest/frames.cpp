// SPDX-License-Identifier: MIT
// The measured guest of a network link: raw frames to the host and from it, of 64 and of 1,500 bytes, frames= of each,
// over a virtio network card or (net=vsock) a vsock stream. The host's side is bench/frames.py: a control frame
// announces each phase, and the host answers with a frame after it has counted all. The counting plugin counts between
// markers.
#include <virtio/net.hpp>
#include <virtio/vsock.hpp>
#include <virtio/vsock/ethernet_link.hpp>

#include "board.hpp"
#include "clock.hpp"
#include "mark.hpp"

namespace {

using namespace virtio;
using bench::nanoseconds, bench::number;

constexpr u32 at_once = 16;  // frames that are sent before a flush
constexpr usize longest = 1500;

using card_t = net::device<board, bus::transport<board>, queue<256>>;
constinit dma_storage<card_t::dma_bytes> card_dma;
constinit card_t card;

struct milliseconds {
  u64 operator()() const { return boot::milliseconds_since(0); }
};
// As in examples/08_network.
using sockets_t = vsock::device<board, bus::transport<board>, queue<256>,
                                vsock::limits{.connections = 2,
                                              .listeners = 1,
                                              .replies = 4,
                                              .receive_packet = 2048,
                                              .receive_buffer = 256 * 1024,
                                              .pieces = 128,
                                              .send_packet = 2048,
                                              .send_packets = 64}>;
constinit dma_storage<sockets_t::dma_bytes> sockets_dma;
constinit sockets_t sockets;
constinit vsock::ethernet_link<sockets_t, milliseconds> over_vsock;

u8 data[longest];

template <class Result>
void check(const char* what, const Result& r) {
  if (!r) boot::exit(board::fail(what, r.error()));
}

template <net::link Link>
void send(Link& link, usize size) {
  const const_bytes frame[] = {{data, size}};
  for (;;) {
    const errc sent = link.try_send(frame).error();
    if (sent == errc::ok) return;
    if (sent != errc::queue_full) boot::exit(board::fail("send", sent));
    check("poll", link.poll());
  }
}
template <net::link Link>
void receive(Link& link, u64 count) {
  const auto look = [](const net::frame&) { return net::after_look::done; };
  while (count != 0) {
    if (link.receive_with(look)) --count;
    else check("poll", link.poll());
  }
}
/// Announces the next phase to the host.
template <net::link Link>
void announce(Link& link, char what, u64 count, usize size) {
  data[14] = static_cast<u8>(what);
  for (u32 i = 0; i < 4; ++i) data[15 + i] = static_cast<u8>(count >> 8 * i);
  for (u32 i = 0; i < 2; ++i) data[19 + i] = static_cast<u8>(size >> 8 * i);
  send(link, 64);
  link.flush();
}
/// Runs between markers Id and Id + 1.
template <u16 Id, net::link Link, class Work>
void phase(Link& link, char what, u64 count, usize size, Work work) {
  const u64 start = boot::timestamp();
  mark<Id>();
  announce(link, what, count, size);
  work();
  mark<Id + 1>();
  boot::print("frames ", u32{Id}, " ", nanoseconds(boot::timestamp() - start), " ns\n");
}
template <u16 Id, net::link Link>
void both_ways(Link& link, u64 count, usize size) {
  phase<Id>(link, 'S', count, size, [&] {
    for (u64 i = 1; i <= count; ++i) {
      send(link, size);
      if (i % at_once == 0) link.flush();
    }
    link.flush();
    receive(link, 1);
  });
  phase<Id + 2>(link, 'R', count, size, [&] { receive(link, count); });
}
template <net::link Link>
int run(Link& link) {
  while (link.state() != net::link_state::up) check("poll", link.poll());
  const u64 count = number("frames");
  both_ways<20>(link, count, 64);
  both_ways<30>(link, count, 1500);
  return 0;
}

}  // namespace

extern "C" int guest_main(const char*) {
  bench::calibrate();
  if (boot::option("net").size == 0) {
    const auto where = bus::find(board{}, device_type::network);
    if (!where) return board::fail("no network card", where);
    if (const auto up = card.start(board{}, *where, card_dma); !up) return board::fail("start", up.error(), card.why());
    (void)run(card);
    if (const auto off = card.hand_off(); !off) return board::fail("hand off", off.error());
    return 0;
  }
  const auto where = bus::find(board{}, device_type::vsock);
  if (!where) return board::fail("no vsock", where);
  if (const auto up = sockets.start(board{}, *where, sockets_dma, vsock::seed{boot::timestamp()}); !up)
    return board::fail("start", up.error(), sockets.why());
  check("link", over_vsock.start(sockets));
  (void)run(over_vsock);
  over_vsock.close();
  if (const auto off = sockets.hand_off(); !off) return board::fail("hand off", off.error());
  return 0;
}
