// SPDX-License-Identifier: MIT
// A guest with a network over its socket device: it requests an address from gvproxy by DHCP each time the link is up,
// prints the offer, and pings the gateway with frames of many sizes. On the command line:
//   offers=N   ends after this many, each on its own connection
//   pings=N    this many sizes after the first offer; the answers must equal the requests
//   framing=qemu
#include <virtio/vsock.hpp>
#include <virtio/vsock/ethernet_link.hpp>

#include "../qemu/guest.hpp"

namespace cell {
namespace {

namespace net = virtio::net;
namespace vsock = virtio::vsock;

struct milliseconds {
  u64 operator()() const { return boot::milliseconds_since(0); }
};

using sockets_t = vsock::device<bench, bus::transport<bench>, virtio::queue<128>,
                                vsock::limits{.connections = 4, .receive_buffer = 65536, .pieces = 32}>;
using link_t = vsock::ethernet_link<sockets_t, milliseconds>;
static_assert(net::link<link_t>);
constinit virtio::dma_storage<sockets_t::dma_bytes> storage;
constinit sockets_t sockets;
constinit link_t link;

constexpr u8 gateway[6] = {0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xdd};
constexpr u8 us[4] = {192, 168, 127, 2};
constexpr u8 router[4] = {192, 168, 127, 1};

u8 out[1514];
u8 in[1514];

void put16(u8* at, u32 n) {
  at[0] = static_cast<u8>(n >> 8);
  at[1] = static_cast<u8>(n);
}
[[nodiscard]] u32 get16(const u8* at) { return u32{at[0]} << 8 | at[1]; }
[[nodiscard]] u32 checksum(const u8* at, usize n) {
  u32 sum = 0;
  for (usize i = 0; i < n; ++i) sum += i % 2 == 0 ? u32{at[i]} << 8 : u32{at[i]};
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/// An IPv4 packet with `size` bytes after its header, which are already in place.
[[nodiscard]] const_bytes sealed(usize size, u8 protocol, const u8* to_mac, const u8* from, const u8* to) {
  __builtin_memcpy(out, to_mac, 6);
  __builtin_memcpy(out + 6, link.mac().octets, 6);
  put16(out + 12, 0x0800);
  u8* const ip = out + 14;
  __builtin_memset(ip, 0, 20);
  ip[0] = 0x45;
  put16(ip + 2, static_cast<u32>(20 + size));
  ip[8] = 64;
  ip[9] = protocol;
  __builtin_memcpy(ip + 12, from, 4);
  __builtin_memcpy(ip + 16, to, 4);
  put16(ip + 10, checksum(ip, 20));
  return {out, 34 + size};
}

[[nodiscard]] const_bytes discover() {
  constexpr u8 nobody[4] = {}, all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  constexpr u8 tail[] = {99, 130, 83, 99, 53, 1, 1, 255};  // the cookie, DHCPDISCOVER, the end
  constexpr usize size = 8 + 236 + sizeof tail;
  u8* const udp = out + 34;
  __builtin_memset(udp, 0, size);
  put16(udp, 68);
  put16(udp + 2, 67);
  put16(udp + 4, size);
  u8* const dhcp = udp + 8;
  dhcp[0] = dhcp[1] = dhcp[7] = 1;
  dhcp[2] = 6;
  dhcp[10] = 0x80;  // a broadcast answer
  __builtin_memcpy(dhcp + 28, link.mac().octets, 6);
  __builtin_memcpy(dhcp + 236, tail, sizeof tail);
  return sealed(size, 17, all, nobody, all);
}

[[nodiscard]] u8 byte_of_ping(u32 number, usize i) { return static_cast<u8>(i * 131 + (i >> 8) + number * 7); }
[[nodiscard]] const_bytes ping(u32 number, usize payload) {
  u8* const icmp = out + 34;
  __builtin_memset(icmp, 0, 8);
  icmp[0] = 8;
  put16(icmp + 6, number);
  for (usize i = 0; i < payload; ++i) icmp[8 + i] = byte_of_ping(number, i);
  put16(icmp + 2, checksum(icmp, 8 + payload));
  return sealed(8 + payload, 1, gateway, us, router);
}
/// Senders must find the guest's address: gvproxy's gateway uses ARP.
[[nodiscard]] const_bytes arp_answer(const u8* question) {
  __builtin_memcpy(out, question + 6, 6);
  __builtin_memcpy(out + 6, link.mac().octets, 6);
  __builtin_memcpy(out + 12, question + 12, 8);
  put16(out + 20, 2);
  __builtin_memcpy(out + 22, link.mac().octets, 6);
  __builtin_memcpy(out + 28, us, 4);
  __builtin_memcpy(out + 32, question + 22, 10);
  return {out, 42};
}

u32 pings_sent, pings_back;
bool offered;
[[nodiscard]] usize payload_of(u32 number, u32 all) { return all == 1 ? 56 : u64{number} * 1472 / (all - 1); }

void send(const_bytes frame) {
  const const_bytes pieces[] = {frame};
  const auto sent = link.try_send(pieces);
  CHECK(sent || sent.error() == errc::queue_full || sent.error() == errc::not_ready);
}

void take(usize size, u32 pings) {
  if (get16(in + 12) == 0x0806 && size >= 42 && get16(in + 20) == 1 && __builtin_memcmp(in + 38, us, 4) == 0)
    return send(arp_answer(in));
  if (get16(in + 12) != 0x0800 || size < 34) return;
  const usize length = get16(in + 16);
  CHECK(length >= 20 && 14 + length <= size);
  if (in[23] == 17 && size >= 62 && get16(in + 34) == 67 && get16(in + 36) == 68 && !offered) {
    offered = true;
    const u8* const address = in + 58;
    boot::print("offered ", u64{address[0]}, ".", u64{address[1]}, ".", u64{address[2]}, ".", u64{address[3]}, "\n");
  }
  if (in[23] == 1 && in[34] == 0) {
    const u32 number = get16(in + 40);
    CHECK_EQUAL(number, pings_back);  // none is lost or reordered
    CHECK_EQUAL(length, 28 + payload_of(number, pings));
    CHECK_EQUAL(checksum(in + 34, length - 20), 0);
    for (usize i = 0; i < length - 28; ++i) CHECK(in[42 + i] == byte_of_ping(number, i));
    ++pings_back;
  }
}

void run() {
  const auto where = bus::find(bench{}, device_type::vsock);
  CHECK_OK(where);
  const vsock::seed now{boot::timestamp()};
  CHECK_OK(sockets.start(bench{}, *where, storage, now));
  vsock::ethernet_options how;
  if (boot::option("framing") == "qemu") how.frames = vsock::framing::qemu;
  how.answer = 1500;  // the first limit detects a killed peer, the second an absent one
  how.connect = 500;
  CHECK_OK(link.start(sockets, how));

  const u32 offers = static_cast<u32>(number("offers", 1)), pings = static_cast<u32>(number("pings"));
  u32 had = 0, ups = 0;
  errc why = errc::ok;
  bool was_up = false;
  u64 asked_at = 0;
  while (had != offers || pings_back != pings) {
    (void)link.poll();  // a removed device stays removed
    const bool is_up = link.state() == net::link_state::up;
    if (!is_up && (was_up || link.why() != why)) boot::print("down: ", virtio::describe(link.why()), "\n");
    was_up = is_up;
    why = link.why();
    if (link.times_up() != ups) {
      ups = link.times_up();
      offered = false;
      asked_at = 0;
      pings_sent = pings_back;  // frames in flight are lost
      boot::print("up\n");
    }
    const u64 time = milliseconds{}();
    if (time - asked_at > 300) {  // also after an offer: only sending shows that a peer is gone
      asked_at = time;
      send(discover());
    }
    const bool was_offered = offered;
    while (link.receive_with([&](const net::frame& f) {
      CHECK(f.size <= sizeof in);
      CHECK(f.copy_to(0, in) == f.size);
      return net::after_look::done;
    })) {
      // The callback may not receive: its copy is evaluated here.
      take(get16(in + 12) == 0x0800 ? 14 + get16(in + 16) : 42, pings);
    }
    if (offered && !was_offered) ++had;
    for (; had != 0 && pings_sent != pings && pings_sent - pings_back < 16; ++pings_sent) {
      const const_bytes frame = ping(pings_sent, payload_of(pings_sent, pings));
      const const_bytes pieces[] = {frame};
      if (!link.try_send(pieces)) break;
    }
  }
  link.close();
  boot::print("ok network\n");
}

}  // namespace
}  // namespace cell

extern "C" int guest_main(const char*) {
  cell::run();
  return 0;
}
