// SPDX-License-Identifier: MIT
// Hostile devices against whole drivers: a reset returns the buffers, every call ends, and the next start works.
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <random>

#include "disk.hpp"
#include "entropy.hpp"
#include "lies.hpp"

using namespace virtio;

namespace {

using queue_type = split_queue<8, ring_options{.ring_entries = 256}>;

}  // namespace

TEST_CASE(
    "hostile: after an invalid ring entry a blocking call writes FAILED, resets the device before it returns, and a start succeeds [INIT-12][STATUS-03]",
    "[blk][hostile]") {
  const int which = GENERATE(0, 1, 2, 3);
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  model.hold();
  rig::disk<queue_type> d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> other(512), mine(512);
  REQUIRE(d->submit_read(1, other, 11));
  m.memory.on_wait = [&](waiting why, u64) {
    if (why == waiting::request) rig::lie(model.ring(), which, 7);
  };
  m.function(4).clear_log();
  CHECK(d->read(0, mine).error() == errc::device_misbehaved);
  CHECK(m.function(4).log().find("=0x8") != std::string::npos);  // FAILED, before the reset
  CHECK(model.status() == 0);
  CHECK(d->read(0, mine).error() == errc::not_started);  // down, and the device has no memory
  const auto back = d->next_completion();
  REQUIRE(back);
  CHECK(back->cookie == 11);
  CHECK(back->status == errc::canceled);
  CHECK(d->next_completion().error() == errc::not_started);
  CHECK(m.memory.live() == 0);
  model.release();
  m.memory.on_wait = [&](waiting, u64) { (void)model.step(); };
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->read(0, mine));
}

TEST_CASE(
    "hostile: polling reports the invalid entry once, then returns every buffer, then reports that the device is down",
    "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  rig::disk<queue_type> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 a[512], b[512];
  REQUIRE(d->submit_read(0, a, 1));
  REQUIRE(d->submit_read(1, b, 2));
  d->kick();
  rig::lie(model.ring(), 0, 7);
  CHECK(d->next_completion().error() == errc::device_misbehaved);
  CHECK(d->next_completion()->status == errc::canceled);
  CHECK(d->next_completion()->status == errc::canceled);
  CHECK(d->next_completion().error() == errc::not_started);
  CHECK(d->submit_read(0, a).error() == errc::not_started);
  CHECK(d->check().error() == errc::not_started);
  REQUIRE(d->reset());
  CHECK(d->submit_read(0, a).error() == errc::not_started);
}

TEST_CASE("hostile: drain ends, whatever the device does", "[blk][hostile]") {
  const int which = GENERATE(0, 1, 2, 3, 4);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.hold();
  rig::disk<queue_type> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 a[512], b[512];
  REQUIRE(d->submit_read(0, a, 1));
  REQUIRE(d->submit_read(1, b, 2));
  d->kick();
  if (which < 4) rig::lie(model.ring(), which, 7);
  int back = 0;
  const auto end = d->drain([&](blk::done one) { back += one.status == errc::canceled; });
  CHECK(end.error() == (which < 4 ? errc::device_misbehaved : errc::timed_out));
  CHECK(back == 2);
}

TEST_CASE("hostile: every call of a driver ends after its device was removed", "[blk][hostile]") {
  rig::machine m;
  m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  rig::disk<queue_type> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  REQUIRE(d->read(0, sector));
  m.bus.unplug({0, 0, 4, 0});
  m.running = false;
  // all ones: it requires a reset, never confirms one, and keeps the storage
  CHECK(d->check().error() == errc::device_broken);
  CHECK(d->read(0, sector).error() == errc::not_started);  // but not the sector
  CHECK(d->hand_off().error() == errc::device_broken);
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  rig::disk<queue_type> fresh;
  CHECK(fresh.start(m, m.where(4)).error() == errc::wrong_device);
}

TEST_CASE("hostile: an invalid status byte is an I/O error of its request and has no other effect", "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  for (u32 i = 0; i < 256; ++i) model.claim[i] = static_cast<u8>(i);
  rig::disk<queue_type> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  for (u32 i = 0; i < 256; ++i) {
    const auto r = d->read(0, sector);
    const errc want = i == 0 ? errc::ok : i == 2 ? errc::unsupported : errc::io_error;
    CHECK(r.error() == want);
  }
}

TEST_CASE("hostile: a configuration of all ones has no harmful effect", "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, rig::blk_options{.size_max = 1, .seg_max = 1, .blk_size = 1});
  std::fill(model.config().begin(), model.config().end(), u8{0xff});
  rig::disk<queue_type> d;
  CHECK(d.start(m, m.where(4)).error() == errc::unsupported);  // not a multiple of 512
  CHECK(d->why().why == verdict::block_size_invalid);
  model.put_config(0x14, 512, 4);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->capacity() == ~u64{0});
  u8 sector[512];
  // the device reports that it has that sector
  CHECK(d->read(~u64{0} - 1, bytes{sector, 512}).error() != errc::out_of_range);
  CHECK(d->largest_request() % 512 == 0);
  m.expect_objections = true;  // the model checks the real size
  (void)d->reset();
  while (d->next_completion()) {}
}

TEST_CASE("hostile: only what the device wrote reaches the caller, whatever it claims", "[rng][hostile]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  std::mt19937 random{11};
  for (int i = 0; i < 300; ++i) model.answers.push_back(static_cast<u32>(random() % 40));
  std::vector<u8> data(64);
  u64 position = 0;
  for (int i = 0; i < 50; ++i) {
    REQUIRE(e->fill(data));
    for (u8 byte : data) REQUIRE(byte == rng_model::pattern(position++));
    position = model.written();
  }
}
