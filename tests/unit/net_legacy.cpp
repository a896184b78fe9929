// SPDX-License-Identifier: MIT
// Legacy network devices: headers of ten bytes in a descriptor of their own, and numbers in the guest's byte order.
#include <catch2/generators/catch_generators.hpp>

#include "big_endian.hpp"
#include "net.hpp"

using namespace virtio;
using rig::frame_of;
using rig::net_driver;
using rig::net_model;
using rig::received;
using offers = rig::net_offers;

TEST_CASE(
    "net: a legacy device gets headers of its size, in a descriptor of their own unless it accepts any layout [NETL-08][NET-15]",
    "[net][legacy]") {
  rig::machine m;
  const bool merges = GENERATE(false, true), any_layout = GENERATE(false, true);
  CAPTURE(merges, any_layout);
  auto& model = m.add<net_model>(seat::legacy, 4, offers{5, 16});
  if (merges) model.offer({15});
  if (!any_layout) model.withdraw({27});
  net_driver<rig::legacy_net_queue> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->features().has(virtio::feature::any_layout) == any_layout);
  CHECK(model.header_size() == (merges ? 12 : 10));
  for (u32 i = 0; i < 40; ++i) {
    model.arrive(frame_of(i % 2 == 0 ? 60 : 1518, i));
    CHECK(received(d) == frame_of(i % 2 == 0 ? 60 : 1518, i));
    REQUIRE(rig::send(d, frame_of(1000 + i, i)));
    d->flush();
    (void)model.step();
    CHECK(model.sent.at(i).data == frame_of(1000 + i, i));
  }
  CHECK(m.objections().empty());
}

TEST_CASE("net: on a legacy device without ANY_LAYOUT a frame in several buffers arrives whole [NETL-08]",
          "[net][legacy]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::legacy, 4, offers{5, 15});
  model.withdraw({27});
  net_driver<rig::legacy_net_queue, rig::small_buffers> d;
  REQUIRE(d.start(m, m.where(4)));
  for (usize size = 14; size <= 1518; ++size) {
    model.arrive(frame_of(size));
    REQUIRE(received(d) == frame_of(size));
    (void)d->poll();
  }
}

TEST_CASE("net: the used length of a sent frame is ignored [NETL-03]", "[net][legacy]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::legacy, 4);
  net_driver<rig::legacy_net_queue> d;
  REQUIRE(d.start(m, m.where(4)));
  model.used_length = 0xffffffff;
  for (u32 i = 0; i < 40; ++i) {
    REQUIRE(rig::send(d, frame_of(60, i)));
    REQUIRE(d->poll());
    (void)model.serve(1);
  }
  CHECK(model.sent.size() == 40);
}

namespace {

struct old_card : big_endian_device {
  static constexpr device_type type = device_type::network;
  std::vector<std::vector<u8>> says;  // header and frame
  std::vector<std::vector<u8>> said;

  old_card() : big_endian_device{20} {}

  void serve() {
    if (!is_up()) return;
    for (u16 n = 0; n < 2; ++n) {
      ring& q = rings[n];
      while (q.has_more() && (n == 1 || !says.empty())) {
        const u16 head = q.head();
        const u8* const first = q.descriptor(head);
        REQUIRE(get(first + 8, 4) == 10);
        REQUIRE(get(first + 12, 2) == (n == 0 ? 3u : 1u));
        const u8* const second = q.descriptor(static_cast<u16>(get(first + 14, 2)));
        REQUIRE(get(second + 12, 2) == (n == 0 ? 2u : 0u));
        u8* const header = reinterpret_cast<u8*>(get(first, 8));
        u8* const frame = reinterpret_cast<u8*>(get(second, 8));
        const usize room = get(second + 8, 4);
        if (n == 1) {
          said.emplace_back(header, header + 10);
          said.back().insert(said.back().end(), frame, frame + room);
          q.give_back(head, 0);
          continue;
        }
        const std::vector<u8> now = says.front();
        says.erase(says.begin());
        REQUIRE(now.size() - 10 <= room);
        std::copy(now.begin(), now.begin() + 10, header);
        std::copy(now.begin() + 10, now.end(), frame);
        q.give_back(head, static_cast<u32>(now.size()));
      }
    }
  }
};
using transport_type = big_endian_transport<old_card>;
using board = big_endian_board<old_card>;
using old_driver =
    net::device<board, transport_type, split_queue<8, ring_options{.order = byte_order::big}>, rig::few_buffers>;
struct parts {
  dma_storage<old_driver::dma_bytes> storage{};
  old_driver device{};
};

}  // namespace

TEST_CASE(
    "net: a big-endian guest's configuration and headers are in its own order on the legacy interface [NETL-01][NETL-02]",
    "[net][legacy]") {
  old_card model;
  model.offered = 1u << 0 | 1u << 1 | 1u << 3 | 1u << 5 | 1u << 16;
  // As the guest's numbers are in memory
  model.config.bytes = {2, 1, 2, 3, 4, 5, 0, 1, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  const std::unique_ptr<parts> at{new parts};
  old_driver& card = at->device;
  REQUIRE(card.start(board{model}, &model, at->storage));
  CHECK(card.state() == net::link_state::up);
  CHECK(card.facts().mtu == 1024);
  CHECK(card.mac() == net::mac_address{{2, 1, 2, 3, 4, 5}});
  std::vector<u8> arriving{1, 0, 0, 0, 0, 0, 0, 34, 0, 16};
  const std::vector<u8> data = frame_of(300);
  arriving.insert(arriving.end(), data.begin(), data.end());
  model.says = {arriving};
  model.serve();
  u32 looks = 0;
  REQUIRE(card.receive_with([&](const net::frame& f) {
    CHECK((f.sum == net::checksum::missing && f.compute.start == 34 && f.compute.offset == 16 && f.size == 300));
    ++looks;
    return net::after_look::done;
  }));
  CHECK(looks == 1);
  const const_bytes one[] = {{data.data(), data.size()}};
  REQUIRE(card.try_send(one, {34, 16}));
  card.flush();
  model.serve();
  std::vector<u8> expected{1, 0, 1, 44, 0, 0, 0, 34, 0, 16};
  expected.insert(expected.end(), data.begin(), data.end());
  REQUIRE(model.said.size() == 1);
  CHECK(model.said[0] == expected);
}
