// SPDX-License-Identifier: MIT
// The network device: which features are negotiated or refused, its address, MTU and link; and frames that are sent.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "net.hpp"

using namespace virtio;
using rig::frame_of;
using rig::net_driver;
using rig::net_model;
using rig::received;
using rig::send;
using offers = rig::net_offers;

static_assert(net::link<net_driver<>::parts*> == false);
static_assert(net::link<net::device<rig::platform_type, rig::any_pci, split_queue<8>>>);
static_assert(net::link<net::device<rig::platform_type, rig::legacy_pci, packed_queue<8>, rig::small_buffers>>);
static_assert(net::link<net::device<rig::platform_type, rig::any_pci, queue<8>, net::options{.mtu = 9000}>>);

TEST_CASE(
    "net: the driver accepts the features that it uses, and declines all others, whatever is offered "
    "[NET-01][NET-02][NET-07][NET-13][NET-14][NET-39]",
    "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  for (unsigned bit = 0; bit < 128; ++bit)
    if (bit < 32 ? bit != 4 && bit != 30 && bit != 31 : bit == 32 || bit == 35 || (bit >= 50 && bit <= 70 && bit != 58))
      model.offer({bit});
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  for (u8 bit = 0; bit < 128; ++bit) {
    CAPTURE(bit);
    const bool used = net::accepted_features.has_bit(bit) || bit == 29 || bit == 32;
    CHECK(d->features().has_bit(bit) == used);
    CHECK(model.accepted(bit) == used);
    if (bit < 24 || bit >= 50)
      CHECK((net::name(net::feature{bit}) != nullptr) ==
            (net::accepted_features | net::declined_features).has_bit(bit));
  }
  CHECK(d->why().why == verdict::bound);
  CHECK(d->facts().does == flags{net::offload::checksum, net::offload::received_checksum});
  CHECK(d->mac() == net::mac_address{{0x52, 0x54, 0, 0x12, 0x34, 0x56}});
  CHECK(m.objections().empty());
}

TEST_CASE("net: a device without an address gets the program's, or is refused with its verdict [NET-03][NET-04]",
          "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{16});
  model.config()[0] = 1;  // has no meaning
  net_driver<> d;
  CHECK(d.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(d->why().why == verdict::feature_missing);
  CHECK(d->why().feature == 5);
  const net::mac_address own{{2, 1, 2, 3, 4, 5}};
  CHECK(d->start(m.platform(), m.where(4), d.storage(), {}, {{3, 1, 2, 3, 4, 5}}).error() == errc::invalid_argument);
  REQUIRE(d->start(m.platform(), m.where(4), d.storage(), {}, own));
  CHECK(d->mac() == own);
  model.offer({5});
  REQUIRE(!d->start(m.platform(), m.where(4), d.storage(), {}, own));  // a group address, as the device itself reports
  CHECK(d->why().why == verdict::config_unreadable);
  model.config()[0] = 0x52;
  REQUIRE(d->start(m.platform(), m.where(4), d.storage(), {}, own));
  CHECK(d->mac() == net::mac_address{{0x52, 0x54, 0, 0x12, 0x34, 0x56}});
  for (usize i = 0; i < 6; ++i) model.config()[i] = 0;
  CHECK(d.start(m, m.where(4)).error() == errc::device_misbehaved);
}

TEST_CASE("net: an address that changes during the read is read again", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(GENERATE(seat::modern, seat::legacy), 4);
  u32 reads = 0;
  model.before_config_read = [&](u32 offset, u32) {
    if (offset != 3 || ++reads != 1) return;
    for (usize i = 0; i < 6; ++i) model.config()[i] = static_cast<u8>(2 * i + 2);
    model.bump_generation();
  };
  net_driver<rig::legacy_net_queue> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->mac() == net::mac_address{{2, 4, 6, 8, 10, 12}});
}

TEST_CASE("net: the MTU is the device's if buffers have room for such frames, and invalid values are refused [NET-08]",
          "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{3, 5, 16});
  net_driver<> d;
  net_driver<split_queue<8>, net::options{.mtu = 9000, .receive_buffers = 8, .send_buffers = 4}> large;
  const auto with = [&](u16 mtu) { model.put_config(10, mtu, 2); };
  with(1400);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->facts().mtu == 1400);
  CHECK(model.accepted(3));
  with(68);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->facts().mtu == 68);
  with(67);
  CHECK(d.start(m, m.where(4)).error() == errc::device_misbehaved);
  CHECK(d->why().why == verdict::config_unreadable);
  with(1501);  // more than the buffers hold: the feature is not accepted
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->facts().mtu == 1500);
  CHECK(!model.accepted(3));
  CHECK(!d->features().has(net::feature::mtu));
  CHECK(d->features().has(net::feature::mac));
  REQUIRE(d->hand_off());
  with(9000);
  REQUIRE(large.start(m, m.where(4)));
  CHECK(large->facts().mtu == 9000);
  REQUIRE(send(large, frame_of(9014)));
  CHECK(send(large, frame_of(9015)).error() == errc::too_long);
  model.arrive(frame_of(9018));
  CHECK(received(large) == frame_of(9018));
  model.withdraw({3});
  REQUIRE(large.start(m, m.where(4)));
  CHECK(large->facts().mtu == 1500);
}

TEST_CASE("net: the link follows the device's STATUS, and is up without it [NET-05][NET-06]", "[net]") {
  rig::machine m;
  const bool says = GENERATE(false, true);
  auto& model = m.add<net_model>(GENERATE(seat::modern, seat::legacy), 4, offers{5});
  if (says) model.offer({16});
  net_driver<rig::legacy_net_queue> d;
  CHECK(d->state() == net::link_state::down);
  model.put_config(6, 0, 2);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->state() == (says ? net::link_state::down : net::link_state::up));
  if (!says) return;
  CHECK(send(d, frame_of(60)).error() == errc::not_ready);
  SECTION("with an interrupt, at once") {
    model.set_link(true);
    CHECK(d->acknowledge_interrupt().config);
    CHECK(*d->poll());
    CHECK(d->state() == net::link_state::up);
    CHECK(!*d->poll());
    REQUIRE(send(d, frame_of(60)));
    model.counts = {};
    for (int i = 0; i < 1000; ++i) CHECK(!*d->poll());
    CHECK(model.counts.device == 0);
  }
  SECTION("without one, within 4096 polls") {
    model.set_link(true);
    u32 polls = 1;
    while (!*d->poll()) REQUIRE(++polls <= 4096);
    CHECK(d->state() == net::link_state::up);
    model.set_link(false);
    CHECK(d->acknowledge_interrupt().config);
    CHECK(*d->poll());
    CHECK(d->state() == net::link_state::down);
    CHECK(send(d, frame_of(60)).error() == errc::not_ready);
  }
  SECTION("after a sleep in which nothing else arrived") {
    CHECK(!d->arm());
    model.set_link(true);
    (void)model.read_isr();  // over an MSI-X vector, which no register reports
    CHECK(*d->poll());
    CHECK(d->state() == net::link_state::up);
    model.counts = {};
    CHECK(!*d->poll());
    CHECK(model.counts.device == 0);
    for (u32 i = 0; i < 20; ++i) {  // a sleep that brought a frame costs no read before one that finds nothing else
      model.arrive(frame_of(60));
      CHECK(*d->poll());
      CHECK(received(d) == frame_of(60));
      CHECK(d->arm() == (i != 0));
    }
    CHECK(model.counts.device == 0);
    CHECK(!*d->poll());
    CHECK(model.counts.device == 1);
    CHECK(!*d->poll());
    CHECK(!d->arm());
    model.spurious_interrupt(1);  // a line interrupt reports its cause: no read is needed after a sleep
    CHECK(d->acknowledge_interrupt().queue);
    CHECK(!*d->poll());
    CHECK(model.counts.device == 1);
  }
  SECTION("in a wait") {
    model.set_link(true);
    const auto is_up = [&] { return d->state() == net::link_state::up; };
    u32 waits = 1;
    while (d->wait_until(waiting::peer, is_up) == errc::peer_silent) REQUIRE(++waits < 10);
    CHECK(is_up());
  }
  REQUIRE(d->reset());
  CHECK(d->state() == net::link_state::down);
}

TEMPLATE_TEST_CASE(
    "net: frames of every size are sent unchanged, on either ring [NET-15][NET-16][NET-17][NET-34][NET-38][NET-40]",
    "[net]", split_queue<8>, packed_queue<8>) {
  rig::machine m;
  const bool merges = GENERATE(false, true), apart = GENERATE(false, true);
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 16, 34});
  if (merges) model.offer({15});
  net_driver<TestType> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(send(d, frame_of(13)).error() == errc::invalid_argument);
  CHECK(send(d, frame_of(1515)).error() == errc::too_long);
  CHECK(send(d, {}).error() == errc::invalid_argument);
  for (u32 size = 14; size <= 1514; ++size) {
    const std::vector<u8> data = frame_of(size, size);
    if (apart) {
      const usize first = size % 14, second = size / 2 - first / 2;
      const const_bytes pieces[] = {{data.data(), first},
                                    {},
                                    {data.data() + first, second},
                                    {data.data() + first + second, size - first - second}};
      REQUIRE(d->try_send(pieces));
    } else {
      REQUIRE(send(d, data));
    }
    CHECK(model.step() == 0);  // nothing was published
    d->flush();
    CHECK(model.step() == 1);
    REQUIRE(model.sent.size() == 1);
    CHECK(model.sent[0].data == data);
    const auto head = model.sent[0].head;
    CHECK(
        (head.flags == 0 && head.gso_type == 0 && head.gso_size == 0 && head.csum_start == 0 && head.csum_offset == 0));
    CHECK(head.hdr_len == size);
    model.sent.clear();
  }
  CHECK(m.objections().empty());
}

TEST_CASE("net: sent frames are published together, and reclaimed when no buffer is free", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 16, 29});
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  const auto rung = [&] { return model.doorbells(1); };
  for (u32 i = 0; i < 4; ++i) REQUIRE(send(d, frame_of(100, i)));
  CHECK(rung() == 0);
  CHECK(send(d, frame_of(100, 4)).error() == errc::queue_full);  // publishes them
  CHECK(rung() == 1);
  CHECK(model.step() != 0);
  CHECK(model.sent.size() == 4);
  for (u32 i = 4; i < 8; ++i) REQUIRE(send(d, frame_of(100, i)));  // without a poll between
  CHECK(rung() == 1);
  d->flush();
  d->flush();
  CHECK(rung() == 2);
  (void)model.step();
  REQUIRE(send(d, frame_of(100, 8)));
  CHECK(!*d->poll());  // sent frames are not reported: no call waits for room
  CHECK(rung() == 3);
  CHECK(model.step() == 1);
  for (u32 i = 0; i < 9; ++i) CHECK(model.sent.at(i).data == frame_of(100, i));
  CHECK(model.interrupts() == 0);  // none was requested
}

TEST_CASE("net: after queue_full the program is notified of room, also by an interrupt", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 16});
  for (unsigned bit :
       GENERATE(as<std::vector<unsigned>>{}, std::vector<unsigned>{}, std::vector{29u}, std::vector{29u, 34u}))
    model.offer({bit});
  net_driver<queue<8>> d;
  REQUIRE(d.start(m, m.where(4)));
  model.listens = false;
  for (u32 i = 0; i < 4; ++i) REQUIRE(send(d, frame_of(100, i)));
  CHECK(send(d, frame_of(100)).error() == errc::queue_full);
  CHECK(!*d->poll());
  CHECK(!d->arm());
  model.listens = true;
  (void)model.serve(1);
  CHECK(model.interrupts() == 1);
  CHECK(d->arm());
  CHECK(*d->poll());
  CHECK(!*d->poll());
  CHECK(!d->arm());
  REQUIRE(send(d, frame_of(100)));
  CHECK(!*d->poll());
  (void)model.step();
  CHECK(model.interrupts() == 1);
  CHECK(!d->arm());
}

TEST_CASE("net: a ring smaller than the buffers bounds the frames in flight", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 16}, u16{2});
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(model.ring(0).pending() == 2);
  REQUIRE(send(d, frame_of(60, 1)));
  REQUIRE(send(d, frame_of(60, 2)));
  CHECK(send(d, frame_of(60, 3)).error() == errc::queue_full);
  (void)model.step();
  REQUIRE(send(d, frame_of(60, 3)));
  d->flush();
  (void)model.step();
  CHECK(model.sent.size() == 3);
  for (u32 i = 0; i < 20; ++i) {
    model.arrive(frame_of(60, i));
    CHECK(received(d) == frame_of(60, i));
    (void)d->poll();
  }
}

TEST_CASE(
    "net: a checksum is requested only if the device computes it, and only inside the frame [NET-30][NET-33][NET-17][NET-18]",
    "[net]") {
  rig::machine m;
  const bool computes = GENERATE(false, true);
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 16});
  if (computes) model.offer({0});
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->facts().does.has(net::offload::checksum) == computes);
  CHECK(send(d, frame_of(60), {34, 16}).has_value() == computes);
  CHECK(send(d, frame_of(60), {14, 44}).has_value() == computes);  // its last two bytes
  CHECK(send(d, frame_of(60), {13, 16}).error() == errc::invalid_argument);
  CHECK(send(d, frame_of(60), {14, 45}).error() == errc::invalid_argument);
  CHECK(send(d, frame_of(60), {59, 0}).error() == errc::invalid_argument);
  CHECK(send(d, frame_of(60), {0xffff, 0xffff}).error() == errc::invalid_argument);
  CHECK(send(d, frame_of(60), {34, 0xfff0}).error() == errc::invalid_argument);
  REQUIRE(send(d, frame_of(60), {0, 7}));  // none is requested
  d->flush();
  (void)model.step();
  if (computes) {
    CHECK((model.sent.at(0).head.flags == 1 && model.sent[0].head.csum_start == 34 &&
           model.sent[0].head.csum_offset == 16));
    CHECK((model.sent.at(1).head.flags == 1 && model.sent[1].head.csum_start == 14 &&
           model.sent[1].head.csum_offset == 44));
    model.sent.erase(model.sent.begin(), model.sent.begin() + 2);
  }
  CHECK(model.sent.size() == 1);
  CHECK(model.sent.at(0).head.flags == 0);
  REQUIRE(send(d, frame_of(70)));  // in a buffer that had one before
  REQUIRE(send(d, frame_of(71)));
  REQUIRE(send(d, frame_of(72)));
  REQUIRE(d->poll());
  (void)model.step();
  for (const auto& one : model.sent) CHECK(one.head.flags == 0);
}

TEST_CASE("net: no frame larger than the device's MTU is sent [NET-09]", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{3, 5, 16});
  model.put_config(10, 1000, 2);
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(send(d, frame_of(1014)));
  CHECK(send(d, frame_of(1015)).error() == errc::too_long);
  const std::vector<u8> half = frame_of(0x8000);
  const const_bytes huge[] = {{half.data(), half.size()}, {half.data(), half.size()}};  // a 16-bit length would be 0
  CHECK(d->try_send(huge).error() == errc::too_long);
}

TEST_CASE("net: a driver that is down reports it, and a start recovers from a device failure", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<> d;
  const auto check_down = [&] {
    CHECK(d->poll().error() == errc::not_started);
    CHECK(send(d, frame_of(60)).error() == errc::not_started);
    rig::seen_frame none;
    CHECK(receive(d, none) == errc::not_started);
    CHECK(d->wait_until(waiting::peer, [] { return true; }) == errc::not_started);
    CHECK(d->check().error() == errc::not_started);
    CHECK(!d->arm());
    d->flush();
    d->disarm();
    CHECK(d->state() == net::link_state::down);
  };
  check_down();
  CHECK(d->reset().error() == errc::not_started);
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(d->check());
  CHECK(d->wait_until(waiting::peer, [] { return false; }) == errc::peer_silent);
  CHECK(d->wait_until(waiting::peer, [] { return false; }, [] { return true; }) == errc::canceled);
  CHECK(d->wait_until(waiting::peer, [] { return true; }, [] { return true; }) == errc::ok);
  for (int turn = 0; turn < 6; ++turn) {
    CAPTURE(turn);
    for (u32 i = 0; i < 3; ++i) REQUIRE(send(d, frame_of(60, i)));
    model.arrive(frame_of(70));
    CHECK(*d->poll());
    if (turn == 5) break;
    if (turn < 3) model.set_needs_reset();
    if (turn == 0) CHECK(d->check().error() == errc::needs_reset);
    if (turn == 1) CHECK(d->wait_until(waiting::peer, [] { return false; }) == errc::needs_reset);
    if (turn == 2) {
      CHECK(d->acknowledge_interrupt().config);
      CHECK(d->poll().error() == errc::needs_reset);
    }
    if (turn == 3) REQUIRE(d->reset());
    if (turn == 4) REQUIRE(d->hand_off());
    check_down();
    model.sent.clear();
    REQUIRE(d.start(m, m.where(4)));
    CHECK(!*d->poll());
  }
  (void)model.step();
  CHECK(model.sent.size() == 3);
  CHECK(received(d) == frame_of(70));
}

TEST_CASE("net: a device that does not reset keeps the storage, and every call reports it", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.reset_reads = net_model::forever;
  CHECK(d->reset().error() == errc::device_broken);
  CHECK(d->check().error() == errc::device_broken);
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(d->poll().error() == errc::not_started);
  model.reset_reads = 0;
  REQUIRE(d.start(m, m.where(4)));
  model.arrive(frame_of(60));
  CHECK(received(d) == frame_of(60));
}
