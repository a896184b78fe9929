// SPDX-License-Identifier: MIT
// The network device: frames that are received, in one buffer or several, and frames that are kept.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include "net.hpp"

using namespace virtio;
using rig::frame_of;
using rig::keep;
using rig::net_driver;
using rig::net_model;
using rig::received;
using rig::seen_frame;
using rig::send;
using offers = rig::net_offers;
using net::after_look;

TEMPLATE_TEST_CASE(
    "net: frames of every size are received unchanged, on either ring, in one buffer or several [NET-43][NET-44]",
    "[net]", split_queue<8>, packed_queue<8>) {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 15, 16, 34}, u16{8});
  const bool small = GENERATE(false, true);
  net_driver<TestType> large_one;
  net_driver<TestType, rig::small_buffers> small_one;
  const auto run = [&](auto& d, usize in_a_buffer) {
    REQUIRE(d.start(m, m.where(4)));
    seen_frame one;
    for (usize size = 14; size <= 1518; ++size) {
      model.arrive(frame_of(size, static_cast<u32>(size)));
      REQUIRE(receive(d, one) == errc::ok);
      REQUIRE(one.data == frame_of(size, static_cast<u32>(size)));
      CHECK(one.pieces == 1 + (size > in_a_buffer ? (size - in_a_buffer + in_a_buffer + 11) / (in_a_buffer + 12) : 0));
      CHECK(receive(d, one) == errc::not_ready);
    }
    CHECK(d->counts() == net::drop_counts{});
  };
  if (small) run(small_one, 494);
  else run(large_one, 1518);
  CHECK(m.objections().empty());
}

TEST_CASE("net: frames that arrive at once are shown in order, and none is lost while the ring has room", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 16, 29});
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  for (u32 i = 0; i < 100; ++i) model.arrive(frame_of(60 + i, i));
  CHECK(model.wire.size() == 92);  // as many as there are buffers
  for (u32 i = 0; i < 100; ++i) {
    seen_frame one;
    errc got = errc::not_ready;
    for (int turn = 0; turn < 2 && (got = receive(d, one)) == errc::not_ready; ++turn) (void)model.step();
    REQUIRE(got == errc::ok);
    CHECK(one.data == frame_of(60 + i, i));
  }
  CHECK(d->counts() == net::drop_counts{});
}

TEST_CASE(
    "net: a frame is shown in place, with the bytes after its header aligned, and its pieces can be read separately",
    "[net]") {
  rig::machine m;
  const bool merges = GENERATE(false, true);
  auto& model = m.add<net_model>(GENERATE(seat::modern, seat::legacy), 4, merges ? offers{5, 15} : offers{5});
  net_driver<rig::legacy_net_queue> d;
  REQUIRE(d.start(m, m.where(4)));
  for (int turn = 0; turn < 3; ++turn) {
    model.arrive(frame_of(100));
    u32 looks = 0;
    REQUIRE(d->receive_with([&](const net::frame& f) {
      CHECK(reinterpret_cast<uptr>(f.pieces.first[0].data() + net::header_bytes) % 32 == 0);
      u8 some[10];
      CHECK(f.copy_to(95, some) == 5);
      CHECK(some[0] == frame_of(100)[95]);
      CHECK(f.copy_to(100, some) == 0);
      ++looks;
      return after_look::done;
    }));
    CHECK(looks == 1);
  }
}

TEST_CASE("net: invalid Ethernet frames for this MTU are dropped and counted, and the next one is received", "[net]") {
  rig::machine m;
  const bool merges = GENERATE(false, true);
  auto& model = m.add<net_model>(seat::modern, 4, merges ? offers{3, 5, 15} : offers{3, 5});
  model.put_config(10, 1000, 2);
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  for (usize size : {0u, 1u, 13u, 1019u, 1100u, 1500u}) model.arrive(frame_of(size));
  CHECK(!*d->poll());
  CHECK(d->counts() == net::drop_counts{.too_short = 3, .too_long = 3});
  model.arrive(frame_of(1018));
  model.arrive(frame_of(14));
  CHECK(*d->poll());
  CHECK(received(d) == frame_of(1018));
  CHECK(received(d) == frame_of(14));
  for (u32 i = 0; i < 1000; ++i) {  // no buffer is lost
    model.arrive(frame_of(i % 2 == 0 ? 13 : 1019));
    seen_frame none;
    CHECK(receive(d, none) == errc::not_ready);
  }
  model.arrive({frame_of(100)}, net_model::header{.gso_type = 1, .gso_size = 1000});
  model.arrive({frame_of(100)}, net_model::header{.gso_type = 0x80});
  model.arrive({frame_of(100)}, net_model::header{.gso_size = 1000});  // has no meaning
  CHECK(received(d) == frame_of(100));
  CHECK(d->counts().segmented == 2);
  model.used_length = 9;
  model.arrive(frame_of(100));
  model.used_length.reset();
  CHECK(!*d->poll());
  CHECK(d->counts() == net::drop_counts{.too_short = 504, .too_long = 503, .segmented = 2});
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->counts() == net::drop_counts{});
}

TEST_CASE(
    "net: the state of a checksum is the device's if it may report it and its values are valid "
    "[NET-46][NET-48][NET-49][NET-50][NET-51][NET-52]",
    "[net]") {
  rig::machine m;
  const bool negotiated = GENERATE(false, true);
  auto& model = m.add<net_model>(seat::modern, 4, negotiated ? offers{1, 5} : offers{5});
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->facts().does.has(net::offload::received_checksum) == negotiated);
  struct {
    net_model::header says;
    net::checksum sum;
    net::to_compute compute;
  } const known[] = {
      {{}, net::checksum::unknown, {}},
      {{.flags = 2}, net::checksum::right, {}},
      {{.flags = 2, .csum_start = 34, .csum_offset = 16}, net::checksum::right, {}},
      {{.flags = 1, .hdr_len = 0xffff, .csum_start = 34, .csum_offset = 16}, net::checksum::missing, {34, 16}},
      {{.flags = 3, .csum_start = 34, .csum_offset = 16}, net::checksum::missing, {34, 16}},
      {{.flags = 1, .csum_start = 14, .csum_offset = 84}, net::checksum::missing, {14, 84}},
      {{.flags = 1, .csum_start = 14, .csum_offset = 85}, net::checksum::unknown, {}},
      {{.flags = 1, .csum_start = 13, .csum_offset = 16}, net::checksum::unknown, {}},
      {{.flags = 1}, net::checksum::unknown, {}},
      {{.flags = 3, .csum_start = 99, .csum_offset = 16}, net::checksum::unknown, {}},
      {{.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff}, net::checksum::unknown, {}},
      // RSC_INFO: the numbers have another meaning
      {{.flags = 5, .csum_start = 34, .csum_offset = 16}, net::checksum::unknown, {}},
      {{.flags = 0xf8, .csum_start = 34, .csum_offset = 16}, net::checksum::unknown, {}},
      {{.flags = 0xfa}, net::checksum::right, {}},
      {{.flags = 0xf9, .csum_start = 34, .csum_offset = 16}, net::checksum::missing, {34, 16}},
  };
  for (const auto& one : known) {
    CAPTURE(one.says.flags, one.says.csum_start, one.says.csum_offset);
    model.arrive(frame_of(100), one.says);
    seen_frame seen;
    REQUIRE(receive(d, seen) == errc::ok);
    CHECK(seen.data == frame_of(100));
    CHECK(seen.sum == (negotiated ? one.sum : net::checksum::unknown));
    CHECK(seen.compute.start == (negotiated ? one.compute.start : 0));
    CHECK(seen.compute.offset == (negotiated ? one.compute.offset : 0));
  }
  CHECK(d->counts() == net::drop_counts{});
}

TEST_CASE("net: without MRG_RXBUF receive buffers have room for 1526 bytes, including the header [NET-42]", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<split_queue<8>> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(!d->features().has(net::feature::mrg_rxbuf));
  model.hold();
  for (int i = 0; i < 8; ++i) model.arrive(frame_of(60));
  REQUIRE(model.held().size() == 8);
  for (const auto& one : model.held()) CHECK(one.buffer.writable() >= 1526);
}

TEST_CASE("net: a device that cannot split a frame over buffers is refused if one buffer is too small", "[net]") {
  rig::machine m;
  (void)m.add<net_model>(seat::modern, 4);
  net_driver<split_queue<8>, rig::small_buffers> d;
  CHECK(d.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(d->why().why == verdict::feature_missing);
  CHECK(d->why().feature == 15);
}

TEST_CASE("net: buffers of an incomplete frame wait, and the rest completes it", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 15, 29});
  net_driver<split_queue<8>, rig::small_buffers> d;
  REQUIRE(d.start(m, m.where(4)));
  model.hold();
  model.arrive(frame_of(1500));
  REQUIRE(model.held().size() == 3);
  for (int part = 0; part < 2; ++part) {
    model.complete(0);
    CHECK(!*d->poll());
    CHECK(!d->arm());  // arrived buffers were processed
    seen_frame none;
    CHECK(receive(d, none) == errc::not_ready);
  }
  model.complete(0);
  CHECK(d->arm());
  CHECK(*d->poll());
  CHECK(received(d) == frame_of(1500));
}

TEST_CASE("net: a kept frame stays unchanged until it is returned, and its name is valid once", "[net][net-name]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 15});
  net_driver<split_queue<8>, rig::small_buffers> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->facts().most_kept == 16 / 4 - 1);
  CHECK(d->give_back({}).error() == errc::stale_handle);
  std::vector<const u8*> where;
  std::vector<net::kept_frame> names;
  for (u32 i = 0; i < 3; ++i) {
    model.arrive(frame_of(400, i));
    const u8* at = nullptr;
    usize size = 0;
    names.push_back(keep(d, at, size));
    where.push_back(at);
    CHECK(size == 400);
    CHECK(names.back().generation % 2 == 1);
  }
  for (u32 i = 10; i < 60; ++i) {
    model.arrive(frame_of(1500, i));
    CHECK(received(d) == frame_of(1500, i));
    (void)d->poll();
    (void)model.step();
  }
  for (u32 i = 0; i < 3; ++i) CHECK(std::vector<u8>(where[i], where[i] + 400) == frame_of(400, i));
  CHECK(d->give_back({names[0].slot, names[0].generation + 1}).error() == errc::stale_handle);
  CHECK(d->give_back({names[0].slot, names[0].generation + 2}).error() == errc::stale_handle);
  CHECK(d->give_back({16, 1}).error() == errc::stale_handle);
  CHECK(d->give_back({0xffff, 1}).error() == errc::stale_handle);
  for (const auto& one : names) REQUIRE(d->give_back(one));
  for (const auto& one : names) CHECK(d->give_back(one).error() == errc::stale_handle);
}

TEST_CASE("net: with every buffer in a kept frame the device waits, and continues when one is returned", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 29});
  if (GENERATE(false, true)) model.offer({34});
  net_driver<queue<8>> d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<net::kept_frame> names;
  const u8* at = nullptr;
  usize size = 0;
  for (u32 i = 0; i < 20; ++i) model.arrive(frame_of(60, i));
  while (*d->poll()) names.push_back(keep(d, at, size));
  CHECK(names.size() == 8);
  CHECK(model.wire.size() == 12);
  CHECK(!*d->poll());
  CHECK(!d->arm());
  REQUIRE(send(d, frame_of(60)));  // the other direction still works
  CHECK(d->wait_until(waiting::peer, [&] { return !model.sent.empty(); }) == errc::ok);
  for (u32 i = 8; i < 20; ++i) {
    REQUIRE(d->give_back(names[i % 8]));
    (void)d->poll();
    (void)model.step();
    REQUIRE(*d->poll());
    seen_frame seen;
    REQUIRE(receive(d, seen, after_look::keep) == errc::ok);
    CHECK(seen.data == frame_of(60, i));
    names[i % 8] = seen.name;
  }
  CHECK(d->counts() == net::drop_counts{});
}

TEST_CASE("net: kept frames survive the device's failure, but no reset, hand-off or start", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<> d;
  const int how = GENERATE(0, 1, 2, 3);
  CAPTURE(how);
  REQUIRE(d.start(m, m.where(4)));
  const u8* at = nullptr;
  usize size = 0;
  model.arrive(frame_of(60, 1));
  const net::kept_frame one = keep(d, at, size);
  model.arrive(frame_of(60, 2));
  const net::kept_frame other = keep(d, at, size);
  if (how == 0) {
    model.set_needs_reset();
    CHECK(d->check().error() == errc::needs_reset);
    CHECK(std::vector<u8>(at, at + size) == frame_of(60, 2));
    REQUIRE(d->give_back(other));
    REQUIRE(d.start(m, m.where(4)));
  }
  if (how == 1) REQUIRE(d->reset());
  if (how == 2) REQUIRE(d->hand_off());
  if (how == 3) REQUIRE(d.start(m, m.where(4)));
  CHECK(d->give_back(one).error() == errc::stale_handle);
  CHECK(d->give_back(other).error() == errc::stale_handle);
  REQUIRE(d.start(m, m.where(4)));
  model.arrive(frame_of(60, 3));
  const net::kept_frame later = keep(d, at, size);
  CHECK(later.slot == one.slot);
  CHECK(d->give_back(one).error() == errc::stale_handle);
  REQUIRE(d->give_back(later));
}

TEST_CASE("net: while a frame is shown the program may send, but not receive or start", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.arrive(frame_of(60, 1));
  model.arrive(frame_of(60, 2));
  REQUIRE(d->receive_with([&](const net::frame&) {
    REQUIRE(send(d, frame_of(70)));
    (void)d->poll();
    seen_frame none;
    CHECK(receive(d, none) == errc::in_use);
    return after_look::done;
  }));
  CHECK(received(d) == frame_of(60, 2));
  const int how = GENERATE(0, 1, 2);
  model.arrive(frame_of(60, 3));
  CHECK(d->receive_with([&](const net::frame&) {
           if (how == 0) REQUIRE(d->reset());
           else REQUIRE(d.start(m, m.where(4)));
           return how == 1 ? after_look::keep : after_look::done;
         }).error() == errc::in_use);
  if (how == 0) REQUIRE(d.start(m, m.where(4)));
  for (u32 i = 0; i < 40; ++i) {
    model.arrive(frame_of(60, i));
    CHECK(received(d) == frame_of(60, i));
  }
  model.arrive(frame_of(60, 3));
  CHECK(d->receive_with([&](const net::frame&) {  // the device fails meanwhile
    model.set_needs_reset();
    CHECK(d->check().error() == errc::needs_reset);
    return after_look::done;
  }));
  CHECK(d->poll().error() == errc::not_started);
}

TEST_CASE("net: an interrupt is requested when nothing is present, and a frame raises one", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5});
  for (unsigned bit :
       GENERATE(as<std::vector<unsigned>>{}, std::vector<unsigned>{}, std::vector{29u}, std::vector{29u, 34u}))
    model.offer({bit});
  net_driver<queue<8>> d;
  REQUIRE(d.start(m, m.where(4)));
  model.arrive(frame_of(60));
  CHECK(model.interrupts() == 0);
  CHECK(d->arm());
  CHECK(*d->poll());
  CHECK(d->arm());  // not received yet
  CHECK(received(d) == frame_of(60));
  CHECK(!d->arm());
  model.arrive(frame_of(61));
  CHECK(model.interrupts() == 1);
  CHECK(received(d) == frame_of(61));
  d->disarm();
  model.arrive(frame_of(62));
  CHECK(model.interrupts() == 1);
  CHECK(received(d) == frame_of(62));
}

TEST_CASE("net: receive buffers are returned to the device a few at a time", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5}, u16{64});
  net_driver<split_queue<64>, net::options{}> d;
  REQUIRE(d.start(m, m.where(4)));
  const u32 before = model.doorbells(0);
  for (u32 i = 0; i < 64; ++i) {
    model.arrive(frame_of(60, i));
    CHECK(received(d) == frame_of(60, i));
  }
  CHECK(model.doorbells(0) == before + 4);
  model.arrive(frame_of(60));
  CHECK(received(d) == frame_of(60));
  CHECK(model.doorbells(0) == before + 4);
  seen_frame none;
  CHECK(receive(d, none) == errc::not_ready);
  CHECK(model.doorbells(0) == before + 5);
}

TEST_CASE("net: the name of a frame that was shown and not kept is stale, and names no later frame", "[net]") {
  constexpr net::options one{.receive_buffers = 1, .send_buffers = 1};
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<split_queue<8>, one> d;
  REQUIRE(d.start(m, m.where(4)));
  net::kept_frame old{};
  SECTION("done with") {
    seen_frame first;
    model.arrive(frame_of(60));
    REQUIRE(receive(d, first) == errc::ok);
    (void)d->poll();
    (void)model.step();
    old = first.name;
  }
  SECTION("the device was started again inside the callback") {
    model.arrive(frame_of(60));
    (void)d->receive_with([&](const net::frame& f) {
      old = f.name;
      REQUIRE(d->reset());
      REQUIRE(d.start(m, m.where(4)));
      return net::after_look::keep;
    });
  }
  seen_frame second;
  model.arrive(frame_of(61));
  REQUIRE(receive(d, second, net::after_look::keep) == errc::ok);
  CHECK(d->give_back(old).error() == errc::stale_handle);
  CHECK(d->give_back(second.name));
}

TEST_CASE("net: a wait ends when its own condition has taken the device down", "[net]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  const bool hands_off = GENERATE(false, true);
  u32 calls = 0;
  CHECK(d->wait_until(waiting::peer, [&] {
    if (++calls != 3) return false;
    if (hands_off) {
      CHECK(d->hand_off());
    } else {
      model.set_needs_reset();
      CHECK(d->check().error() == errc::needs_reset);
    }
    return false;
  }) == errc::not_started);
  CHECK(calls == 3);
}
