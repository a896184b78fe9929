// SPDX-License-Identifier: MIT
// After a blocking call whose device does not reset: the device keeps the request's buffers, and no call waits for the
// request. Its completion is never delivered.
#include <catch2/generators/catch_generators.hpp>

#include <functional>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<queue<16>>;

struct blocking_call {
  const char* name;
  std::function<errc(disk&, bytes)> make;
};

const blocking_call calls[] = {
    {"read", [](disk& d, bytes b) { return d->read(2, b).error(); }},
    {"write", [](disk& d, bytes b) { return d->write(2, const_bytes{b.data(), b.size()}).error(); }},
    {"flush", [](disk& d, bytes) { return d->flush().error(); }},
    {"get_id",
     [](disk& d, bytes) {
       static u8 id[blk::id_bytes];
       return d->get_id(id).error();
     }},
    {"discard", [](disk& d, bytes) { return d->discard(0, 8).error(); }},
    {"write_zeroes", [](disk& d, bytes) { return d->write_zeroes(0, 8).error(); }},
    {"secure_erase", [](disk& d, bytes) { return d->secure_erase(0, 8).error(); }},
    {"get_lifetime", [](disk& d, bytes) { return d->get_lifetime().error(); }},
    {"set_write_cache", [](disk& d, bytes) { return d->set_write_cache(blk::cache_mode::writethrough).error(); }},
};

const blk_options everything{.discard = virtio::testing::extent_rules{},
                             .write_zeroes = virtio::testing::extent_rules{},
                             .secure_erase = virtio::testing::extent_rules{},
                             .writeback = true,
                             .lifetime = std::array<u16, 3>{1, 1, 1}};

}  // namespace

TEST_CASE(
    "hostile: a blocking call's request that the device kept is never delivered, even after a reset succeeds [SHUTDOWN-02]",
    "[blk][hostile]") {
  const bool packed = GENERATE(false, true);
  const bool by_start = GENERATE(false, true);
  for (const blocking_call& call : calls) {
    CAPTURE(call.name, packed, by_start);
    rig::machine m;
    auto& model = m.add<blk_model>(seat::modern, 4, everything);
    if (packed) model.offer({34});
    disk d;
    REQUIRE(d.start(m, m.where(4)));
    model.hold();
    model.reset_reads = device_model::forever;
    std::vector<u8> others(512), mine(512);
    REQUIRE(d->submit_read(1, others, 99));
    CHECK(call.make(d, mine) == errc::device_broken);
    model.reset_reads = 0;  // from now on it resets
    if (by_start) {
      model.release();
      REQUIRE(d.start(m, m.where(4)));
      CHECK(m.memory.live() == 0);
      CHECK(d->next_completion().error() == errc::not_ready);
      CHECK(d->read(0, mine));
    } else {
      REQUIRE(d->reset());
      CHECK(m.memory.live() == 1);  // the other request's, until its completion is taken
      CHECK(d->in_flight() == 1);
      const auto one = d->next_completion();
      REQUIRE(one);
      CHECK(one->cookie == 99);
      CHECK(one->status == errc::canceled);
      CHECK(d->next_completion().error() == errc::not_started);
    }
    CHECK(m.memory.live() == 0);
  }
}

TEST_CASE(
    "hostile: a request of fill() that the device kept is never delivered, even after a reset succeeds [SHUTDOWN-02]",
    "[rng][hostile]") {
  rig::machine m;
  auto& model = m.add<rng_model>(GENERATE(seat::modern, seat::legacy), 4);
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  model.hold();
  model.reset_reads = device_model::forever;
  u8 buffer[32];
  CHECK(e->fill(buffer).error() == errc::device_broken);
  CHECK(m.memory.live() == 1);
  model.reset_reads = 0;
  REQUIRE(e->reset());
  CHECK(e->next_completion().error() == errc::not_started);
  CHECK(m.memory.live() == 0);
  model.release();
  REQUIRE(e.start(m, m.where(4)));
  CHECK(e->fill(buffer));
  CHECK(e->next_completion().error() == errc::not_ready);
}

TEST_CASE("hostile: a submitted request whose wait failed is delivered once, with its cookie, after a reset succeeds",
          "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  model.hold();
  model.reset_reads = device_model::forever;
  std::vector<u8> mine(512);
  const auto named = d->submit_read(1, mine, 7);
  REQUIRE(named);
  CHECK(d->wait(*named).error() == errc::device_broken);
  CHECK(d->wait(*named).error() == errc::device_broken);
  model.reset_reads = 0;
  REQUIRE(d->reset());
  const auto one = d->next_completion();
  REQUIRE(one);
  CHECK(one->which == *named);
  CHECK(one->cookie == 7);
  CHECK(one->status == errc::canceled);
  CHECK(d->next_completion().error() == errc::not_started);
  CHECK(d->wait(*named).error() == errc::stale_handle);
}

TEST_CASE("hostile: the slot of an abandoned request works normally after the next start", "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> mine(512);
  for (u64 life = 0; life < 3; ++life) {
    model.hold();
    model.reset_reads = device_model::forever;
    CHECK(d->read(0, mine).error() == errc::device_broken);
    model.reset_reads = 0;
    model.release();
    REQUIRE(d.start(m, m.where(4)));
    REQUIRE(d->submit_read(0, mine, life + 1));  // in the slot of the abandoned request
    REQUIRE(d->reset());
    const auto one = d->next_completion();
    REQUIRE(one);
    CHECK(one->cookie == life + 1);
    REQUIRE(d.start(m, m.where(4)));
  }
}
