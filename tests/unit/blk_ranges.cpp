// SPDX-License-Identifier: MIT
// Discards, writes of zeroes and secure erases of many sectors, on devices whose limits allow few per request.
#include <catch2/generators/catch_generators.hpp>

#include "disk.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<rig::big_queue>;

result<void> sweep(disk& d, blk::operation what, u64 sector, u64 count) {
  if (what == blk::operation::discard) return d->discard(sector, count);
  if (what == blk::operation::write_zeroes) return d->write_zeroes(sector, count);
  return d->secure_erase(sector, count);
}

}  // namespace

TEST_CASE(
    "blk: on a device that accepts one sector per request, a call stops at a limit, reports its progress, and the next call continues",
    "[blk][hostile][slow]") {
  const auto what = GENERATE(blk::operation::discard, blk::operation::write_zeroes, blk::operation::secure_erase);
  rig::machine m;
  const extent_rules rules{.sectors = 1, .extents = 1, .alignment = 1};
  auto& model = m.add<blk_model>(
      seat::modern, 4, blk_options{.sectors = 70'000, .discard = rules, .write_zeroes = rules, .secure_erase = rules});
  m.function(4).logging = false;
  rig::fill_pattern(model);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  constexpr u64 first = 100, count = 66'000;
  const u32 before = model.served();
  CHECK(sweep(d, what, first, count).error() == errc::unfinished);
  CHECK(d->range_progress() == 65'536);
  CHECK(model.served() - before == 65'536);
  CHECK(sweep(d, what, first + d->range_progress(), count - d->range_progress()));
  CHECK(d->range_progress() == count - 65'536);
  CHECK(model.served() - before == count);
  CHECK(sweep(d, what, 69'999, 2).error() == errc::out_of_range);
  CHECK(d->range_progress() == 0);
  if (what != blk::operation::write_zeroes) return;
  for (const u64 sector : {first, first + 65'535, first + 65'536, first + count - 1})
    for (const u8 byte : rig::expected(model, sector, 512)) REQUIRE(byte == 0);
}
