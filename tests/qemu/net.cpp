// SPDX-License-Identifier: MIT
// A guest with network devices: it sends a frame of every size to each, and receives as many in order; the link goes
// down and up again. net_cells.py is the host at the other end of their wires.
#include <virtio/net.hpp>

#include "guest.hpp"

namespace {

using namespace cell;
namespace net = virtio::net;

// QEMU's queues have 256 entries, and its legacy devices require that size.
using ring = virtio::queue<64, virtio::ring_options{.ring_entries = 256}>;
using place = bus::found<board>;
using whole = net::device<board, bus::transport<board>, ring>;
using cut = net::device<board, bus::transport<board>, ring, net::options{.receive_bytes = 494}>;

constexpr u16 smallest = net::header_bytes, largest_sent = 1514, largest_received = 1518;
u8 noise[2048 + 256];

void make_noise() {
  u32 value = 1;
  for (u8& one : noise) {
    value = value * 1103515245 + 12345;
    one = static_cast<u8>(value >> 16);
  }
}

// net_cells.py's frame().
void make_frame(u8 (&out)[largest_received], u16 size, const net::mac_address& to, const net::mac_address& from) {
  __builtin_memcpy(out, to.octets, 6);
  __builtin_memcpy(out + 6, from.octets, 6);
  out[12] = 0x88;
  out[13] = 0xb5;
  __builtin_memcpy(out + smallest, noise + size % 251, size - smallest);
}

constexpr net::mac_address host{{2, 0, 0, 0, 0, 1}};

template <class Card>
void send_all(Card& card) {
  static u8 data[largest_received];
  for (u16 size = smallest; size <= largest_sent; ++size) {
    make_frame(data, size, host, card.mac());
    const usize half = size % 3 == 0 ? 0 : size / 2u;
    const const_bytes pieces[] = {{data, half}, {data + half, size - half}};
    for (;;) {
      const auto sent = card.try_send(pieces);
      if (sent) break;
      CHECK_ERROR(sent, errc::queue_full);
      CHECK_OK(card.poll());
    }
  }
  card.flush();
  CHECK_ERROR(card.try_send(virtio::scatter<const_bytes>{}), errc::invalid_argument);
}

// Every third frame is held while others arrive.
template <class Card>
void receive_all(Card& card) {
  static u8 wanted[largest_received];
  net::kept_frame kept{};
  for (u16 size = smallest; size <= largest_received;) {
    const auto look = [&](const net::frame& frame) {
      static u8 data[largest_received];
      CHECK_EQUAL(frame.size, size);
      CHECK_EQUAL(frame.copy_to(0, data), size);
      make_frame(wanted, size, card.mac(), host);
      CHECK(__builtin_memcmp(data, wanted, size) == 0);
      CHECK(frame.sum == net::checksum::unknown);
      if (size % 3 != 0) return net::after_look::done;
      if (kept.generation != 0) CHECK_OK(card.give_back(kept));
      kept = frame.name;
      return net::after_look::keep;
    };
    const auto got = card.receive_with(look);
    if (got) ++size;
    else if (got.error() == errc::not_ready) CHECK_OK(card.poll());
    else CHECK_OK(got);
  }
  CHECK(card.counts() == net::drop_counts{});
}

template <class Card>
void exchange(const place& where, u32 number, bool moves_link) {
  static constinit Card card{};
  static constinit virtio::dma_storage<Card::dma_bytes> storage{};
  if (const auto up = card.start(board{}, where, storage); !up)
    boot::exit(board::fail("start", up.error(), card.why()));
  const u64 got = u64{card.features().word(1)} << 32 | card.features().word(0);
  boot::print("card ", number, " through ", virtio::name(card.why().via), " with ", boot::hex(got), "\n");
  char key[] = "features0";
  key[8] = static_cast<char>('0' + number);
  CHECK_EQUAL(got, cell::number(key));
  const net::mac_address own{{0x52, 0x54, 0, 0, 0, static_cast<u8>(number)}};
  CHECK(card.mac() == own);
  CHECK(card.state() == net::link_state::up);
  CHECK_EQUAL(card.facts().mtu, u16{1500});
  send_all(card);
  receive_all(card);
  if (moves_link) {
    boot::print("take the link\n");
    while (card.state() == net::link_state::up) CHECK_OK(card.poll());
    CHECK_ERROR(card.try_send(virtio::scatter<const_bytes>{}), errc::not_ready);
    boot::print("the link is down\n");
    while (card.state() == net::link_state::down) CHECK_OK(card.poll());
    send_all(card);
    receive_all(card);
    boot::print("the link is up\n");
  }
  CHECK_OK(card.hand_off());
}

}  // namespace

extern "C" int guest_main(const char*) {
  make_noise();
  const u32 cards = static_cast<u32>(number("cards"));
  for (u32 i = 0; i < cards; ++i) {
    // The first device on the command line has the last slot of a bus of slots.
    const auto where = bus::find_nth(board{}, device_type::network, number("backwards") != 0 ? cards - 1 - i : i);
    if (!where) return board::fail("no network device", where);
    const bool last = i + 1 == cards;
    exchange<whole>(*where, i, last);
    char key[] = "features0";
    key[8] = static_cast<char>('0' + i);
    if ((number(key) & u64{1} << 15) != 0) exchange<cut>(*where, i, false);
    else boot::print("card ", i, ": a frame is in one buffer\n");
  }
  return 0;
}
