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
    "[hosts][net][host-mac-bytes][host-first-notification]") {
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
