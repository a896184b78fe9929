// SPDX-License-Identifier: MIT
// Discard, write zeroes and secure erase: the requests, the device's limits, the errors.
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>

#include "disk.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<rig::big_queue>;
using list_disk =
    rig::driver<blk::device<rig::platform_type, rig::any_pci, rig::big_queue, blk::options{.extents = 8}>>;

constexpr u32 discard = 11, write_zeroes = 13, secure_erase = 14;  // types of requests (5.2.6)

blk_options all_three(extent_rules rules) {
  blk_options options;
  options.discard = options.write_zeroes = options.secure_erase = rules;
  return options;
}

struct operation_case {
  blk::operation what;
  u32 type;
};
const operation_case operations[] = {{blk::operation::discard, discard},
                                     {blk::operation::write_zeroes, write_zeroes},
                                     {blk::operation::secure_erase, secure_erase}};

// The operation of a case, blocking and staged.
template <class Disk>
result<void> sweep(Disk& d, blk::operation what, u64 sector, u64 count) {
  if (what == blk::operation::discard) return d->discard(sector, count);
  if (what == blk::operation::write_zeroes) return d->write_zeroes(sector, count);
  return d->secure_erase(sector, count);
}
template <class Disk>
result<token> submit(Disk& d, blk::operation what, blk::extents where, u64 cookie = 0) {
  if (what == blk::operation::discard) return d->submit_discard(where, cookie);
  if (what == blk::operation::write_zeroes) return d->submit_write_zeroes(where, blk::unmap::no, cookie);
  return d->submit_secure_erase(where, cookie);
}

bool zero(blk_model& model, u64 sector, u64 count) {
  const auto data = rig::expected(model, sector, count * 512);
  return std::all_of(data.begin(), data.end(), [](u8 b) { return b == 0; });
}

}  // namespace

TEST_CASE(
    "blk: discard, write zeroes and secure erase name their sectors on every kind of device that has them "
    "[BLK-11][BLK-18][BLKL-10]",
    "[blk]") {
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy, seat::crosvm);
  CAPTURE(rig::name(where));
  rig::machine m;
  auto& model = m.add<blk_model>(where, 4, all_three({}));
  rig::fill_pattern(model);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  const auto before = rig::expected(model, 90, 10 * 512), behind = rig::expected(model, 110, 512);
  REQUIRE(d->write_zeroes(100, 10));
  REQUIRE(d->write_zeroes(200, 1, blk::unmap::allowed));
  REQUIRE(d->discard(300, 1000));
  REQUIRE(d->secure_erase(2047, 1));
  using seen = std::vector<blk_model::extent_seen>;
  CHECK(model.extents == seen{{write_zeroes, 100, 10, 0, 0},
                              {write_zeroes, 200, 1, 1, 1},
                              {discard, 300, 1000, 0, 2},
                              {secure_erase, 2047, 1, 0, 3}});
  CHECK(zero(model, 100, 10));
  CHECK(zero(model, 200, 1));
  CHECK(rig::expected(model, 90, 10 * 512) == before);
  CHECK(rig::expected(model, 110, 512) == behind);
}

TEST_CASE("blk: MAX_DISCARD_SECTORS, MAX_WRITE_ZEROES_SECTORS and MAX_SECURE_ERASE_SECTORS split blocking calls",
          "[blk]") {
  const auto one = operations[GENERATE(0u, 1u, 2u)];
  const u32 most = GENERATE(1u, 7u, 100u, 5000u, 0u);
  CAPTURE(one.type, most);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, all_three({.sectors = most}));
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(sweep(d, one.what, 11, 777));
  u64 next = 11;
  for (const auto& extent : model.extents) {
    CHECK(extent.type == one.type);
    CHECK(extent.sector == next);
    CHECK((most == 0 || extent.sectors <= most));
    next += extent.sectors;
  }
  CHECK(next == 11 + 777);
  CHECK(model.extents.size() == (most == 0 ? 1 : (777 + most - 1) / most));
}

TEST_CASE("blk: blocking calls are split at DISCARD_SECTOR_ALIGNMENT and SECURE_ERASE_SECTOR_ALIGNMENT", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, all_three({.sectors = 100, .alignment = 64}));
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  const auto what = GENERATE(blk::operation::discard, blk::operation::secure_erase);
  REQUIRE(sweep(d, what, 10, 300));
  std::vector<std::pair<u64, u32>> parts;
  for (const auto& extent : model.extents) parts.push_back({extent.sector, extent.sectors});
  CHECK(parts == std::vector<std::pair<u64, u32>>{{10, 54}, {64, 64}, {128, 64}, {192, 64}, {256, 54}});
}

TEST_CASE("blk: an alignment that cannot be followed is ignored", "[blk][hostile]") {
  const u32 alignment = GENERATE(0u, 3u, 100u, 128u, 0x8000'0000u, 0xffff'ffffu);
  CAPTURE(alignment);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, all_three({.sectors = 50, .alignment = alignment}));
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  REQUIRE(d->discard(1, 200));
  CHECK(model.extents.size() <= 5);
  for (const auto& extent : model.extents) CHECK(extent.sectors <= 50);
}

TEST_CASE(
    "blk: MAX_DISCARD_SEG, MAX_WRITE_ZEROES_SEG and MAX_SECURE_ERASE_SEG bound a list of extents [BLK-11][BLK-13][BLK-14][BLK-15]",
    "[blk]") {
  const auto one = operations[GENERATE(0u, 1u, 2u)];
  const u32 most = GENERATE(0u, 1u, 3u, 100u);
  const seat where = GENERATE(seat::modern, seat::legacy);
  CAPTURE(one.type, most, rig::name(where));
  rig::machine m;
  auto& model = m.add<blk_model>(where, 4, all_three({.extents = most}));
  list_disk d;
  REQUIRE(d.start(m, m.where(4)));
  blk::extent list[10];
  for (u64 i = 0; i < 10; ++i) list[i] = {100 * i, i + 1};
  const usize allowed = most == 0 ? 1 : std::min(most, 8u);
  CHECK(d->limits_of(one.what)->extents == (most == 0 ? 1 : most));
  CHECK(submit(d, one.what, {list, allowed}, 5));
  const auto [end, ended] = rig::drained(d);
  REQUIRE(end);
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].cookie == 5);
  CHECK(ended[0].status == errc::ok);
  REQUIRE(model.extents.size() == allowed);
  for (u32 i = 0; i < allowed; ++i) CHECK(model.extents[i] == blk_model::extent_seen{one.type, 100 * i, i + 1, 0, 0});
  // The device's limit, then the type's.
  CHECK(submit(d, one.what, {list, allowed + 1}).error() == (most <= 8 ? errc::out_of_range : errc::table_full));
  CHECK(submit(d, one.what, {list, 0}).error() == errc::invalid_argument);
  CHECK(model.requests() == 1);
}

TEST_CASE("blk: invalid extents are rejected without a request", "[blk]") {
  const auto one = operations[GENERATE(0u, 1u, 2u)];
  CAPTURE(one.type);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, all_three({.sectors = 100, .extents = 4}));
  list_disk d;
  CHECK(sweep(d, one.what, 0, 1).error() == errc::not_started);
  CHECK(submit(d, one.what, blk::extent{0, 1}).error() == errc::not_started);
  CHECK(d->limits_of(one.what).error() == errc::not_started);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(sweep(d, one.what, 2048, 1).error() == errc::out_of_range);
  CHECK(sweep(d, one.what, 0, 2049).error() == errc::out_of_range);  // and no part was sent
  CHECK(sweep(d, one.what, ~u64{0}, 2).error() == errc::out_of_range);
  CHECK(sweep(d, one.what, 2, ~u64{0}).error() == errc::out_of_range);
  CHECK(sweep(d, one.what, 5, 0));  // an empty extent succeeds
  CHECK(submit(d, one.what, blk::extent{0, 0}).error() == errc::invalid_argument);
  CHECK(submit(d, one.what, blk::extent{0, 101}).error() == errc::out_of_range);
  CHECK(submit(d, one.what, blk::extent{1, u64{1} << 32}).error() == errc::out_of_range);
  const blk::extent second_is_wrong[] = {{0, 1}, {2048, 1}};
  CHECK(submit(d, one.what, second_is_wrong).error() == errc::out_of_range);
  CHECK(model.requests() == 0);
  CHECK(d->in_flight() == 0);
}

TEST_CASE("blk: a missing feature and a read-only disk have their own errors", "[blk]") {
  const auto one = operations[GENERATE(0u, 1u, 2u)];
  CAPTURE(one.type);
  rig::machine m;
  auto& plain = m.add<blk_model>(seat::modern, 4);
  auto options = all_three({});
  options.read_only = true;
  auto& fixed = m.add<blk_model>(seat::modern, 5, options);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  m.function(4).clear_log();
  CHECK(sweep(d, one.what, 0, 1).error() == errc::unsupported);
  CHECK(submit(d, one.what, blk::extent{0, 1}).error() == errc::unsupported);
  CHECK(d->limits_of(one.what).error() == errc::unsupported);
  CHECK(m.function(4).log().empty());  // absent fields are not read
  REQUIRE(d.start(m, m.where(5)));
  CHECK(sweep(d, one.what, 0, 1).error() == errc::read_only);
  CHECK(submit(d, one.what, blk::extent{0, 1}).error() == errc::read_only);
  CHECK(plain.requests() + fixed.requests() == 0);
}

TEST_CASE("blk: an operation without limits in the configuration is unsupported", "[blk][hostile]") {
  const auto one = operations[GENERATE(0u, 1u, 2u)];
  CAPTURE(one.type);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, all_three({}));
  auto& f = m.function(4);
  f.poke(f.capability(0x09, 4) + 12u, 0x24, 4);  // the device config ends before all limits
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->limits_of(one.what).error() == errc::unsupported);
  CHECK(sweep(d, one.what, 0, 1).error() == errc::unsupported);
  CHECK(submit(d, one.what, blk::extent{0, 1}).error() == errc::unsupported);
  CHECK(model.requests() == 0);
}

TEST_CASE("blk: limits are read at the first call of an operation, and not again until the next start", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, all_three({.sectors = 100}));
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  m.function(4).clear_log();
  REQUIRE(d->submit_discard(blk::extent{0, 1}));
  CHECK(m.function(4).log() == "r1@common+0x15 r4@device+0x24 r4@device+0x28 r4@device+0x2c r1@common+0x15");
  m.function(4).clear_log();
  REQUIRE(d->submit_discard(blk::extent{0, 1}));
  CHECK(m.function(4).log().empty());
  REQUIRE(d->submit_write_zeroes(blk::extent{0, 1}));
  CHECK(m.function(4).log() == "r1@common+0x15 r4@device+0x30 r4@device+0x34 r1@common+0x15");
  REQUIRE(rig::drained(d).first);
  CHECK(d->limits_of(blk::operation::discard)->sectors == 100);
  model.put_config(0x24, 10, 4);
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->limits_of(blk::operation::discard)->sectors == 10);
}

TEST_CASE("blk: a discard that fails stops and returns the error, with one status for all extents [BLK-20]", "[blk]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, all_three({.sectors = 10, .extents = 4}));
  list_disk d;
  REQUIRE(d.start(m, m.where(4)));
  model.fail[2] = blk_model::io_error;
  CHECK(d->discard(0, 100).error() == errc::io_error);
  CHECK(model.requests() == 3);
  model.fail[3] = blk_model::unsupported;
  CHECK(d->write_zeroes(0, 100).error() == errc::unsupported);
  const blk::extent list[] = {{0, 1}, {10, 1}};
  model.fail[4] = blk_model::io_error;
  REQUIRE(d->submit_discard(list, 9));
  const auto [end, ended] = rig::drained(d);
  REQUIRE(end);
  REQUIRE(ended.size() == 1);
  CHECK(ended[0].status == errc::io_error);  // one status for both
  CHECK(d->discard(0, 100));
}

TEST_CASE("blk: extents are whole blocks of a disk with BLK_SIZE 4096", "[blk]") {
  rig::machine m;
  auto options = all_three({.sectors = 21, .alignment = 4});
  options.blk_size = 4096;
  auto& model = m.add<blk_model>(seat::modern, 4, options);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  const auto one = operations[GENERATE(0u, 1u, 2u)];
  CHECK(sweep(d, one.what, 4, 8).error() == errc::misaligned);
  CHECK(sweep(d, one.what, 8, 4).error() == errc::misaligned);
  CHECK(submit(d, one.what, blk::extent{1, 8}).error() == errc::misaligned);
  CHECK(d->limits_of(one.what)->sectors == 16);
  CHECK(d->limits_of(one.what)->alignment == 8);
  CHECK(model.requests() == 0);
  REQUIRE(sweep(d, one.what, 8, 80));
  CHECK(model.extents.size() == 5);
  model.put_config(0x24, 7, 4);  // less than a block
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->discard(8, 80).error() == errc::unsupported);
}

TEST_CASE("blk: extents observe SIZE_MAX and SEG_MAX, too", "[blk]") {
  rig::machine m;
  auto options = all_three({.extents = 8});
  options.size_max = 48;
  options.seg_max = 11;
  m.add<blk_model>(seat::modern, 4, options);
  list_disk d;
  REQUIRE(d.start(m, m.where(4)));
  const blk::extent list[8] = {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {5, 1}, {6, 1}, {7, 1}};
  REQUIRE(d->submit_discard(list));
  REQUIRE(rig::drained(d).second.size() == 1);
}

TEST_CASE("blk: a list of extents with more pieces than SIZE_MAX and SEG_MAX allow is rejected, a shorter one is not",
          "[blk][chain-room]") {
  rig::machine m;
  auto options = all_three({.extents = 64});
  options.size_max = 512;
  auto& model = m.add<blk_model>(GENERATE(seat::modern, seat::legacy), 4, options);
  rig::driver<blk::device<rig::platform_type, rig::any_pci, rig::big_queue, blk::options{.segments = 1, .extents = 64}>>
      d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<blk::extent> list;
  for (u64 i = 0; i < 64; ++i) list.push_back({2 * i, 1});
  CHECK(d->submit_discard({list.data(), 64}).error() == errc::too_many_pieces);
  CHECK(d->submit_discard({list.data(), 33}).error() == errc::too_many_pieces);
  CHECK(d->in_flight() == 0);
  REQUIRE(d->submit_discard({list.data(), 32}));
  REQUIRE(rig::drained(d).second.size() == 1);
  CHECK(model.extents.size() == 32);
}
