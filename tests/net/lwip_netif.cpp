// SPDX-License-Identifier: MIT
// examples/net/lwip_netif.hpp between two links on one wire: TCP through lwIP, with a link that computes checksums and
// one that does not, that has few free frames, lends few frames, cuts frames into pieces, and goes down and up.
#include <chrono>
#include <deque>
#include <string>
#include <vector>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

extern "C" {
struct ip4_addr;
struct netif;
struct netif* lwip_port_route(const struct ip4_addr* from, const struct ip4_addr* to);
}
#include <lwip/init.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>

#include "../../examples/net/lwip_netif.hpp"

namespace net = virtio::net;
using virtio::const_bytes, virtio::errc, virtio::result, virtio::scatter, virtio::u16, virtio::u32, virtio::u64,
    virtio::u8, virtio::usize;

u16 lwip_port_dns_port = 53;
static u32 now;  // milliseconds; moved by hand
extern "C" u32 sys_now() { return now; }
extern "C" u32 lwip_port_random() {
  static u32 x = 12345;
  return x = x * 1664525 + 1013904223;
}

namespace {

u32 add_up(const u8* data, usize size) {
  u32 sum = 0;
  for (usize i = 0; i < size; ++i) sum += u32{data[i]} << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
  return sum;
}

/// One end of a wire.
struct wire_link {
  u8 number = 0;
  wire_link* other = nullptr;
  bool up = true;
  net::capabilities can{.mtu = 1500, .most_pieces = 8, .most_kept = 32, .does = {}};
  usize room = 64;           // frames in flight
  usize cut = 0;             // received frames are shown in pieces of this size; 0: in one piece
  bool leaves_sums = false;  // leaves checksums to the other end, as two guests of one host do
  struct on_wire {
    std::vector<u8> data;
    net::checksum sum;
  };
  std::deque<on_wire> coming;
  std::vector<std::vector<u8>> kept;  // by slot
  std::vector<u32> generations;
  unsigned in_use = 0, most_in_use = 0, refused = 0, pieces_seen = 0, computed = 0, spoil = 0, sent = 0;

  net::mac_address mac() const { return {{2, 0, 0, 0, 0, number}}; }
  net::capabilities facts() const { return can; }
  net::link_state state() const { return up ? net::link_state::up : net::link_state::down; }
  result<bool> poll() { return !coming.empty(); }
  result<void> try_send(scatter<const_bytes> pieces, net::to_compute sum = {}) {
    if (!up || !other->up) return errc::not_ready;
    REQUIRE(pieces.count <= can.most_pieces);
    REQUIRE((sum.start == 0 || can.does.has(net::offload::checksum)));
    if (other->coming.size() >= room) return ++refused, errc::queue_full;
    if (pieces.count > pieces_seen) pieces_seen = static_cast<unsigned>(pieces.count);
    on_wire out{{}, net::checksum::unknown};
    for (const const_bytes& one : pieces) out.data.insert(out.data.end(), one.data(), one.data() + one.size());
    if (sum.start != 0) {
      ++computed;
      if (leaves_sums) {
        out.sum = net::checksum::missing;
      } else {
        const u16 value = static_cast<u16>(~add_up(out.data.data() + sum.start, out.data.size() - sum.start));
        out.data[sum.start + sum.offset] = static_cast<u8>(value >> 8);
        out.data[sum.start + sum.offset + 1u] = static_cast<u8>(value);
      }
    }
    ++sent;
    if (spoil != 0 && --spoil == 0) out.data.back() ^= 1;
    other->coming.push_back(std::move(out));
    return {};
  }
  void flush() {}
  template <class Look>
  result<void> receive_with(Look&& look) {
    if (coming.empty()) return errc::not_ready;
    on_wire one = std::move(coming.front());
    coming.pop_front();
    u16 slot = 0;
    while (slot < kept.size() && !kept[slot].empty()) ++slot;
    if (slot == kept.size()) kept.emplace_back(), generations.push_back(1);
    kept[slot] = std::move(one.data);
    std::vector<const_bytes> pieces;
    const usize step = cut == 0 ? kept[slot].size() : cut;
    const const_bytes whole{kept[slot].data(), kept[slot].size()};
    for (usize at = 0; at < whole.size(); at += step) pieces.push_back(whole.part(at, step));
    const net::frame seen{.pieces = {pieces.data(), pieces.size()},
                          .size = static_cast<u32>(whole.size()),
                          .sum = one.sum,
                          .compute = {},
                          .name = {slot, generations[slot]}};
    if (look(seen) == net::after_look::done) kept[slot].clear();
    else if (++in_use > most_in_use) most_in_use = in_use;
    REQUIRE(in_use <= can.most_kept);
    return {};
  }
  result<void> give_back(net::kept_frame name) {
    REQUIRE(generations[name.slot] == name.generation);
    REQUIRE(!kept[name.slot].empty());
    for (u8& byte : kept[name.slot]) byte = 0xdb;  // a late reader finds these bytes
    kept[name.slot].clear();
    kept[name.slot].shrink_to_fit();
    generations[name.slot] += 2;
    --in_use;
    return {};
  }
  template <class Done>
  errc wait_until(virtio::waiting, Done&& done) {
    return done() ? errc::ok : errc::peer_silent;
  }
  template <class Done, class GiveUp>
  errc wait_until(virtio::waiting, Done&& done, GiveUp&&) {
    return done() ? errc::ok : errc::peer_silent;
  }
  bool arm() { return !coming.empty(); }
  void disarm() {}
  void acknowledge_interrupt() {}
};
static_assert(net::link<wire_link>);

/// Two interfaces, 10.0.0.1 and 10.0.0.2, and a TCP connection from the first to the second.
struct pair_of {
  wire_link wires[2];
  net_example::lwip_netif<wire_link, 16> ends[2]{};

  tcp_pcb* listener = nullptr;
  tcp_pcb* client = nullptr;
  std::string to_send, received;
  usize sent = 0;
  unsigned links_seen[2] = {};
  bool closed = false, failed = false;

  explicit pair_of(const std::vector<void (*)(wire_link&)>& changes = {}) {
    for (const auto change : changes)
      for (wire_link& wire : wires) change(wire);
    static const bool once = (lwip_init(), true);
    (void)once;
    all = this;
    for (u8 i = 0; i < 2; ++i) {
      wires[i].number = i;
      wires[i].other = &wires[1 - i];
      REQUIRE(ends[i].add(wires[i]));
      ip4_addr_t address, mask, none{};
      IP4_ADDR(&address, 10, 0, 0, static_cast<u8>(i + 1));
      IP4_ADDR(&mask, 255, 255, 255, 0);
      netif_set_addr(&ends[i].lwip(), &address, &mask, &none);
    }
    listener = tcp_new();
    REQUIRE(tcp_bind(listener, netif_ip_addr4(&ends[1].lwip()), 80) == ERR_OK);
    listener = tcp_listen(listener);
    tcp_arg(listener, this);
    tcp_accept(listener, [](void* arg, tcp_pcb* pcb, err_t) {
      tcp_arg(pcb, arg);
      tcp_recv(pcb,
               [](void* self, tcp_pcb* from, pbuf* p, err_t) { return static_cast<pair_of*>(self)->take(from, p); });
      return err_t{ERR_OK};
    });
  }
  ~pair_of() {
    while (tcp_active_pcbs != nullptr) tcp_abort(tcp_active_pcbs);
    while (tcp_tw_pcbs != nullptr) tcp_abort(tcp_tw_pcbs);
    tcp_close(listener);
    for (auto& end : ends) {
      netif_remove(&end.lwip());
      CHECK(end.lent() == 0);
    }
    for (wire_link& wire : wires) CHECK(wire.in_use == 0);
    all = nullptr;
  }

  err_t take(tcp_pcb* from, pbuf* p) {
    if (p == nullptr) {
      closed = true;
      tcp_close(from);
      return ERR_OK;
    }
    for (pbuf* q = p; q != nullptr; q = q->next) received.append(static_cast<char*>(q->payload), q->len);
    tcp_recved(from, p->tot_len);
    pbuf_free(p);
    return ERR_OK;
  }
  void put() {
    while (sent < to_send.size()) {
      const usize n = virtio::detail::smaller<usize>(virtio::detail::smaller<usize>(tcp_sndbuf(client), 3000),
                                                     to_send.size() - sent);
      // in place: header and data separate
      if (n == 0 || tcp_write(client, to_send.data() + sent, static_cast<u16>(n), 0) != ERR_OK) break;
      sent += n;
    }
    tcp_output(client);
    if (sent == to_send.size()) tcp_close(client), client = nullptr;
  }
  void connect(usize size) {
    for (usize i = 0; i < size; ++i) to_send += static_cast<char>(i * 7 + i / 251);
    client = tcp_new();
    tcp_arg(client, this);
    tcp_bind(client, netif_ip_addr4(&ends[0].lwip()), 0);
    tcp_sent(client, [](void* self, tcp_pcb*, u16_t) {
      if (static_cast<pair_of*>(self)->client != nullptr) static_cast<pair_of*>(self)->put();
      return err_t{ERR_OK};
    });
    tcp_err(client, [](void* self, err_t) {
      static_cast<pair_of*>(self)->failed = true, static_cast<pair_of*>(self)->client = nullptr;
    });
    REQUIRE(tcp_connect(client, netif_ip_addr4(&ends[1].lwip()), 80, [](void* self, tcp_pcb*, err_t) {
              static_cast<pair_of*>(self)->put();
              return err_t{ERR_OK};
            }) == ERR_OK);
  }
  /// Lets both work; returns whether everything has arrived.
  bool run(unsigned turns = 100'000) {
    for (unsigned i = 0; i < turns && !closed && !failed; ++i) {
      if (i % 4 == 0) ++now;
      for (auto& end : ends) REQUIRE(end.turn() == errc::ok);
    }
    return closed && received == to_send;
  }
  bool transfer(usize size) {
    connect(size);
    return run();
  }

  static inline pair_of* all = nullptr;
};

}  // namespace

netif* lwip_port_route(const ip4_addr* from, const ip4_addr*) {
  if (pair_of::all == nullptr) return nullptr;
  for (auto& end : pair_of::all->ends)
    if (from != nullptr && ip4_addr_cmp(from, netif_ip4_addr(&end.lwip()))) return &end.lwip();
  return nullptr;
}

TEST_CASE("lwip_netif: a megabyte arrives complete, in frames that are lent and returned", "[net]") {
  pair_of both;
  REQUIRE(both.transfer(1 << 20));
  CHECK(both.wires[1].most_in_use > 0);
  CHECK(both.ends[1].copied() == 0);
  CHECK(both.wires[0].pieces_seen >= 2);  // header and data, not joined
}

TEST_CASE("lwip_netif: a link that computes TCP's checksums does so, and its result is trusted", "[net]") {
  pair_of both{{[](wire_link& w) { w.can.does = {net::offload::checksum, net::offload::received_checksum}; }}};
  SECTION("it computes them: the other end checks them and finds them right") { REQUIRE(both.transfer(300'000)); }
  SECTION("it computes none: the other end does not check them") {
    for (wire_link& w : both.wires) w.leaves_sums = true;
    REQUIRE(both.transfer(300'000));
  }
  CHECK(both.wires[0].computed > 200);
  CHECK(both.wires[1].computed > 100);
}

TEST_CASE("lwip_netif: a byte that changed on the wire is found by the checksum, and sent again", "[net]") {
  pair_of both;
  both.wires[0].spoil = 50;
  REQUIRE(both.transfer(300'000));
}

TEST_CASE("lwip_netif: frames in pieces, with few places, are lent or copied, none lost", "[net]") {
  pair_of both;
  SECTION("pieces of 700 bytes") { both.wires[1].cut = 700; }
  SECTION("pieces that do not hold the headers") { both.wires[1].cut = GENERATE(1u, 13u, 20u, 33u, 53u); }
  SECTION("more pieces than there are pbufs") { both.wires[1].cut = 80; }
  SECTION("a link that lends two") {
    for (wire_link& w : both.wires) w.can.most_kept = 2;
  }
  SECTION("a link that lends none") {
    for (wire_link& w : both.wires) w.can.most_kept = 0;
  }
  SECTION("one piece at a time to send") {
    for (wire_link& w : both.wires) w.can.most_pieces = 1;
  }
  REQUIRE(both.transfer(300'000));
  CHECK(both.ends[1].lost() == 0);
}

TEST_CASE("lwip_netif: data without room in a link is sent as soon as there is room, before any timer of TCP's",
          "[net]") {
  pair_of both;
  both.connect(1000);
  const auto turn = [&](unsigned which) { REQUIRE(both.ends[which].turn() == errc::ok); };
  unsigned n = 0;
  for (; tcp_active_pcbs->next == nullptr && n < 100; ++n) turn(n % 2);  // the listener's answer is in flight
  REQUIRE(!both.wires[0].coming.empty());
  both.wires[0].room = 0;
  turn(0);
  CHECK(both.wires[0].refused > 0);
  both.wires[0].room = 64;
  for (n = 0; n < 20; ++n) turn(n % 2);  // no time passes
  CHECK((both.received == both.to_send));
}

TEST_CASE("lwip_netif: lwIP is notified of a link that goes down and up, and the connection survives", "[net]") {
  pair_of both;
  both.connect(1 << 20);
  for (unsigned n = 0; both.received.size() < 100'000 && n < 10'000; ++n) both.run(1);
  REQUIRE(both.received.size() >= 100'000);
  both.wires[0].up = false;
  both.run(2000);
  CHECK_FALSE(netif_is_link_up(&both.ends[0].lwip()));
  const usize before = both.received.size();
  both.run(2000);
  CHECK(both.received.size() == before);
  both.wires[0].up = true;
  REQUIRE(both.run(400'000));
  CHECK(netif_is_link_up(&both.ends[0].lwip()));
}

TEST_CASE("lwip_netif: a link that computes checksums after only one of two starts does so only after that one",
          "[net]") {
  pair_of both;
  both.connect(1 << 20);
  for (const bool computes : {true, false, true, false}) {
    for (wire_link& wire : both.wires) {
      wire.can.does = computes ? virtio::flags<net::offload>{net::offload::checksum} : virtio::flags<net::offload>{};
      wire.can.mtu = computes ? 1400 : 1500;
      wire.computed = 0;
    }
    const usize before = both.received.size();
    for (auto& end : both.ends) REQUIRE(end.turn() == errc::ok);
    for (unsigned n = 0; both.received.size() < before + 100'000 && n < 10'000; ++n) both.run(1);
    CHECK(both.received.size() >= before + 100'000);
    CHECK((both.wires[0].computed != 0) == computes);
    CHECK(both.ends[0].lwip().mtu == both.wires[0].can.mtu);
  }
  CHECK(both.run(400'000));
}

TEST_CASE("lwip_netif: frames that the stack holds return to the link when their connection ends", "[net]") {
  pair_of both;
  both.connect(400'000);
  // A frame is lost: later frames wait in lwIP, out of order.
  for (unsigned n = 0; both.received.size() < 50'000 && n < 10'000; ++n) both.run(1);
  for (unsigned n = 0; both.wires[1].coming.size() < 3 && n < 100; ++n) {
    for (auto* end : {&both.ends[1], &both.ends[0]}) REQUIRE(end->turn() == errc::ok);
  }
  REQUIRE(both.wires[1].coming.size() >= 3);
  both.wires[1].coming.pop_front();
  REQUIRE(both.ends[1].turn() == errc::ok);
  CHECK(both.ends[1].lent() > 0);
  while (tcp_active_pcbs != nullptr) tcp_abort(tcp_active_pcbs);
  CHECK(both.ends[1].lent() == 0);
}
