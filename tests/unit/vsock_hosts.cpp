// SPDX-License-Identifier: MIT
// Sockets on every host that has them: a stream to the host and one from it, and the device's end.
#include <catch2/catch_test_macros.hpp>

#include "hosts.hpp"
#include "vsock.hpp"

using namespace virtio;
using rig::on_each_host;

namespace {

template <class Board>
using sockets_on = rig::driver<vsock::device<rig::platform_type, typename Board::transport, rig::host_queue>>;

}  // namespace

TEST_CASE(
    "hosts: a stream goes to the host and one comes from it, and a host that cannot reset its socket device says so at "
    "once",
    "[hosts][vsock][host-no-reset]") {
  on_each_host(device_type::vsock, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    auto& model = m.template as<vsock_model>(device_type::vsock);
    sockets_on<board> d;
    const auto up = rig::bring_up(*d, m.platform(), m.where(device_type::vsock), d.storage());
    INFO(describe(d->why().why));
    REQUIRE(up);
    CHECK(d->cid() == 3);
    const auto settle = [&] {
      for (int i = 0; i < 20; ++i) {
        model.settle();
        REQUIRE(d->poll([](vsock::event) {}));
      }
    };
    const auto works = [&](vsock::socket s) {
      const vsock_flow flow{*d->local_port_of(s), d->peer_of(s)->port, d->peer_of(s)->cid};
      REQUIRE(model.is_open(flow));
      const auto out = pattern(5000, 7), in = pattern(5000, 9);
      for (usize done = 0; done < out.size();) {
        const auto sent = d->try_send(s, const_bytes{out.data() + done, out.size() - done});
        if (sent) done += *sent;
        else REQUIRE((sent.error() == errc::no_credit || sent.error() == errc::no_buffer));
        settle();
      }
      REQUIRE(d->flush(s));
      settle();
      CHECK(model.peer(flow).arrived == out.size());
      model.send(flow, in);
      std::vector<u8> got;
      for (int i = 0; i < 100 && got.size() < in.size(); ++i) {
        settle();
        u8 some[512];
        while (const auto n = d->try_receive(s, some)) got.insert(got.end(), some, some + *n);
      }
      CHECK(got == in);
    };
    const auto one = d->try_connect(rig::echo);
    REQUIRE(one);
    settle();
    works(*one);
    REQUIRE(d->listen(80, 2));
    (void)model.connect(80, 1234);
    settle();
    const auto two = d->try_accept(80);
    REQUIRE(two);
    works(*two);
    CHECK(m.objections().empty());
    if (!model.reset_fails) {
      CHECK(d->hand_off());
      return;
    }
    u64 waits = 0;
    m.memory.on_wait = [&](waiting why, u64) { waits += why == waiting::reset; };
    CHECK(d->hand_off().error() == errc::device_broken);  // and keeps its memory
    CHECK(waits == 0);
    m.expect_objections = true;
  });
}
