// SPDX-License-Identifier: MIT
// The driver of the echo device: it returns the sent data, and nothing else.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "echo.hpp"

using namespace virtio;
using rig::echo_driver;
using rig::echo_model;
using offers = rig::echo_offers;
using virtio::testing::strict_machine;

namespace {

std::vector<u8> said(usize bytes) {
  std::vector<u8> text(bytes);
  for (usize i = 0; i < bytes; ++i) text[i] = static_cast<u8>(i * 7 + i / 256 + 1);
  return text;
}

}  // namespace

TEST_CASE("echo: the sent data is returned, in as many requests as necessary", "[echo]") {
  rig::machine m;
  auto& model = m.add<echo_model>(GENERATE(seat::modern, seat::crosvm), 4, offers{}, u32{64});
  echo_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->largest() == 64);
  const auto text = said(200);
  std::vector<u8> room(250);
  REQUIRE(d->echo(text, room));
  CHECK(std::equal(text.begin(), text.end(), room.begin()));
  CHECK(model.served() == 4);
}

TEMPLATE_TEST_CASE("echo: every ring format works, and scattered buffers take more requests", "[echo][packed]",
                   split_queue<8>, packed_queue<8>, queue<8>, (split_queue<8, ring_options{.indirect = 8}>),
                   (packed_queue<5, packed_options{.indirect = 8}>)) {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{0, 28, 34}, u32{64}, GENERATE(u16{2}, u16{8}));
  m.memory.largest_piece = GENERATE(u32{1}, u32{7}, u32{4096});
  echo_driver<TestType> d;
  REQUIRE(d.start(m, m.where(4)));
  const auto text = said(100);
  for (int round = 0; round < 3; ++round) {
    std::vector<u8> room(100);
    REQUIRE(d->echo(text, room));
    CHECK(room == text);
  }
  CHECK(model.served() >= (m.memory.largest_piece == 1 ? 3 * 25 : 3 * 2));
  if (model.served() >= 16) CHECK(*d->next_event() == 16);
}

TEST_CASE("echo: a queue of either format works on a device without packed rings", "[echo]") {
  rig::machine m;
  m.add<echo_model>(seat::modern, 4, offers{});
  echo_driver<queue<8>> d;
  REQUIRE(d.start(m, m.where(4)));
  const auto text = said(10000);
  std::vector<u8> room(10000);
  REQUIRE(d->echo(text, room));
  CHECK(room == text);
}

TEST_CASE("echo: an invalid call is rejected, and takes no slot", "[echo]") {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{}, u32{16});
  echo_driver<> d;
  u8 what[17]{}, room[17]{};
  CHECK(d->submit(what, room).error() == errc::not_started);
  CHECK(d->echo(what, room).error() == errc::not_started);
  CHECK(d->next_event().error() == errc::not_started);
  CHECK_FALSE(d->arm());
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->submit({}, room).error() == errc::invalid_argument);
  CHECK(d->submit(what, {}).error() == errc::invalid_argument);
  CHECK(d->submit(what, room).error() == errc::out_of_range);
  CHECK(d->echo(what, bytes{room, 16}).error() == errc::invalid_argument);
  for (u64 first = 0; first < 2; ++first) {  // of the two buffers
    m.memory.fail_map = m.memory.maps + first;
    CHECK(d->submit(const_bytes{what, 16}, room).error() == errc::dma_unreachable);
    CHECK(m.memory.live() == 0);
  }
  m.memory.largest_piece = 1;
  CHECK(d->submit(const_bytes{what, 5}, room).error() == errc::too_many_pieces);
  CHECK(m.memory.live() == 0);
  m.memory.largest_piece = 16;
  for (int i = 0; i < 4; ++i) REQUIRE(d->submit(const_bytes{what, 1}, bytes{room + i, 1}));
  CHECK(d->submit(const_bytes{what, 1}, room).error() == errc::queue_full);
  d->kick();
  CHECK(d->in_flight() == 4);
  REQUIRE(d->reset());
  while (d->next_completion()) {}
  CHECK(d->in_flight() == 0);
  CHECK(model.served() == 0);
}

TEST_CASE("echo: a device that cannot be driven ends the start with a verdict", "[echo]") {
  rig::machine m;
  echo_driver<> d;
  SECTION("only the legacy interface") {
    m.add<echo_model>(seat::legacy, 4);
    CHECK(d.start(m, m.where(4)).error() == errc::unsupported);
    CHECK(d->why().why == verdict::feature_missing);
    CHECK(d->why().feature == static_cast<u8>(feature::version_1));
  }
  SECTION("no configuration") {
    m.add<echo_model>(seat::vmd, 4);
    CHECK_FALSE(d.start(m, m.where(4)));
    CHECK(d->why().why == verdict::config_unreadable);
  }
  SECTION("a largest request of 0 bytes") {
    auto& model = m.add<echo_model>(seat::modern, 4, offers{0}, u32{0});
    CHECK(d.start(m, m.where(4)).error() == errc::device_misbehaved);
    CHECK(d->why().why == verdict::config_unreadable);
    CHECK(model.status() == 0);
    model.put_config(0, 16, 4);
    CHECK(d.start(m, m.where(4)));
  }
  SECTION("a request does not fit into its queue") {
    m.add<echo_model>(seat::modern, 4, offers{}, u32{16}, u16{1});
    CHECK(d.start(m, m.where(4)).error() == errc::unsupported);
    CHECK(d->why().why == verdict::queue_too_small);
  }
  SECTION("events without a queue") {
    m.add<echo_model>(seat::modern, 4, offers{}).offer({0});
    CHECK(d.start(m, m.where(4)).error() == errc::not_found);
    CHECK(d->why().why == verdict::queue_missing);
    CHECK(d->why().queue == 1);
  }
  SECTION("another device type") {
    m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{8});
    CHECK(d.start(m, m.where(4)).error() == errc::wrong_device);
  }
}

TEST_CASE("echo: several requests are sent by one doorbell, and complete in any order", "[echo]") {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{0, 28});
  echo_driver<split_queue<8, ring_options{.indirect = 8}>> d;
  REQUIRE(d.start(m, m.where(4)));
  model.hold();
  const auto text = said(8);
  u8 rooms[8][8]{};
  token asked[8]{};
  for (usize i = 0; i < 8; ++i) {
    const auto one = d->submit(const_bytes{&text[i], 8 - i}, bytes{rooms[i], i < 4 ? usize{8} : usize{2}}, i);
    REQUIRE(one);
    asked[i] = *one;
  }
  CHECK(model.doorbells(0) == 0);
  CHECK(d->next_completion().error() == errc::not_ready);
  d->kick();
  CHECK(model.doorbells(0) == 1);
  (void)model.step();
  model.complete_all_backwards();
  model.release();
  const auto third = d->wait(asked[3]);  // the five before it are deferred
  REQUIRE(third);
  CHECK((third->cookie == 3 && third->length == 5 && third->status == errc::ok && third->which == asked[3]));
  CHECK(d->wait(asked[3]).error() == errc::stale_handle);
  u8 other[1]{};
  REQUIRE(d->echo(const_bytes{text}.part(0, 1), other));  // a blocking call in between
  CHECK(other[0] == text[0]);
  u64 seen = 0;
  for (int i = 0; i < 7; ++i) {
    const auto one = d->next_completion();
    REQUIRE(one);
    seen |= u64{1} << one->cookie;
    CHECK(one->length == std::min<u64>(8 - one->cookie, one->cookie < 4 ? 8 : 2));
    CHECK(std::equal(rooms[one->cookie], rooms[one->cookie] + one->length,
                     text.begin() + static_cast<std::ptrdiff_t>(one->cookie)));
  }
  CHECK(seen == 0xf7);
  CHECK(d->wait_next().error() == errc::not_ready);
  CHECK(d->in_flight() == 0);
}

TEST_CASE("echo: every sixteenth request makes an event, and events without a buffer are lost", "[echo]") {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{0, 34});
  echo_driver<queue<8>> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->features().has(echo::feature::events));
  const auto requests = [&](int count) {
    u8 what[1]{7}, room[1]{};
    for (int i = 0; i < count; ++i) REQUIRE(d->echo(what, room));
  };
  requests(15);
  CHECK_FALSE(d->arm());
  CHECK(d->next_event().error() == errc::not_ready);
  requests(1);
  CHECK(d->arm());
  CHECK(*d->next_event() == 16);
  CHECK(d->next_event().error() == errc::not_ready);
  CHECK_FALSE(d->arm());
  requests(9 * 16);
  CHECK(model.events_lost() == 1);
  for (u32 i = 2; i < 10; ++i) CHECK(*d->next_event() == 16 * i);
  CHECK(d->next_event().error() == errc::not_ready);
  requests(16);
  CHECK(*d->next_event() == 16 * 11);
  REQUIRE(d->reset());
  CHECK(d->next_event().error() == errc::not_started);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->next_event().error() == errc::not_ready);
  requests(16);
  CHECK(*d->next_event() == 16);
}

TEST_CASE("echo: a device that offers no events has none", "[echo]") {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{});
  echo_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK_FALSE(d->features().has(echo::feature::events));
  u8 what[1]{7}, room[1]{};
  for (int i = 0; i < 40; ++i) REQUIRE(d->echo(what, room));
  CHECK(d->next_event().error() == errc::unsupported);
  CHECK_FALSE(d->arm());
  d->disarm();
  CHECK(model.served() == 40);
}

TEST_CASE("echo: one object drives a device with events, then one without", "[echo]") {
  rig::machine m;
  auto& with = m.add<echo_model>(seat::modern, 4, offers{0});
  m.add<echo_model>(seat::modern, 5, offers{});
  echo_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 what[1]{7}, room[1]{};
  REQUIRE(d->submit(what, room));
  d->kick();
  REQUIRE(d.start(m, m.where(5)));
  CHECK(with.status() == 0);
  CHECK(m.memory.live() == 0);
  CHECK(d->next_event().error() == errc::unsupported);
  CHECK(d->echo(what, room));
}

TEST_CASE("echo: IN_ORDER is declined, since a batch skips used lengths", "[echo]") {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{35});
  model.batch_in_order = true;
  echo_driver<split_queue<8, ring_options{.in_order = true}>> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 what[3]{1, 2, 3}, rooms[3][3]{};
  for (auto& room : rooms) REQUIRE(d->submit(what, room));
  for (int i = 0; i < 3; ++i) {
    const auto one = d->wait_next();
    REQUIRE(one);
    CHECK(one->length == 3);
  }
}

TEST_CASE("echo: after the device is down, its memory belongs to the program", "[echo]") {
  rig::machine m;
  m.add<echo_model>(seat::modern, 4, offers{0});
  echo_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  if (GENERATE(false, true)) REQUIRE(d->reset());
  else REQUIRE(d->hand_off());
  const dma_region all = d.storage();
  std::fill(all.data, all.data + all.size, u8{0xcc});
  CHECK_FALSE(d->arm());
  d->disarm();
  d->kick();
  CHECK(d->next_event().error() == errc::not_started);
  CHECK(d->next_completion().error() == errc::not_started);
  CHECK(d->check().error() == errc::not_started);
  CHECK(std::all_of(all.data, all.data + all.size, [](u8 one) { return one == 0xcc; }));
  CHECK(d.start(m, m.where(4)));
}

TEST_CASE("echo: a used length beyond the sent bytes is cut, and a shorter one is an error of a blocking call",
          "[echo][hostile]") {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{});
  echo_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  const auto text = said(16);
  std::vector<u8> room(32, 1);
  model.used_length = 1000;
  REQUIRE(d->submit(text, room, 5));
  auto one = d->wait_next();
  REQUIRE(one);
  CHECK((one->length == 16 && one->cookie == 5));
  CHECK(std::equal(text.begin(), text.end(), room.begin()));
  CHECK(std::all_of(room.begin() + 16, room.end(), [](u8 was) { return was == 1; }));
  model.used_length = 3;
  REQUIRE(d->submit(text, room));
  one = d->wait_next();
  REQUIRE(one);
  CHECK((one->length == 3 && room[2] == text[2] && room[3] == strict_machine::poison));
  CHECK(d->echo(text, room).error() == errc::io_error);
  model.used_length.reset();
  CHECK(d->echo(text, room));
}

TEMPLATE_TEST_CASE("echo: a device that misbehaves or fails is reset, and a later start succeeds",
                   "[echo][hostile][packed]", split_queue<8>, packed_queue<8>) {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{0, 34});
  echo_driver<TestType> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 what[4]{1, 2, 3, 4}, other[4]{}, room[4]{};
  model.hold();
  REQUIRE(d->submit(what, other, 99));
  d->kick();
  (void)model.step();
  const auto ghost = [&](usize queue) { model.ring_in_use(queue).push(7, 0), model.ring_in_use(queue).publish(); };
  SECTION("no answer") { CHECK(d->echo(what, room).error() == errc::timed_out); }
  SECTION("NEEDS_RESET during a blocking call") {
    model.set_needs_reset();
    CHECK(d->echo(what, room).error() == errc::needs_reset);
  }
  SECTION("NEEDS_RESET, seen by check") {
    model.set_needs_reset();
    CHECK(d->check().error() == errc::needs_reset);
  }
  SECTION("an id that is not in flight, during a blocking call") {
    ghost(0);
    CHECK(d->echo(what, room).error() == errc::device_misbehaved);
  }
  SECTION("an id that is not in flight, seen by polling") {
    ghost(0);
    CHECK(d->next_completion().error() == errc::device_misbehaved);
  }
  SECTION("an event buffer that is not in flight") {
    model.ring_in_use(1).push(8, 4), model.ring_in_use(1).publish();
    CHECK(d->next_event().error() == errc::device_misbehaved);
  }
  SECTION("an invalid event") {
    const u32 length = GENERATE(u32{0}, u32{3});
    model.used_length = length;
    model.serve(1);
    model.ring_in_use(1).push(0, length), model.ring_in_use(1).publish();
    CHECK(d->next_event().error() == errc::device_misbehaved);
    model.used_length.reset();
  }
  CHECK(model.status() == 0);
  CHECK(m.memory.live() == 2);  // the program's request, until its completion is taken
  CHECK(d->echo(what, room).error() == errc::not_started);
  CHECK(d->next_event().error() == errc::not_started);
  const auto back = d->next_completion();
  REQUIRE(back);
  CHECK((back->cookie == 99 && back->status == errc::canceled && back->length == 0));
  CHECK(m.memory.live() == 0);
  CHECK(d->next_completion().error() == errc::not_started);
  model.release();
  REQUIRE(d.start(m, m.where(4)));
  for (int i = 0; i < 16; ++i) REQUIRE(d->echo(what, room));
  CHECK(*d->next_event() == 16);
}

TEST_CASE("echo: a device that does not reset keeps the buffers, and the error reports it", "[echo][hostile]") {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{0});
  model.hold();
  echo_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  model.reset_reads = device_model::forever;
  u8 what[4]{1, 2, 3, 4}, other[4]{}, room[4]{};
  REQUIRE(d->submit(what, other, 99));
  CHECK(d->echo(what, room).error() == errc::device_broken);
  CHECK(m.memory.live() == 4);
  CHECK(d->next_completion().error() == errc::device_broken);
  CHECK(d->submit(what, room).error() == errc::not_started);
  CHECK(d->next_event().error() == errc::not_started);
  CHECK(d->reset().error() == errc::device_broken);
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(d->why().why == verdict::former_device_stuck);
  CHECK(m.memory.live() == 4);
  model.reset_reads = 0;  // from now on it resets
  REQUIRE(d->reset());
  const auto back = d->next_completion();
  REQUIRE(back);
  CHECK((back->cookie == 99 && back->status == errc::canceled));
  CHECK(d->next_completion().error() == errc::not_started);  // the request of the blocking call has no completion
  CHECK(m.memory.live() == 0);
  model.release();
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->echo(what, room));
}

TEST_CASE(
    "echo: an invalid entry in the event queue ends requests, too; if the device keeps them, the error reports it at once",
    "[echo][hostile]") {
  rig::machine m;
  auto& model = m.add<echo_model>(seat::modern, 4, offers{0});
  model.hold();
  echo_driver<> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 what[4]{}, room[4]{};
  const bool asked = GENERATE(false, true);
  if (asked) {
    REQUIRE(d->submit(what, room, 99));
    d->kick();
    (void)model.step();
  }
  model.ring(1).push(8, 4), model.ring(1).publish();
  model.reset_reads = device_model::forever;
  CHECK(d->next_event().error() == (asked ? errc::device_broken : errc::device_misbehaved));
  CHECK(d->reset().error() == errc::device_broken);
  model.reset_reads = 0;
  REQUIRE(d->reset());
  CHECK(bool{d->next_completion()} == asked);
  CHECK(m.memory.live() == 0);
}
