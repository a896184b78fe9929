// SPDX-License-Identifier: MIT
// Devices that lie to the network driver: rings, lengths, every field of a header, values that change while they are
// read. Every call ends, no memory but a buffer's is read, and after a start everything works.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>

#include <random>

#include <virtio/testing/hooked_barriers.hpp>

#include "lies.hpp"
#include "net.hpp"

using namespace virtio;
using rig::frame_of;
using rig::net_driver;
using rig::net_model;
using rig::received;
using rig::seen_frame;
using rig::send;
using offers = rig::net_offers;

namespace {

using hooked_platform = virtio::testing::strict_platform<hooked_barriers>;

template <class Driver>
errc call(Driver& d, int which) {
  seen_frame one;
  switch (which) {
    case 0: return d->poll().error();
    case 1: return receive(d, one);
    case 2: return d->wait_until(waiting::peer, [] { return false; });
    default:
      for (u32 i = 0; i < 9; ++i)
        if (const errc got = send(d, frame_of(60)).error(); got != errc::ok && got != errc::queue_full) return got;
      return errc::ok;
  }
}

// That it is well.
template <class Driver>
void check_works(rig::machine& m, Driver& d, net_model& model) {
  model.falsify = nullptr;
  model.used_length.reset();
  model.claims.reset();
  model.listens = true;
  model.wire.clear();
  model.sent.clear();
  model.release();
  model.put_config(6, 1, 2);
  REQUIRE(d.start(m, m.where(4)));
  for (u32 i = 0; i < 40; ++i) {
    model.arrive(frame_of(60 + 30 * i, i));
    CHECK(received(d) == frame_of(60 + 30 * i, i));
    REQUIRE(send(d, frame_of(60 + 30 * i, i)));
    REQUIRE(d->poll());
    (void)model.step();
  }
  CHECK(model.sent.size() == 40);
}

}  // namespace

TEST_CASE("hostile: a network device's ring that lies takes it down, in whatever call it is seen, and a start mends it",
          "[net][hostile]") {
  const u16 lying = GENERATE(u16{0}, u16{1});
  const int which = GENERATE(0, 1, 2), calling = GENERATE(0, 1, 2, 3);
  CAPTURE(lying, which, calling);
  if (lying == 0 && calling == 3) return;  // the other queue
  if (lying == 1 && calling == 1) return;
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(send(d, frame_of(60)));
  d->flush();
  m.expect_objections = true;  // the device remembers other positions than it showed
  rig::lie(model.ring(lying), which, 0);
  CHECK(call(d, calling) == errc::device_misbehaved);
  CHECK(model.status() == 0);
  CHECK(m.memory.live() == 0);
  CHECK(call(d, calling) == errc::not_started);
  check_works(m, d, model);
}

TEST_CASE(
    "hostile: a header that says a frame is in more buffers than there are takes the device down; fewer lead nowhere",
    "[net][hostile][net-buffers]") {
  const unsigned claims = GENERATE(0u, 2u, 3u, 4u, 5u, 7u, 8u, 9u, 16u, 255u, 256u, 0x7fffu, 0x8000u, 0xffffu);
  CAPTURE(claims);
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{5, 15, 16});
  net_driver<split_queue<8>, rig::small_buffers> d;
  REQUIRE(d.start(m, m.where(4)));
  model.claims = claims;
  u32 shown = 0;
  errc last = errc::ok;
  for (u32 i = 0; i < 400 && last != errc::device_misbehaved && last != errc::not_started; ++i) {
    model.arrive(frame_of(14 + i % 470, i));
    seen_frame one;
    last = receive(d, one);
    if (last == errc::ok) ++shown;
    if (last == errc::ok) CHECK(one.data.size() <= 1518);
    (void)d->poll();
    (void)model.step();
  }
  if (claims > 8) {
    CHECK(last == errc::device_misbehaved);
    CHECK(d->poll().error() == errc::not_started);
  } else {
    CHECK(d->counts().no_buffers == (claims == 0 ? 400 : 0));
    if (claims == 0 || claims > 4) CHECK(shown == 0);
    else CHECK(shown > 50);
    CHECK((claims > 4) == (d->counts().too_long >= 50));
  }
  check_works(m, d, model);
}

TEST_CASE("hostile: a used length may be anything: what is shown was in the buffer", "[net][hostile]") {
  const bool merges = GENERATE(false, true);
  const u32 length = GENERATE(0u, 1u, 9u, 10u, 11u, 12u, 13u, 25u, 26u, 1000u, 1529u, 1530u, 1531u, 1536u, 65535u,
                              65536u, 0x80000000u, 0xffffffffu);
  CAPTURE(merges, length);
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, merges ? offers{5, 15} : offers{5});
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.used_length = length;
  for (u32 i = 0; i < 40; ++i) {
    model.arrive(frame_of(60, i));
    seen_frame one;
    const errc got = receive(d, one);
    CHECK((got == errc::ok) == (length >= 26));
    if (got == errc::ok) CHECK(one.data.size() == std::min(length - 12, 1518u));
    (void)d->poll();
  }
  check_works(m, d, model);
}

TEST_CASE("hostile: a buffer that was used and not written has no header of an earlier frame",
          "[net][hostile][net-header]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{1, 5}, u16{1});
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.arrive(frame_of(100), net_model::header{.flags = 2, .gso_type = 0});
  seen_frame one;
  REQUIRE(receive(d, one) == errc::ok);
  CHECK(one.sum == net::checksum::right);
  model.falsify = [](std::size_t, std::vector<u8>& data) { data.clear(); };
  model.used_length = 112;
  for (u32 i = 0; i < 16; ++i) {
    (void)d->poll();
    model.arrive(frame_of(100));
    REQUIRE(receive(d, one) == errc::ok);
    CHECK(one.sum == net::checksum::unknown);
  }
}

TEST_CASE("hostile: every field of a received header is read once, and what it becomes meanwhile does not count",
          "[net][hostile]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4, offers{1, 5, 15});
  rig::driver<net::device<hooked_platform, rig::any_pci, split_queue<8>, rig::small_buffers>> d;
  REQUIRE(d->start(hooked_platform{&m.memory}, m.where(4), d.storage()));
  for (u32 i = 0; i < 200; ++i) {
    model.arrive(frame_of(1000, i), net_model::header{.flags = 1, .csum_start = 34, .csum_offset = 16});
    std::vector<const volatile void*> seen;
    const u8* const from = d.storage().data;
    const usize rings = 2 * split_queue<8>::ring<hooked_barriers>::dma_bytes;
    barrier_hooks::mine().after_load = [&](const volatile void* at, usize width) {
      if (at < from + rings || at >= from + d.storage().size) return;  // of the rings
      for (const volatile void* before : seen) CHECK(before != at);
      seen.push_back(at);
      const_cast<volatile u8*>(static_cast<const volatile u8*>(at))[0] = 0xff;  // the device writes it again
      const_cast<volatile u8*>(static_cast<const volatile u8*>(at))[width - 1] = 0xff;
    };
    seen_frame one;
    REQUIRE(receive(d, one) == errc::ok);
    barrier_hooks::clear();
    CHECK(seen.size() == 5);  // flags, gso_type, csum_start, csum_offset, num_buffers
    CHECK(one.data == frame_of(1000, i));
    CHECK((one.sum == net::checksum::missing && one.compute.start == 34 && one.compute.offset == 16));
    (void)model.step();
  }
  barrier_hooks::clear();
}

TEMPLATE_TEST_CASE("hostile: random headers, lengths, configurations and pauses leave a network driver in one piece",
                   "[net][hostile]", split_queue<8>, packed_queue<8>) {
  const u32 seed = GENERATE(Catch::Generators::range(1u, 25u));
  CAPTURE(seed);
  std::mt19937 random{seed};
  const auto below = [&](u32 bound) { return static_cast<u32>(random() % bound); };
  rig::machine m;
  m.expect_objections = true;
  auto& model = m.add<net_model>(seat::modern, 4, offers{0, 1, 5, 15, 16, 29, 34}, u16{16});
  net_driver<TestType, rig::small_buffers> d;
  model.falsify = [&](std::size_t, std::vector<u8>& data) {
    switch (below(8)) {
      case 0: data.resize(below(600)); break;
      case 1:
        for (usize i = 0; i < data.size() && i < 12; ++i) data[i] = static_cast<u8>(random());
        break;
      case 2:
        if (data.size() > 11) data[10] = static_cast<u8>(below(6));
        break;
      case 3:
        if (!data.empty()) data[below(static_cast<u32>(std::min<usize>(data.size(), 12)))] = static_cast<u8>(random());
        break;
      default: break;
    }
  };
  std::vector<net::kept_frame> kept;
  for (u32 turn = 0; turn < 600; ++turn) {
    if (d->check().error() == errc::not_started) {
      model.put_config(6, 1, 2);
      REQUIRE(d.start(m, m.where(4)));
    }
    switch (below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
        model.arrive(frame_of(below(2000), turn),
                     net_model::header{.flags = below(4), .csum_start = below(70), .csum_offset = below(70)});
        break;
      case 4: model.set_link(below(2) != 0); break;
      case 5: model.listens = below(2) != 0; break;
      case 6:
        if (below(2) != 0) model.used_length = static_cast<u32>(random()) >> below(32);
        else model.used_length.reset();
        break;
      case 7:
        if (below(4) == 0) model.hold();
        else model.release(), model.complete_all_backwards();
        break;
      case 8: {
        seen_frame one;
        if (receive(d, one, net::after_look::keep) == errc::ok) kept.push_back(one.name);
        break;
      }
      case 9:
        if (kept.empty()) break;
        (void)d->give_back(kept[below(static_cast<u32>(kept.size()))]);
        break;
      case 10: (void)(below(20) == 0 ? d->reset() : result<void>{}); break;
      case 11: (void)d->arm(); break;
      case 12: (void)send(d, frame_of(below(1600)), {static_cast<u16>(below(80)), static_cast<u16>(below(80))}); break;
      default: {
        const int which = static_cast<int>(below(4));
        (void)call(d, which == 2 ? 0 : which);
      }
    }
    if (below(2) != 0) (void)model.step();
    REQUIRE(d->mac() == net::mac_address{{0x52, 0x54, 0, 0x12, 0x34, 0x56}});
    REQUIRE(d->facts().mtu == 1500);
  }
  model.complete_all();
  model.clear_violations();
  check_works(m, d, model);
}

TEST_CASE("hostile: a flood of frames that are none ends no call late", "[net][hostile]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  model.mode = net_model::run::at_doorbell;
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  u32 sent = 0;
  model.falsify = [&](std::size_t, std::vector<u8>&) {
    if (++sent < 1'000'000) model.wire.push_back({{}, frame_of(5)});
  };
  model.arrive(frame_of(5));
  REQUIRE(d->poll());
  REQUIRE(sent < 100);
  seen_frame none;
  CHECK(receive(d, none) == errc::not_ready);
  REQUIRE(sent < 100);
  CHECK(d->wait_until(waiting::peer, [] { return false; }) == errc::peer_silent);
  REQUIRE(send(d, frame_of(60)));
  d->flush();
  CHECK(model.sent.size() == 1);
}

TEST_CASE("hostile: an address and a status that never hold still are none", "[net][hostile]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<> d;
  model.generation_every = 1;
  CHECK(d.start(m, m.where(4)).error() == errc::device_misbehaved);
  CHECK(d->why().why == verdict::config_unreadable);
  CHECK(m.memory.live() == 0);
  model.generation_every = 0;
  check_works(m, d, model);
}

TEST_CASE("hostile: a network device that never confirms its reset keeps the driver's storage and nothing else",
          "[net][hostile]") {
  rig::machine m;
  auto& model = m.add<net_model>(seat::modern, 4);
  net_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.arrive(frame_of(60));
  const u8* at = nullptr;
  usize size = 0;
  const net::kept_frame one = rig::keep(d, at, size);
  model.reset_reads = net_model::forever;
  model.set_needs_reset();
  CHECK(d->check().error() == errc::device_broken);
  CHECK(send(d, frame_of(60)).error() == errc::not_started);
  CHECK(std::vector<u8>(at, at + size) == frame_of(60));
  REQUIRE(d->give_back(one));
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  model.reset_reads = 0;
  check_works(m, d, model);
}
