// SPDX-License-Identifier: MIT
// A guest with a network and without an operating system: lwIP on a virtio network card, or on a vsock device through
// gvproxy; the command line selects the link. It gets an address, resolves a name, fetches a page and checks it, and
// serves pages. options.hpp parses the command line, program.hpp uses the network; this file has the links.
#include <virtio/net.hpp>
#include <virtio/vsock.hpp>
#include <virtio/vsock/ethernet_link.hpp>

#include "../net/lwip_netif.hpp"
#include "board.hpp"
#include "program.hpp"

namespace net = virtio::net;
using virtio::errc;

virtio::u16 lwip_port_dns_port = 53;
static virtio::u64 began;
extern "C" virtio::u32 sys_now() { return static_cast<virtio::u32>(boot::milliseconds_since(began)); }
extern "C" virtio::u32 lwip_port_random() {  // for ports and identifiers, which must differ between two starts
  static virtio::u64 x;
  x = (x ^ boot::timestamp()) * 0x9e3779b97f4a7c15;
  x ^= x >> 29;
  return static_cast<virtio::u32>(x >> 16);
}

#if !defined(NETWORK_WITHOUT_CARD)
using card_t = net::device<board, bus::transport<board>, virtio::queue<256>>;
constinit virtio::dma_storage<card_t::dma_bytes> card_dma;
constinit card_t card;
#endif

#if !defined(NETWORK_WITHOUT_VSOCK)
namespace vsock = virtio::vsock;
struct milliseconds {
  virtio::u64 operator()() const { return boot::milliseconds_since(began); }
};
constexpr vsock::limits sizes{.connections = 2,
                              .listeners = 1,
                              .replies = 4,
                              .receive_packet = 2048,
                              .receive_buffer = 256 * 1024,
                              .pieces = 128,
                              .send_packet = 2048,
                              .send_packets = 64};
using sockets_t = vsock::device<board, bus::transport<board>, virtio::queue<256>, sizes>;
constinit virtio::dma_storage<sockets_t::dma_bytes> sockets_dma;
constinit sockets_t sockets;
constinit vsock::ethernet_link<sockets_t, milliseconds> over_vsock;
#endif

static constinit network::options asked;

/// Runs the program over one link. `start` starts its device, and restarts it after a failure.
template <class Link, class Start>
static int run(Link& link, Start&& start) {
  static constinit net_example::lwip_netif<Link> interface{};
  lwip_init();
  if (!interface.add(link)) return board::fail("lwIP", errc::no_space);
  const auto does = link.facts().does;
  if (does.has(net::offload::checksum)) boot::print("link: computes the checksums of what is sent\n");
  if (does.has(net::offload::received_checksum)) boot::print("link: checks those of what is received\n");
  network::program program{asked};
  program.begin(interface.lwip());
  while (program.turn()) {
    const errc why = interface.turn();
    if (why == errc::ok) continue;
    boot::print("link: ", virtio::describe(why), "; starting the device again\n");
    while (tcp_active_pcbs != nullptr) tcp_abort(tcp_active_pcbs);  // they hold frames of the previous start
    if (const auto up = start(); !up) return board::fail("start", up.error());
  }
  return program.result();
}

static int run_over_card() {
#if !defined(NETWORK_WITHOUT_CARD)
  const auto where = bus::find(board{}, virtio::device_type::network);
  if (!where) return board::fail("no network card", where), network::no_device;
  const auto start = [&] { return card.start(board{}, *where, card_dma); };
  if (auto up = start(); !up) return board::fail("network card", up.error(), card.why()), network::no_device;
  const int status = run(card, start);
  (void)card.hand_off();
  return status;
#else
  return network::no_device;
#endif
}

static int run_over_vsock() {
#if !defined(NETWORK_WITHOUT_VSOCK)
  const auto where = bus::find(board{}, virtio::device_type::vsock);
  if (!where) return board::fail("no vsock", where), network::no_device;
  const auto start = [&]() -> virtio::result<void> {
    VIRTIO_TRY(sockets.start(board{}, *where, sockets_dma, vsock::seed{boot::timestamp()}));
    return over_vsock.start(sockets, {.answer = asked.stall * 1000});
  };
  if (auto up = start(); !up) return board::fail("vsock", up.error(), sockets.why()), network::no_device;
  const int status = run(over_vsock, start);
  over_vsock.close();
  (void)sockets.hand_off();
  return status;
#else
  return network::no_device;
#endif
}

extern "C" int guest_main(const char*) {
  began = boot::timestamp();
  if (const char* const wrong = asked.read()) {
    boot::print(wrong, "\n");
    return network::bad_option;
  }
  return asked.is_vsock ? run_over_vsock() : run_over_card();
}
