// SPDX-License-Identifier: MIT
// Drivers on the queue of either format: packed if it is offered, in order if that is offered and useful.
#include <catch2/generators/catch_generators.hpp>

#include <random>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

constexpr unsigned indirect_desc = 28, event_idx = 29, ring_packed = 34, in_order = 35;

using usual = queue<16, ring_options{.ring_entries = 256}>;
using obliging = queue<16, ring_options{.indirect = 8, .ring_entries = 256, .in_order = true}>;

struct outcome {
  std::vector<u8> disk, read;
  u32 doorbells = 0, requests = 0;
  bool operator==(const outcome&) const = default;
};

// The same requests each time: reads, writes and flushes, up to sixteen at a time.
template <class Queue>
outcome traffic(std::initializer_list<unsigned> offered, bool batches) {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.offer(offered);
  model.batch_in_order = batches;
  rig::fill_pattern(model);
  rig::disk<Queue> d;
  REQUIRE(d.start(m, m.where(4)));
  for (const unsigned bit : {ring_packed, in_order}) {
    const bool of_use = bit != in_order || Queue::template ring<smp_barriers>::wanted.has(feature::in_order);
    REQUIRE(model.accepted(bit) == (model.offers(bit) && of_use));
  }
  outcome all;
  std::mt19937 random{42};
  std::vector<std::vector<u8>> data(16, std::vector<u8>(4096));
  for (int round = 0; round < 400; ++round) {
    const u32 count = static_cast<u32>(1 + random() % 5);
    u32 sent = 0;
    for (u32 i = 0; i < count; ++i) {
      const u64 sector = random() % (d->capacity() - 8);
      const usize size = 512 * (1 + random() % 8);
      const auto kind = random() % 8;
      for (u8& byte : data[i]) byte = static_cast<u8>(random());
      const auto got = kind == 0  ? d->submit_flush(i)
                       : kind < 4 ? d->submit_write(sector, const_bytes{data[i].data(), size}, i)
                                  : d->submit_read(sector, bytes{data[i].data(), size}, i);
      if (!got) {
        REQUIRE(got.error() == errc::queue_full);
        break;
      }
      ++sent;
    }
    const auto [end, done] = rig::drained(d);
    REQUIRE(end);
    REQUIRE(done.size() == sent);
    for (const auto& one : done) REQUIRE(one.status == errc::ok);
    for (u32 i = 0; i < sent; ++i) all.read.insert(all.read.end(), data[i].begin(), data[i].end());
    all.requests += sent;
  }
  all.disk.assign(model.data().begin(), model.data().end());
  all.doorbells = model.doorbells();
  return all;
}

}  // namespace

TEST_CASE(
    "blk: the same requests give the same data with the same doorbells on both formats, in order or not [FEAT-14]",
    "[blk][queue]") {
  const auto plain = traffic<usual>({event_idx}, false);
  CHECK(plain.requests > 400);
  CHECK(traffic<usual>({event_idx, ring_packed}, false) == plain);
  CHECK(traffic<usual>({event_idx, ring_packed, in_order}, false) == plain);
  for (const bool batches : {false, true}) {
    CAPTURE(batches);
    CHECK(traffic<obliging>({event_idx, indirect_desc, in_order}, batches).disk == plain.disk);
    const auto split = traffic<obliging>({event_idx, in_order}, batches);
    CHECK(traffic<obliging>({event_idx, ring_packed, in_order}, batches) == split);
    CHECK(split.disk == plain.disk);
    CHECK(split.read == plain.read);
    CHECK(split.doorbells == plain.doorbells);
  }
}

TEST_CASE("rng: IN_ORDER is declined, since a batch skips used lengths", "[rng][queue]") {
  rig::machine m;
  auto& model = m.add<rng_model>(seat::modern, 4);
  model.offer({ring_packed, in_order});
  model.batch_in_order = true;
  model.answers = {3, 0, 1, 50};
  rig::entropy<obliging> e;
  REQUIRE(e.start(m, m.where(4)));
  CHECK(model.accepted(ring_packed));
  CHECK(!model.accepted(in_order));
  std::vector<u8> data(200);
  REQUIRE(e->fill(data));
  for (usize i = 0; i < data.size(); ++i) REQUIRE(data[i] == rng_model::pattern(i));
}

TEST_CASE("blk: one object drives a disk with split rings, then one with packed rings", "[blk][queue]") {
  rig::machine m;
  auto& first = m.add<blk_model>(seat::modern, 4);
  auto& second = m.add<blk_model>(seat::modern, 5);
  second.offer({ring_packed});
  rig::fill_pattern(first);
  rig::fill_pattern(second);
  rig::disk<usual> d;
  u8 sector[512];
  token stale{};
  for (int lap = 0; lap < 4; ++lap) {
    REQUIRE(d.start(m, m.where(lap % 2 == 0 ? 4 : 5)));
    if (lap != 0) CHECK(d->wait(stale).error() == errc::stale_handle);
    const auto sent = d->submit_read(3, bytes{sector, 512});
    REQUIRE(sent);
    CHECK(!(*sent == stale));
    stale = *sent;
    d->kick();
    REQUIRE(d->wait(*sent));
    REQUIRE(d->submit_read(4, bytes{sector, 512}));  // canceled by the next start
  }
  REQUIRE(d->reset());
  CHECK(rig::polled(d).size() == 1);
}
