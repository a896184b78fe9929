// SPDX-License-Identifier: MIT
// The network card on every host that has one.
#include <catch2/catch_test_macros.hpp>

#include "hosts.hpp"
#include "net.hpp"

using namespace virtio;
using rig::frame_of;
using rig::net_model;
using rig::on_each_host;

namespace {

template <class Board>
using net_on =
    rig::driver<net::device<rig::platform_type, typename Board::transport, rig::host_queue, rig::few_buffers>>;

}  // namespace

TEST_CASE(
    "hosts: a network card carries frames of every size both ways, with its address or the program's "
    "[NET-03][NET-16][NET-17]",
    "[hosts][net][host-mac-bytes][host-first-notification][host-num-buffers]") {
  on_each_host(device_type::network, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    auto& model = m.template as<net_model>(device_type::network);
    net_on<board> d;
    const net::mac_address own{{2, 1, 2, 3, 4, 5}};
    const auto up = d->start(m.platform(), m.where(device_type::network), d.storage(), {}, own);
    INFO(describe(d->why().why));
    REQUIRE(up);
    const net::mac_address given{{0x52, 0x54, 0, 0x12, 0x34, 0x56}};
    CHECK(d->mac() == (model.offers(net_model::mac_bit) ? given : own));
    CHECK_FALSE(model.accepted(net_model::control_bit));
    for (usize round = 0; round < 3; ++round)
      for (const usize size : {usize{14}, usize{60}, usize{1000}, usize{1514}}) {
        const auto frame = frame_of(size, static_cast<u32>(round));
        REQUIRE(rig::send(d, frame));
        d->flush();
        (void)model.step();
        REQUIRE(!model.sent.empty());
        CHECK(model.sent.back().data == frame);
        model.arrive(frame);
        CHECK(rig::received(d) == frame);
      }
    REQUIRE(d->hand_off());
  });
}

constexpr unsigned segmentation[] = {11, 12, 14, 56};  // HOST_TSO4, HOST_TSO6, HOST_UFO, HOST_USO

TEST_CASE(
    "hosts: no frame is sent with a gso_type, whatever segmentation a host offers or does not "
    "[NET-21][NET-23][NET-25][NET-27]",
    "[hosts][net]") {
  on_each_host(device_type::network, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    auto& model = m.template as<net_model>(device_type::network);
    for (const bool offered : {false, true}) {
      for (const unsigned bit : segmentation) offered ? model.offer({bit}) : model.withdraw({bit});
      net_on<board> d;
      REQUIRE(d->start(m.platform(), m.where(device_type::network), d.storage(), {}, {{2, 1, 2, 3, 4, 5}}));
      for (const usize size : {usize{60}, usize{1514}}) {
        REQUIRE(rig::send(d, frame_of(size)));
        if (model.accepted(net_model::csum_bit)) REQUIRE(rig::send(d, frame_of(size), {.start = 34, .offset = 6}));
      }
      d->flush();
      (void)model.step();
      REQUIRE(model.sent.size() >= 2);
      for (const auto& one : model.sent) CHECK(one.head.gso_type == 0);
      for (const unsigned bit : segmentation) CHECK_FALSE(model.accepted(bit));
      model.sent.clear();
      REQUIRE(d->hand_off());
    }
  });
}
