// SPDX-License-Identifier: MIT
// The block driver on every kind of PCI device, with a platform that bounces: the data, the errors, the returned
// buffers.
#include <catch2/generators/catch_generators.hpp>

#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "disk.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<big_queue>;

struct sleeping : rig::platform_type {
  static constexpr bool sleeps = true;
};

struct sleeping_hooked : virtio::testing::strict_platform<virtio::testing::hooked_barriers> {
  static constexpr bool sleeps = true;
};

}  // namespace

TEST_CASE("blk: reads, writes and flushes on every kind of device [BLK-08][BLK-10]", "[blk]") {
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy, seat::crosvm, seat::vmd);
  CAPTURE(rig::name(where));
  rig::machine m;
  auto& model = m.add<blk_model>(where, 4, blk_options{.flush = where != seat::vmd});
  if (where == seat::vmd) model.used_length = 16;  // the header's length, whatever the request
  fill_pattern(model);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->capacity() == 2048);
  std::vector<u8> data(8192);
  REQUIRE(d->read(3, data));
  CHECK(data == expected(model, 3, data.size()));
  std::iota(data.begin(), data.end(), u8{5});
  REQUIRE(d->write(2000, data));
  CHECK(data == expected(model, 2000, data.size()));
  REQUIRE(d->flush());
  model.power_cut();
  CHECK(data == expected(model, 2000, data.size()));
}

TEST_CASE(
    "blk: a legacy device whose queue is larger than the ring's memory is rejected, not truncated [SPLITL-01][SPLITL-02]",
    "[blk][legacy]") {
  rig::machine m;
  m.add<blk_model>(seat::legacy, 4, blk_options{.queue_size = 256});
  rig::disk<split_queue<16>> small;
  CHECK(small.start(m, m.where(4)).error() == errc::no_space);
  CHECK(small->why().why == verdict::ring_too_small);
  CHECK(small->why().wanted == 256);
  CHECK(small->why().available == 16);
  rig::disk<rig::legacy_queue> enough;
  CHECK(enough.start(m, m.where(4)));
}

TEST_CASE("blk: invalid calls are rejected without a request [BLK-06][BLK-10]", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512], odd[100];
  CHECK(d->read(0, odd).error() == errc::misaligned);
  CHECK(d->read(2048, sector).error() == errc::out_of_range);
  CHECK(d->write(2048, sector).error() == errc::out_of_range);
  CHECK(d->read(~u64{0}, sector).error() == errc::out_of_range);  // sector + 1 overflows
  CHECK(d->read(~u64{0} / 512, sector).error() == errc::out_of_range);
  CHECK(d->submit_read(2047, bytes{sector, 0}).error() == errc::invalid_argument);
  CHECK(d->submit_read(2047, sector));
  CHECK(d->read(0, bytes{sector, 0}));  // an empty read succeeds
  m.memory.refuse(odd, sizeof odd);
  CHECK(d->submit_read(0, bytes{odd, 512}).error() == errc::dma_unreachable);
  CHECK(model.requests() == 0);
  CHECK(drained(d).second.size() == 1);
}

TEST_CASE("blk: the driver rejects writes to a read-only disk [BLK-07]", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4, blk_options{.read_only = true});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->is_read_only());
  u8 sector[512]{};
  CHECK(d->write(0, sector).error() == errc::read_only);
  CHECK(d->submit_write(0, sector).error() == errc::read_only);
  CHECK(d->read(0, sector));
  CHECK(model.writes() == 0);
}

TEST_CASE("blk: the status of a failed request is returned, and later requests succeed", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.fail[0] = blk_model::io_error;
  model.fail[1] = blk_model::unsupported;
  model.claim[2] = 77;
  model.no_status = {3};
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  CHECK(d->read(0, sector).error() == errc::io_error);
  CHECK(d->read(0, sector).error() == errc::unsupported);
  CHECK(d->read(0, sector).error() == errc::io_error);  // an undefined status
  CHECK(d->read(0, sector).error() == errc::io_error);  // no status
  CHECK(d->read(0, sector));
}

TEST_CASE("blk: a status that the device did not write is no success, even if the slot's earlier status was",
          "[blk][hostile][status-poison]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.no_status = {1};
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  CHECK(d->read(0, sector));
  CHECK(d->read(0, sector).error() == errc::io_error);
  CHECK(d->read(0, sector));
}

TEST_CASE("blk: a failed read delivers no data, whatever the device wrote", "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  rig::fill_pattern(model);
  model.fail[0] = blk_model::io_error;
  model.claim[1] = blk_model::unsupported;  // after all the data was written
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> data(512);
  const std::vector<u8> nothing(512, virtio::testing::strict_machine::poison);
  CHECK(d->read(3, data).error() == errc::io_error);
  CHECK(data == nothing);
  CHECK(d->read(3, data).error() == errc::unsupported);
  CHECK(data == nothing);
  REQUIRE(d->read(3, data));
  CHECK(data == expected(model, 3, 512));
}

TEST_CASE("blk: transfers larger than the device's limits are split by SIZE_MAX and SEG_MAX", "[blk]") {
  const auto [size_max, seg_max, piece] = GENERATE(table<u32, u32, u32>({{4096, 0, 0x80000000},
                                                                         {4096, 3, 0x80000000},
                                                                         {1000, 2, 0x80000000},
                                                                         {0, 1, 0x80000000},
                                                                         {0, 0, 700},
                                                                         {512, 1, 512},
                                                                         {65536, 4, 4096}}));
  CAPTURE(size_max, seg_max, piece);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.size_max = size_max, .seg_max = seg_max});
  fill_pattern(model);
  m.memory.largest_piece = piece;  // memory that is scattered for the device
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> data(100 * 512);
  REQUIRE(d->read(7, data));
  CHECK(data == expected(model, 7, data.size()));
  std::mt19937 random{3};
  for (u8& b : data) b = static_cast<u8>(random());
  REQUIRE(d->write(1000, data));
  CHECK(data == expected(model, 1000, data.size()));
}

TEST_CASE("blk: data may be scattered over memory; too many pieces are rejected, and nothing stays mapped", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.seg_max = 126});
  model.offer({28});
  fill_pattern(model);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 first[100], second[1000], third[436], empty[1];
  const bytes pieces[] = {first, second, bytes{empty, 0}, third};
  const auto t = d->submit_read(9, pieces, 42);
  REQUIRE(t);
  d->kick();
  const auto done = d->wait_next();
  REQUIRE(done);
  CHECK(done->cookie == 42);
  CHECK(done->status == errc::ok);
  auto want = expected(model, 9, 1536);
  CHECK(std::memcmp(first, want.data(), 100) == 0);
  CHECK(std::memcmp(second, want.data() + 100, 1000) == 0);
  CHECK(std::memcmp(third, want.data() + 1100, 436) == 0);

  std::vector<bytes> many(9, bytes{second, 512});
  CHECK(d->submit_read(0, scatter<bytes>{many.data(), many.size()}).error() == errc::too_many_pieces);
  CHECK(m.memory.live() == 0);
  const const_bytes out[] = {const_bytes{first}, const_bytes{second, 924}};
  REQUIRE(d->submit_write(50, out));
  const auto [end, ended] = drained(d);
  REQUIRE(end);
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].status == errc::ok);
  want = expected(model, 50, 1024);
  CHECK(std::memcmp(want.data(), first, 100) == 0);
}

TEST_CASE("blk: a mapping that fails half-way leaves no buffer mapped and the slot free", "[blk]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4, blk_options{.seg_max = 126});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 a[512], b[512], c[512];
  const bytes pieces[] = {a, b, c};
  for (u64 which = 0; which < 3; ++which) {
    m.memory.fail_map = m.memory.maps + which;
    CHECK(d->submit_read(0, pieces).error() == errc::dma_unreachable);
    CHECK(m.memory.live() == 0);
  }
  m.memory.fail_map = virtio::testing::strict_machine::never;
  for (int i = 0; i < 40; ++i) REQUIRE(d->read(0, a));
}

TEST_CASE("blk: the requests of a full queue complete in any order, once each", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  fill_pattern(model);
  model.hold();
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<std::vector<u8>> buffers(64, std::vector<u8>(512));
  u64 submitted = 0;
  for (;; ++submitted) {
    const auto t = submitted % 5 == 4   ? d->submit_flush(submitted)
                   : submitted % 3 == 2 ? d->submit_write(1000 + submitted, buffers[submitted], submitted)
                                        : d->submit_read(submitted, buffers[submitted], submitted);
    if (t) continue;
    CHECK(t.error() == errc::queue_full);
    break;
  }
  CHECK(submitted >= 5);
  d->kick();
  CHECK(d->in_flight() == submitted);
  (void)model.step();
  model.complete_all_backwards();
  const auto order = polled(d);
  REQUIRE(order.size() == submitted);
  for (u64 i = 0; i < submitted; ++i) {
    CHECK(order[i].status == errc::ok);
    CHECK(order[i].cookie == submitted - 1 - i);
  }
  for (u64 i = 0; i < submitted; ++i)
    if (i % 5 != 4 && i % 3 != 2) CHECK(buffers[i] == expected(model, i, 512));
}

TEST_CASE("blk: a read during eight requests in flight completes and loses none of them", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.offer({28});  // one descriptor per request
  fill_pattern(model);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<std::vector<u8>> buffers(8, std::vector<u8>(512));
  std::vector<token> tokens;
  for (u64 i = 0; i < 8; ++i) tokens.push_back(*d->submit_read(i, buffers[i], i));
  std::vector<u8> mine(2048);
  REQUIRE(d->read(100, mine));
  CHECK(mine == expected(model, 100, 2048));
  REQUIRE(d->wait(tokens[5]));  // completed during the read and deferred
  CHECK(d->wait(tokens[5]).error() == errc::stale_handle);
  std::map<u64, int> seen;
  while (const auto one = d->next_completion()) ++seen[one->cookie];
  CHECK(seen.size() == 7);
  CHECK(!seen.contains(5));
  for (u64 i = 0; i < 8; ++i) CHECK(buffers[i] == expected(model, i, 512));
  CHECK(d->next_completion().error() == errc::not_ready);
  CHECK(d->wait_next().error() == errc::not_ready);  // nothing in flight: returns at once
}

TEST_CASE(
    "blk: a device that never answers is reset, and only then are the buffers returned [SHUTDOWN-01][SHUTDOWN-02][STATUS-04]",
    "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  fill_pattern(model);
  model.hold();
  model.reset_reads = 20;
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> other(512), mine(512);
  const auto t = d->submit_read(1, other, 99);
  REQUIRE(t);
  CHECK(d->read(2, mine).error() == errc::timed_out);
  CHECK(model.status() == 0);
  CHECK(m.memory.live() == 0 + 1);  // the other request's buffer, until its completion is taken
  const auto one = d->next_completion();
  REQUIRE(one);
  CHECK(one->cookie == 99);
  CHECK(one->status == errc::canceled);
  CHECK(m.memory.live() == 0);
  CHECK(d->next_completion().error() == errc::not_started);
  CHECK(d->read(0, mine).error() == errc::not_started);
  CHECK(d->wait(*t).error() == errc::stale_handle);
  model.release();
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(d->read(2, mine));
  CHECK(mine == expected(model, 2, 512));
}

TEST_CASE("blk: a device that does not reset keeps the buffers, and the error reports it", "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.hold();
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  model.reset_reads = device_model::forever;
  std::vector<u8> other(512), mine(512);
  REQUIRE(d->submit_read(1, other, 99));
  CHECK(d->read(2, mine).error() == errc::device_broken);
  CHECK(m.memory.live() == 2);
  CHECK(d->next_completion().error() == errc::device_broken);
  CHECK(drained(d).first.error() == errc::device_broken);
  CHECK(drained(d).second.empty());
  const u16 published = model.ring().raw_available_idx();
  d->kick();
  CHECK(model.ring().raw_available_idx() == published);  // no more requests are published
  CHECK(d.start(m, m.where(4)).error() == errc::device_broken);
  CHECK(d->why().why == verdict::former_device_stuck);
  CHECK(m.memory.live() == 2);
  model.reset_reads = 0;  // from now on it resets
  REQUIRE(d->reset());
  const auto back = polled(d);
  REQUIRE(back.size() == 1);  // the request of the blocking call has no completion
  CHECK(back[0].cookie == 99);
  CHECK(back[0].status == errc::canceled);
  CHECK(m.memory.live() == 0);
  model.release();
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->read(2, mine));
}

TEST_CASE("blk: NEEDS_RESET is detected during a wait and by check() [STATUS-04]", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.needs_reset_after = 1;
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  CHECK(d->check());
  REQUIRE(d->read(0, sector));
  CHECK(d->read(0, sector).error() == errc::needs_reset);
  CHECK(model.status() == 0);
  model.needs_reset_after = device_model::forever;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(d->submit_read(0, sector, 7));
  model.set_needs_reset();
  CHECK(d->acknowledge_interrupt().config);
  CHECK(d->check().error() == errc::needs_reset);
  const auto back = polled(d);
  REQUIRE(back.size() == 1);
  CHECK(back[0].status == errc::canceled);
}

TEST_CASE("blk: reset and start again on the same object and storage", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy, seat::crosvm), 4);
  fill_pattern(model);
  disk d;
  std::vector<u8> data(1024);
  for (int round = 0; round < 5; ++round) {
    REQUIRE(d.start(m, m.where(4)));
    for (int i = 0; i < 10; ++i) REQUIRE(d->read(static_cast<u64>(i), data));
    CHECK(data == expected(model, 9, 1024));
    if (round % 2 == 0) REQUIRE(d->reset());
  }
}

TEST_CASE("blk: another start cancels requests in flight, without a completion", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.hold();
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  const auto old = d->submit_read(0, sector, 1);
  d->kick();
  (void)model.step();
  REQUIRE(d.start(m, m.where(4)));
  CHECK(m.memory.live() == 0);
  CHECK(d->wait(*old).error() == errc::stale_handle);
  CHECK(d->next_completion().error() == errc::not_ready);
}

TEST_CASE("blk: a batch writes one doorbell and accesses no other register [SPLIT-28][NOTIFY-01][NOTIFY-03]", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<std::vector<u8>> buffers(5, std::vector<u8>(512));
  m.function(4).clear_log();
  for (int round = 0; round < 10; ++round) {
    for (u64 i = 0; i < 5; ++i) REQUIRE(d->submit_read(i, buffers[i], i));
    d->kick();
    (void)model.step();
    CHECK(polled(d).size() == 5);
  }
  CHECK(model.doorbells() == 10);
  const std::string log = m.function(4).log();
  CHECK(std::count(log.begin(), log.end(), '@') == 10);
  CHECK(std::count(log.begin(), log.end(), 'w') == 10);
  CHECK(log.substr(0, 3) == "w2@");
}

TEST_CASE("blk: an interrupt is requested and acknowledged [SPLIT-16]", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  REQUIRE(d->submit_read(0, sector));
  d->kick();
  CHECK(!d->arm());
  (void)model.step();
  CHECK(model.interrupts() == 1);
  const auto cause = d->acknowledge_interrupt();
  CHECK(cause.queue);
  CHECK(!cause.config);
  CHECK(!d->acknowledge_interrupt().queue);
  CHECK(d->next_completion());
  model.spurious_interrupt(1);  // without a completion
  CHECK(d->acknowledge_interrupt().queue);
  CHECK(d->next_completion().error() == errc::not_ready);
}

TEST_CASE("blk: a sleeping platform never sleeps without an interrupt on its way", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  // A halt is only allowed if an interrupt follows. The model runs here, and must raise one for its completions.
  u32 before = 0;
  m.memory.on_wait = [&](waiting why, u64) {
    if (why != waiting::request) return;
    before = model.interrupts();
    if (model.step() != 0) CHECK(model.interrupts() == before + 1);
  };
  rig::driver<blk::device<sleeping, rig::any_pci, big_queue>> d;
  REQUIRE(d->start(sleeping{{&m.memory}}, m.where(4), d.storage()));
  u8 sector[512];
  for (int i = 0; i < 50; ++i) REQUIRE(d->read(0, sector));
}

TEST_CASE("blk: attempts of a wait count from 0, and from 0 again after another request's completion", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.hold();
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u64> attempts;
  m.memory.on_wait = [&](waiting why, u64 attempt) {
    if (why != waiting::request) return;
    attempts.push_back(attempt);
    (void)model.step();
    if (attempts.size() == 3 || attempts.size() == 5) model.complete(model.held().size() - 1);  // the other one first
  };
  u8 a[512], b[512];
  const auto mine = d->submit_read(0, a);
  REQUIRE(d->submit_read(1, b));
  REQUIRE(d->wait(*mine));
  CHECK(attempts == std::vector<u64>{0, 1, 2, 0, 1});
  CHECK(d->in_flight() == 1);  // deferred
  CHECK(d->next_completion());
  CHECK(d->in_flight() == 0);
}

TEST_CASE("blk: a completion that appears and disappears does not prevent the time-out of a sleeping platform",
          "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.hold();
  rig::driver<blk::device<sleeping_hooked, rig::any_pci, big_queue>> d;
  REQUIRE(d->start(sleeping_hooked{{&m.memory}}, m.where(4), d.storage()));
  auto& hooks = virtio::testing::barrier_hooks::mine();
  u64 fences = hooks.fulls;
  hooks.before_load = [&](const volatile void*, usize) {
    // A completion exists after the fence of arm(), and not before next_completion().
    model.ring().raw_used_idx(hooks.fulls != fences ? 1 : 0);
    fences = hooks.fulls;
  };
  u8 sector[512];
  CHECK(d->read(0, sector).error() == errc::timed_out);
  virtio::testing::barrier_hooks::clear();
}

TEST_CASE("blk: hardware barriers give the same results", "[blk]") {
  using hardware = virtio::testing::strict_platform<rig::hardware_barriers>;
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  fill_pattern(model);
  rig::driver<blk::device<hardware, rig::modern_pci, big_queue>> d;
  REQUIRE(d->start(hardware{&m.memory}, m.where(4), d.storage()));
  std::vector<u8> data(4096);
  for (int i = 0; i < 300; ++i) REQUIRE(d->read(static_cast<u64>(i), data));
  CHECK(data == expected(model, 299, 4096));
}

TEST_CASE("blk: a stale or foreign token is rejected", "[blk][slow]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  m.function(4).logging = false;
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  const auto t = d->submit_read(0, sector);
  REQUIRE(t);
  REQUIRE(d->wait(*t));
  CHECK(d->wait(*t).error() == errc::stale_handle);
  CHECK(d->wait({9999, 0}).error() == errc::stale_handle);
  CHECK(d->wait(token{}).error() == errc::stale_handle);
  for (int i = 0; i < 70'000; ++i) REQUIRE(d->read(0, bytes{sector, 512}));  // more generations than 16 bits hold
  const auto again = d->submit_read(0, sector);
  CHECK(again->slot == t->slot);  // the same slot, another generation
  CHECK(d->wait(*t).error() == errc::stale_handle);
  CHECK(d->wait(*again));
}
