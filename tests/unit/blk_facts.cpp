// SPDX-License-Identifier: MIT
// Properties that a disk reports at its start and while it runs: blocks, topology, write cache, wear, capacity, zones.
#include <catch2/generators/catch_generators.hpp>

#include "disk.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<rig::big_queue>;

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("blk: BLK_SIZE: requests are whole blocks, and others are rejected before the device sees them", "[blk]") {
  const seat where = GENERATE(seat::modern, seat::legacy);
  rig::machine m;
  auto& model = m.add<blk_model>(where, 4, blk_options{.sectors = 2051, .blk_size = 4096});
  rig::fill_pattern(model);
  disk d;
  CHECK(d->block_size() == 512);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->block_size() == 4096);
  CHECK(d->capacity() == 2051);
  std::vector<u8> data(8 * 4096);
  for (const u64 sector : {1u, 4u, 7u, 9u, 2047u}) {
    CHECK(d->read(sector, data).error() == errc::misaligned);
    CHECK(d->write(sector, data).error() == errc::misaligned);
    CHECK(d->submit_read(sector, data).error() == errc::misaligned);
    CHECK(d->submit_write(sector, data).error() == errc::misaligned);
  }
  for (const usize size : {usize{512}, usize{2048}, usize{4096 + 512}}) {
    CHECK(d->read(8, bytes{data.data(), size}).error() == errc::misaligned);
    CHECK(d->submit_write(8, bytes{data.data(), size}).error() == errc::misaligned);
  }
  CHECK(model.requests() == 0);
  REQUIRE(d->read(16, data));
  CHECK(data == rig::expected(model, 16, data.size()));
  CHECK(d->read(2048, bytes{data.data(), 4096}).error() == errc::out_of_range);  // the last block is not whole
}

TEST_CASE("blk: BLK_SIZE, SIZE_MAX and SEG_MAX together split transfers at whole blocks", "[blk]") {
  const auto [size_max, seg_max, piece] = GENERATE(table<u32, u32, u32>({{4096, 3, 0x8000'0000},
                                                                         {5000, 2, 0x8000'0000},
                                                                         {0, 1, 4096},
                                                                         {0, 4, 1024},
                                                                         {1024, 4, 0x8000'0000},
                                                                         {0, 7, 3000}}));
  CAPTURE(size_max, seg_max, piece);
  rig::machine m;
  auto& model =
      m.add<blk_model>(seat::modern, 4, blk_options{.size_max = size_max, .seg_max = seg_max, .blk_size = 4096});
  rig::fill_pattern(model);
  m.memory.largest_piece = piece;
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->largest_request() % 4096 == 0);
  std::vector<u8> data(20 * 4096);
  REQUIRE(d->read(8, data));
  CHECK(data == rig::expected(model, 8, data.size()));
}

TEST_CASE("blk: a BLK_SIZE larger than any request ends the start with an error, a small one does not",
          "[blk][hostile]") {
  const u32 size = GENERATE(1u, 256u, 511u, 513u, 1536u, 0x4000'0000u, 0x8000'0000u, 0xffff'ffffu);
  CAPTURE(size);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.seg_max = 2, .blk_size = 512});
  model.put_config(0x14, size, 4);
  disk d;
  const auto up = d.start(m, m.where(4));
  if (size <= 512) {
    REQUIRE(up);
    CHECK(d->block_size() == 512);
  } else if (size == 0x4000'0000u) {
    REQUIRE(up);
    u8 sector[512];
    CHECK(d->read(0, sector).error() == errc::misaligned);
  } else {
    CHECK(up.error() == errc::unsupported);
    CHECK(d->why().why == (size == 0x8000'0000u ? verdict::limits_unusable : verdict::block_size_invalid));
  }
}

TEST_CASE("blk: TOPOLOGY is returned in sectors, also for hostile numbers", "[blk]") {
  using virtio::testing::topology_fields;
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4,
                                 blk_options{.blk_size = 1024, .topology = topology_fields{3, 2, 8, 64}});
  m.add<blk_model>(seat::modern, 5);
  disk d;
  CHECK(d->get_topology().error() == errc::not_started);
  REQUIRE(d.start(m, m.where(4)));
  auto said = d->get_topology();
  REQUIRE(said);
  CHECK(*said == blk::topology{.physical_block = 16, .first_aligned = 4, .smallest_io = 16, .best_io = 128});
  for (u32 at = 0x18; at < 0x20; ++at) model.config()[at] = 0xff;
  said = d->get_topology();
  REQUIRE(said);
  CHECK(said->physical_block == 2);
  CHECK(said->best_io == 2 * u64{0xffff'ffff});
  model.put_config(0x18, 31, 1);
  CHECK(d->get_topology()->physical_block == u64{2} << 31);
  REQUIRE(d.start(m, m.where(5)));
  m.function(5).clear_log();
  CHECK(d->get_topology().error() == errc::unsupported);
  CHECK(m.function(5).log().empty());
}

TEST_CASE("blk: without FLUSH the cache is assumed to write through, with FLUSH to write back [BLK-02][BLK-03]",
          "[blk]") {
  rig::machine m;
  const bool flush = GENERATE(false, true);
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.flush = flush});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->has_write_cache() == flush);
  u8 sector[512] = {7};
  REQUIRE(d->write(0, sector));
  CHECK(model.stable()[0] == (flush ? 0 : 7));
  CHECK(d->flush());
  CHECK(model.stable()[0] == 7);
  CHECK(model.flushes() == (flush ? 1 : 0));
  CHECK(bool{d->submit_flush()} == flush);
  CHECK(rig::drained(d).first);
  CHECK(d->set_write_cache(blk::cache_mode::writethrough).error() == errc::unsupported);
}

TEST_CASE(
    "blk: CONFIG_WCE: disabling the cache flushes earlier writes, and flush then makes no request [BLK-16][BLK-17]",
    "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4, blk_options{.writeback = true});
  disk d;
  CHECK(d->set_write_cache(blk::cache_mode::writeback).error() == errc::not_started);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->has_write_cache());
  u8 sector[512] = {7};
  REQUIRE(d->write(0, sector));
  CHECK(model.stable()[0] == 0);
  REQUIRE(d->set_write_cache(blk::cache_mode::writethrough));
  CHECK(model.config()[0x20] == 0);
  CHECK(model.stable()[0] == 7);
  CHECK(!d->has_write_cache());
  CHECK(model.flushes() == 1);
  REQUIRE(d->write(1, sector));
  CHECK(model.stable()[512] == 7);
  REQUIRE(d->flush());
  CHECK(model.flushes() == 1);  // nothing to flush
  REQUIRE(d->set_write_cache(blk::cache_mode::writeback));
  CHECK(d->has_write_cache());
  REQUIRE(d->write(2, sector));
  CHECK(model.stable()[1024] == 0);
  REQUIRE(d->flush());
  CHECK(model.stable()[1024] == 7);
  REQUIRE(d->set_write_cache(blk::cache_mode::writethrough));
  REQUIRE(d.start(m, m.where(4)));  // a reset restores it
  CHECK(d->has_write_cache());
}

TEST_CASE("blk: CONFIG_WCE: writes in flight while the cache is disabled still need a flush [BLK-17]", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.writeback = true});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512] = {7};
  REQUIRE(d->submit_write(0, sector));
  REQUIRE(d->set_write_cache(blk::cache_mode::writethrough));
  CHECK(d->has_write_cache());
  REQUIRE(rig::drained(d).first);
  const u32 before = model.flushes();
  REQUIRE(d->flush());
  CHECK(model.flushes() == before + 1);
  REQUIRE(d->set_write_cache(blk::cache_mode::writethrough));
  CHECK(!d->has_write_cache());
}

TEST_CASE("blk: CONFIG_WCE: a device that does not change its mode is an error", "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.writeback = true});
  model.keep_cache_mode = true;
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->set_write_cache(blk::cache_mode::writethrough).error() == errc::io_error);
  CHECK(d->has_write_cache());
  REQUIRE(d->flush());
  CHECK(model.flushes() == 1);
}

TEST_CASE("blk: CONFIG_WCE without FLUSH is not accepted, so that the cache writes through [BLK-02]", "[blk]") {
  rig::machine m;
  auto& model =
      m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4, blk_options{.flush = false, .writeback = true});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(!model.accepted(11));
  CHECK(!d->has_write_cache());
  u8 sector[512] = {7};
  REQUIRE(d->write(0, sector));
  REQUIRE(d->flush());
  CHECK(model.stable()[0] == 7);
  CHECK(d->set_write_cache(blk::cache_mode::writeback).error() == errc::unsupported);
}

TEST_CASE("blk: CONFIG_WCE: a bring-up does not read the cache's mode [BLK-04]", "[blk]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4, blk_options{.writeback = true});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(!holds(m.function(4).log(), "device+0x20"));
}

TEST_CASE("blk: LIFETIME is read from the device and returned unchanged", "[blk]") {
  const seat where = GENERATE(seat::modern, seat::legacy);
  rig::machine m;
  auto& model = m.add<blk_model>(where, 4, blk_options{.lifetime = std::array<std::uint16_t, 3>{2, 0x0102, 11}});
  m.add<blk_model>(seat::modern, 5);
  disk d;
  CHECK(d->get_lifetime().error() == errc::not_started);
  REQUIRE(d.start(m, m.where(4)));
  const auto said = d->get_lifetime();
  REQUIRE(said);
  CHECK(said->pre_eol == 2);
  CHECK(said->estimate_a == 0x0102);
  CHECK(said->estimate_b == 11);
  model.fail[model.served()] = blk_model::io_error;
  CHECK(d->get_lifetime().error() == errc::io_error);
  model.claim[model.served()] = blk_model::ok;
  model.fail[model.served()] = blk_model::ok;  // reports success without an answer
  CHECK(d->get_lifetime()->estimate_a == 0);
  model.hold();
  CHECK(d->get_lifetime().error() == errc::timed_out);
  model.release();
  REQUIRE(d.start(m, m.where(5)));
  CHECK(d->get_lifetime().error() == errc::unsupported);
}

TEST_CASE("blk: refresh detects that a disk grew or shrank, while requests are in flight [BLK-05][BLK-06]", "[blk]") {
  const seat where = GENERATE(seat::modern, seat::legacy);
  rig::machine m;
  auto& model = m.add<blk_model>(where, 4, blk_options{.sectors = 100});
  disk d;
  CHECK(d->refresh().error() == errc::not_started);
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> data(512), other(512);
  CHECK(d->read(100, data).error() == errc::out_of_range);
  REQUIRE(d->submit_read(1, other, 7));
  model.resize(200);
  rig::fill_pattern(model);
  const auto cause = d->acknowledge_interrupt();
  CHECK(cause.config);
  CHECK(d->capacity() == 100);
  REQUIRE(d->refresh());
  CHECK(d->capacity() == 200);
  REQUIRE(d->read(199, data));
  CHECK(data == rig::expected(model, 199, 512));
  CHECK(rig::drained(d).second.size() == 1);
  model.resize(50);
  REQUIRE(d->refresh());
  CHECK(d->read(50, data).error() == errc::out_of_range);
  CHECK(d->read(49, data));
}

TEST_CASE(
    "blk: refresh reads a capacity that changes between its halves as one number, and fails if it is never stable",
    "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.sectors = 100});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  model.put_config(0, 0x1'ffff'fff0, 8);
  u32 reads = 0;
  model.before_config_read = [&](u32 offset, u32) {
    if (offset != 4 || reads++ != 0) return;
    model.put_config(0, 0x2'0000'0010, 8);  // between low and high half
    model.bump_generation();
  };
  REQUIRE(d->refresh());
  CHECK(d->capacity() == 0x2'0000'0010);
  model.before_config_read = nullptr;
  model.generation_every = 1;
  CHECK(d->refresh().error() == errc::device_misbehaved);
  CHECK(d->capacity() == 0x2'0000'0010);
  model.generation_every = 0;
  model.put_config(0, 100, 8);
  REQUIRE(d->refresh());
  u8 sector[512];
  CHECK(d->read(99, sector));
}

TEST_CASE("blk: refresh reads the other limits, too, and keeps the old ones if the new are invalid", "[blk][hostile]") {
  rig::machine m;
  auto& model = m.add<blk_model>(
      seat::modern, 4, blk_options{.size_max = 4096, .seg_max = 4, .blk_size = 512, .discard = {{.sectors = 100}}});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->limits_of(blk::operation::discard)->sectors == 100);
  model.put_config(0x08, 1024, 4);
  model.put_config(0x24, 50, 4);
  REQUIRE(d->refresh());
  CHECK(d->largest_request() == 4096);
  CHECK(d->limits_of(blk::operation::discard)->sectors == 50);
  model.put_config(0x08, 1, 4);
  CHECK(d->refresh().error() == errc::unsupported);
  CHECK(d->largest_request() == 4096);
  model.put_config(0x08, 1024, 4);
  std::vector<u8> data(64 * 512);
  CHECK(d->read(0, data));
  model.set_needs_reset();
  CHECK(d->refresh().error() == errc::needs_reset);
}

TEST_CASE(
    "blk: a disk with zones is rejected by name, before FEATURES_OK and with FAILED [BLKZ-01][BLKZ-02][BLKZ-04][BLKZ-05]",
    "[blk]") {
  const std::uint8_t zones = GENERATE(std::uint8_t{0}, std::uint8_t{1}, std::uint8_t{2});
  CAPTURE(int{zones});
  rig::machine m;
  auto& model =
      m.add<blk_model>(seat::modern, 4, blk_options{.discard = virtio::testing::extent_rules{}, .zoned = zones});
  disk d;
  CHECK(d.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(d->why().why == verdict::feature_unsupported);
  CHECK(d->why().feature == 17);
  CHECK(blk::name(blk::feature{d->why().feature}) == std::string{"BLK_ZONED"});
  // FAILED and no FEATURES_OK, then a reset.
  CHECK(m.function(4).log().ends_with("w1@common+0x14=0x83 w1@common+0x14=0x0 r1@common+0x14"));
  CHECK(!model.accepted(17));
  CHECK(!model.accepted(13));
  u8 sector[512];
  CHECK(d->read(0, sector).error() == errc::not_started);
}
