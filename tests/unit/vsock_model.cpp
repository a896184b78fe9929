// SPDX-License-Identifier: MIT
// The socket device of the test kit alone: it serves a guest that keeps the rules, and objects to one that breaks them.
#include <catch2/generators/catch_generators.hpp>

#include <numeric>

#include <virtio/testing/vsock_model.hpp>

#include "ring_rig.hpp"

using namespace virtio;
using virtio::testing::device_memory;
using virtio::testing::vsock_flow;
using virtio::testing::vsock_host;
using virtio::testing::vsock_model;
using virtio::testing::vsock_options;
using virtio::testing::vsock_packet;
namespace wire = virtio::testing::wire;

namespace {

constexpr u32 room = 64;  // payload bytes of a receive buffer
constexpr auto modern = virtio::testing::device_model::interface::modern;

// A guest that keeps only the rules that a test gives it.
struct guest {
  using split = split_ring<16>;
  using packed = packed_ring<16>;

  device_memory memory;
  vsock_model model;
  std::unique_ptr<rig::any_ring> rings[3];
  dma_storage<split::dma_bytes + packed::dma_bytes> storage[3]{};
  alignas(16) u8 area[1 << 16]{};  // rx: 256 bytes a slot, tx: 1024 bytes a slot after them, events
  static constexpr u64 area_at = 0x10'0000, rings_at = 0x100'0000;
  bool zeroes = true;
  u64 cid = 3;

  explicit guest(vsock_options options = {}, bool is_packed = false, u16 event_buffers = 8)
      : model{memory, std::move(options)} {
    REQUIRE(memory.add(area_at, area, sizeof area, device_memory::permission::read_write));
    if (is_packed) model.offer({34});
    model.write_status(0, modern);
    (void)model.read_status();
    model.write_status(1, modern);
    model.write_status(3, modern);
    const u32 low = model.read_offer(0, modern) & 3u, high = model.read_offer(1, modern) & (is_packed ? 5u : 1u);
    model.write_accepted(0, low, modern);
    model.write_accepted(1, high, modern);
    model.write_status(11, modern);
    (void)model.read_status();
    for (u16 q = 0; q < 3; ++q) {
      if (is_packed) rings[q] = std::make_unique<rig::erased<packed>>();
      else rings[q] = std::make_unique<rig::erased<split>>();
      const u64 at = rings_at * (q + 1u);
      const dma_region mine = storage[q];
      REQUIRE(memory.add(at, mine.data, mine.size, device_memory::permission::read_write));
      const u16 entries = std::min<u16>(16, model.at(q).maximum);
      feature_set features{feature::version_1};
      if (is_packed) features.set(static_cast<u8>(feature::ring_packed));
      const auto layout = rings[q]->attach(dma_area{mine.data, mine.size, dma_addr{at}}, entries, features);
      REQUIRE(layout);
      model.write_queue_size(q, entries);
      const u64 areas[] = {at + layout->descriptors, at + layout->driver, at + layout->device};
      for (unsigned a = 0; a < 3; ++a) {
        model.write_queue_area(q, a, 0, static_cast<u32>(areas[a]));
        model.write_queue_area(q, a, 1, static_cast<u32>(areas[a] >> 32));
      }
      model.write_queue_enable(q, 1);
    }
    model.write_status(15, modern);
    for (u16 i = 0; i < event_buffers; ++i) post_event();
    for (u16 i = 0; i < 8; ++i) post();
  }

  void kick(u16 q) {
    rings[q]->publish();
    if (rings[q]->needs_kick()) model.notify(q);
  }
  void post() {
    const u16 slot = *rings[0]->reserve();
    const usize at = slot * 256u;
    if (zeroes) std::fill_n(area + at, 44, u8{0});
    segment_list<2> chain;
    chain.append(dma_addr{area_at + at}, 44, direction::from_device);
    chain.append(dma_addr{area_at + at + 44}, room, direction::from_device);
    REQUIRE(rings[0]->stage(slot, chain, slot));
    kick(0);
  }
  void post_event() {
    const u16 slot = *rings[2]->reserve();
    segment_list<1> chain;
    chain.append(dma_addr{area_at + 0xf000 + slot * 4u}, 4, direction::from_device);
    REQUIRE(rings[2]->stage(slot, chain, slot));
    kick(2);
  }
  // The packets that have arrived; their buffers are returned.
  std::vector<vsock_packet> receive() {
    std::vector<vsock_packet> all;
    while (const auto done = rings[0]->next_completion()) {
      const u8* const raw = area + done->cookie * 256;
      vsock_packet p{.src_cid = wire::get64(raw),
                     .dst_cid = wire::get64(raw + 8),
                     .src_port = wire::get32(raw + 16),
                     .dst_port = wire::get32(raw + 20),
                     .len = wire::get32(raw + 24),
                     .type = wire::get16(raw + 28),
                     .op = wire::get16(raw + 30),
                     .flags = wire::get32(raw + 32),
                     .buf_alloc = wire::get32(raw + 36),
                     .fwd_cnt = wire::get32(raw + 40)};
      p.used = done->length;
      if (done->length > 44) p.payload.assign(raw + 44, raw + std::min<usize>(done->length, 44 + room));
      all.push_back(p);
      rings[0]->release(done->which);
      post();
    }
    return all;
  }
  std::vector<vsock_packet> step() {
    collect();
    model.settle();
    collect();
    return receive();
  }
  void collect() {
    while (const auto done = rings[1]->next_completion()) rings[1]->release(done->which);
  }
  void send(const vsock_flow& f, u16 op, std::vector<u8> payload = {}, u32 fwd = 0, u32 flags = 0, u32 alloc = 100) {
    const u16 slot = *rings[1]->reserve();
    u8* const raw = area + 0x4000 + slot * 1024u;
    wire::put64(raw, cid);
    wire::put64(raw + 8, f.cid);
    wire::put32(raw + 16, f.guest_port);
    wire::put32(raw + 20, f.host_port);
    wire::put32(raw + 24, static_cast<u32>(payload.size()));
    wire::put16(raw + 28, 1);
    wire::put16(raw + 30, op);
    wire::put32(raw + 32, flags);
    wire::put32(raw + 36, alloc);
    wire::put32(raw + 40, fwd);
    std::copy(payload.begin(), payload.end(), raw + 44);
    segment_list<2> chain;
    const u64 at = area_at + static_cast<u64>(raw - area);
    chain.append(dma_addr{at}, 44, direction::to_device);
    if (!payload.empty()) chain.append(dma_addr{at + 44}, static_cast<u32>(payload.size()), direction::to_device);
    REQUIRE(rings[1]->stage(slot, chain, slot));
    kick(1);
  }
  vsock_flow connected(u32 guest_port = 1024, u32 host_port = 5000) {
    model.ports[host_port] = vsock_model::reception::accepts;
    const vsock_flow f{guest_port, host_port};
    send(f, vsock_model::request);
    const auto got = step();
    REQUIRE(got.size() == 1);
    REQUIRE(got[0].op == vsock_model::response);
    return f;
  }
  bool objected(const std::string& what) const {
    for (const auto& one : model.violations())
      if (one.find(what) != std::string::npos) return true;
    return false;
  }
};

std::vector<u8> counting(usize n, u8 from = 0) {
  std::vector<u8> all(n);
  std::iota(all.begin(), all.end(), from);
  return all;
}

}  // namespace

TEST_CASE("vsock model: it connects, carries bytes within credit and closes, on either ring", "[testing][vsock]") {
  guest g{{}, GENERATE(false, true)};
  const auto f = g.connected();
  g.send(f, vsock_model::data, counting(10));
  CHECK(g.step().empty());
  CHECK(g.model.peer(f).bytes == counting(10));
  g.model.send(f, counting(250));
  auto got = g.step();
  REQUIRE(got.size() == 2);  // 100 bytes of credit, 64 a buffer
  CHECK(got[0].payload == counting(64));
  CHECK(got[1].payload == counting(36, 64));
  CHECK(got[1].fwd_cnt == 10);
  CHECK(g.model.peer(f).unsent() == 150);
  g.send(f, vsock_model::credit_update, {}, 100);
  got = g.step();
  CHECK(got.size() == 2);
  g.send(f, vsock_model::credit_update, {}, 200);
  g.model.close(f);
  got = g.step();
  REQUIRE(got.size() == 2);
  CHECK(got[0].payload == counting(50, 200));
  CHECK(got[1].op == vsock_model::shutdown);
  CHECK(got[1].flags == 3);
  g.send(f, vsock_model::reset);
  CHECK(g.step().empty());
  CHECK(g.model.peer(f).end == vsock_model::connection::ending::by_guest);
  for (const auto& what : g.model.violations()) FAIL_CHECK(what);
  CHECK(
      g.model.text(false) ==
      "> REQUEST 1024:5000\n< RESPONSE 1024:5000\n> RW 1024:5000 len=10\n< RW 1024:5000 len=64\n< RW 1024:5000 len=36\n"
      "< RW 1024:5000 len=64\n< RW 1024:5000 len=36\n< RW 1024:5000 len=50\n< SHUTDOWN 1024:5000 flags=3\n> RST 1024:5000");
}

TEST_CASE("vsock model: it connects to the guest, also from port 0", "[testing][vsock]") {
  guest g;
  const auto f = g.model.connect(80, 0);
  auto got = g.step();
  REQUIRE(got.size() == 1);
  CHECK(got[0].op == vsock_model::request);
  CHECK(got[0].src_port == 0);
  CHECK(got[0].dst_cid == 3);
  CHECK(got[0].buf_alloc == 256 * 1024);
  CHECK_FALSE(g.model.is_open(f));
  g.send(f, vsock_model::response);
  CHECK(g.step().empty());
  CHECK(g.model.is_open(f));
  g.model.abort(f);
  got = g.step();
  REQUIRE(got.size() == 1);
  CHECK(got[0].op == vsock_model::reset);
  CHECK(g.model.violations().empty());
}

TEST_CASE("vsock model: hosts have different answers", "[testing][vsock]") {
  const auto which = GENERATE(0, 1, 2);
  const vsock_host hosts[] = {vsock_host::kernel(), vsock_host::firecracker(), vsock_host::vhost_device()};
  guest g{vsock_options{.host = hosts[which]}};
  g.send({1024, 7}, vsock_model::request);  // refused
  CHECK(g.step().size() == (which == 2 ? 0 : 1));
  g.send({1025, 7}, vsock_model::credit_update);  // unknown connection
  CHECK(g.step().size() == (which == 2 ? 0 : 1));
  g.send({1025, 7}, vsock_model::reset);
  CHECK(g.step().empty());
  const auto f = g.connected(1026);
  g.model.peer(f).reads = false;
  g.send(f, vsock_model::data, counting(5));
  g.send(f, vsock_model::shutdown, {}, 0, 3);
  CHECK(g.step().empty());
  CHECK(g.model.read(f) == counting(5));
  CHECK(g.step().size() == (which == 2 ? 0 : 1));
}

TEST_CASE("vsock model: it reports room by the host's behaviour, and on request", "[testing][vsock]") {
  vsock_options options;
  options.host = vsock_host::firecracker();
  options.host.buf_alloc = 200;
  options.host.update_below = 50;
  guest g{options};
  const auto f = g.connected();
  g.model.peer(f).reads = false;
  g.send(f, vsock_model::data, counting(149));
  CHECK(g.step().empty());
  CHECK(g.model.read(f, 149).size() == 149);
  CHECK(g.step().empty());  // it has received 51
  g.send(f, vsock_model::data, counting(2));
  (void)g.step();
  CHECK(g.model.read(f, 1) == counting(1));
  const auto got = g.step();
  REQUIRE(got.size() == 1);
  CHECK(got[0].op == vsock_model::credit_update);
  CHECK(got[0].fwd_cnt == 150);
  g.send(f, vsock_model::credit_request);
  CHECK(g.step().size() == 1);
  CHECK(g.model.violations().empty());
}

TEST_CASE("vsock model: it requests credit once when it has none, if the host does", "[testing][vsock]") {
  const bool asks = GENERATE(false, true);
  guest g{vsock_options{.host = asks ? vsock_host::firecracker() : vsock_host::kernel()}};
  const auto f = g.connected();
  g.model.send(f, counting(101));
  CHECK(g.step().size() == (asks ? 3 : 2));
  CHECK(g.step().empty());
  g.send(f, vsock_model::credit_update, {}, 50);
  CHECK(g.step().size() == 1);
}

TEST_CASE("vsock model: counters wrap at 2^32", "[testing][vsock]") {
  guest g;
  g.model.counters_start = 0xffff'fff0;
  const auto f = g.model.connect(80, 1);
  (void)g.step();
  g.send(f, vsock_model::response, {}, 0xffff'fff0);
  g.model.send(f, counting(50));
  CHECK(g.step().size() == 1);
  g.send(f, vsock_model::data, counting(40), 34);
  CHECK(g.step().empty());
  CHECK(g.model.peer(f).consumed == 24);
  CHECK(g.model.peer(f).credit() == 100);
  CHECK(g.model.violations().empty());
}

TEST_CASE("vsock model: it objects to what a driver must not do", "[testing][vsock]") {
  guest g;
  const auto f = g.connected();
  SECTION("data beyond the credit") {
    g.model.peer(f).reads = false;
    g.model.set_window(f, 20);
    (void)g.step();
    g.send(f, vsock_model::data, counting(21));
    (void)g.step();
    CHECK_FALSE(g.objected("VSOCK-05"));  // it may have been in flight
    g.model.settled(f);
    g.send(f, vsock_model::data, counting(1));
    (void)g.step();
    CHECK(g.objected("VSOCK-05"));
  }
  SECTION("a window that shrinks") {
    g.send(f, vsock_model::credit_update, {}, 0, 0, 99);
    (void)g.step();
    CHECK(g.objected("VSOCK-06"));
  }
  SECTION("more consumed than was sent") {
    g.send(f, vsock_model::credit_update, {}, 1);
    (void)g.step();
    CHECK(g.objected("VSOCK-06"));
  }
  SECTION("the CID of another guest") {
    g.cid = 4;
    g.send(f, vsock_model::credit_update);
    (void)g.step();
    CHECK(g.objected("VSOCK-07"));
  }
  SECTION("a reset that answers a reset") {
    g.model.abort(f);
    g.send(f, vsock_model::reset);  // it was in flight
    (void)g.step();
    CHECK(g.model.violations().empty());
    g.send(f, vsock_model::reset);
    (void)g.step();
    CHECK(g.objected("answers a RST"));
  }
  SECTION("headers that are not initialized") {
    g.zeroes = false;
    for (int i = 0; i < 17; ++i) {
      g.model.say(f, vsock_model::credit_update);
      (void)g.step();
    }
    CHECK(g.objected("not zeroed"));
  }
  SECTION("packets of other shapes") {
    const u16 slot = *g.rings[1]->reserve();
    segment_list<3> chain;
    for (const u32 n : {20u, 24u}) chain.append(dma_addr{guest::area_at}, n, direction::to_device);
    REQUIRE(g.rings[1]->stage(slot, chain, 0));
    g.kick(1);
    (void)g.step();
    CHECK(g.objected("a packet that is not a header"));
  }
  SECTION("data after the end") {
    g.send(f, vsock_model::shutdown, {}, 0, 2);
    g.send(f, vsock_model::data, counting(1));
    (void)g.step();
    CHECK(g.objected("after SHUTDOWN"));
  }
  SECTION("a port that is in use") {
    g.send(f, vsock_model::request);
    (void)g.step();
    CHECK(g.objected("where a connection is"));
  }
  SECTION("no room for an event") {
    for (int i = 0; i < 9; ++i) {
      g.model.raise(0);
      (void)g.step();
    }
    CHECK(g.objected("VSOCK-09"));
  }
}

TEST_CASE("vsock model: it objects to a packet before the first event buffer", "[testing][vsock]") {
  guest g{{}, false, 0};
  g.send({1024, 1}, vsock_model::request);
  (void)g.step();
  CHECK(g.objected("VSOCK-09"));
}

TEST_CASE("vsock model: a transport reset ends connections, changes the CID and waits for a kick of the event queue",
          "[testing][vsock]") {
  guest g;
  const auto f = g.connected();
  g.model.reset_transport(9);
  (void)g.model.connect(80, 1);
  CHECK(g.step().empty());
  CHECK(g.model.peer(f).end == vsock_model::connection::ending::by_transport);
  g.send(f, vsock_model::data, counting(1));  // the guest has not processed the event yet
  CHECK(g.step().empty());
  CHECK(g.model.violations().empty());
  const auto event = g.rings[2]->next_completion();
  REQUIRE(event);
  CHECK(event->length == 4);
  g.rings[2]->release(event->which);
  g.post_event();
  g.cid = 9;
  const auto got = g.step();
  REQUIRE(got.size() == 1);
  CHECK(got[0].dst_cid == 9);
  g.send({80, 1}, vsock_model::response);
  CHECK(g.step().empty());
  CHECK(g.model.is_open({80, 1}));
  g.cid = 3;
  g.send({80, 1}, vsock_model::credit_update);
  (void)g.step();
  CHECK(g.objected("VSOCK-07"));
}

TEST_CASE("vsock model: it injects any packet, shortened or with a wrong used length", "[testing][vsock]") {
  guest g;
  auto p = vsock_model::packet({80, 1}, 99, counting(30));
  p.type = 7;
  p.len = 1'000'000;
  p.header_bytes = 20;
  p.used = 5000;
  g.model.inject(p);
  const auto got = g.step();
  REQUIRE(got.size() == 1);
  CHECK(got[0].src_port == 1);
  CHECK(got[0].len == 0);  // not written
  CHECK(got[0].op == 0);
  CHECK(*got[0].used == 44 + room);  // the ring limits the claim
}

TEST_CASE("vsock model: send buffers are kept and returned, or not processed", "[testing][vsock]") {
  guest g;
  const auto f = g.connected();
  g.model.tx = vsock_model::sending::keep;
  g.send(f, vsock_model::data, counting(3));
  g.send(f, vsock_model::data, counting(2));
  (void)g.step();
  CHECK(g.model.peer(f).arrived == 5);
  CHECK(g.rings[1]->in_flight() == 2);
  g.model.give_back();
  (void)g.step();
  CHECK(g.rings[1]->in_flight() == 0);
  CHECK(g.model.peer(f).arrived == 5);
  g.model.tx = vsock_model::sending::ignore;
  g.send(f, vsock_model::data, counting(3));
  (void)g.step();
  CHECK(g.model.peer(f).arrived == 5);
  g.model.give_back();
  (void)g.step();
  CHECK(g.model.peer(f).arrived == 8);
}

TEST_CASE("vsock model: messages and records are split and assembled", "[testing][vsock]") {
  guest g;
  const auto f = g.model.connect(80, 1);
  (void)g.step();
  g.send(f, vsock_model::response);
  g.model.peer(f).type = 1;
  g.model.send_message(f, counting(70), true);
  const auto got = g.step();
  REQUIRE(got.size() == 2);
  CHECK(got[0].flags == 0);
  CHECK(got[1].flags == 3);
}
