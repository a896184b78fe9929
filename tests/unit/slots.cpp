// SPDX-License-Identifier: MIT
// The bookkeeping of requests: the validity of tokens, also after generations wrap.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>

#include "ring_rig.hpp"

using namespace virtio;

TEST_CASE("slots: an all-zero table has no live token and no request that a device may complete", "[queue]") {
  constexpr slot_table<2> table{};
  CHECK(!table.is_live({}));
  CHECK(!table.is_live({1, 0}));
  CHECK(!table.is_live({2, 1}));  // no such slot
  CHECK(!table.may_complete(table[0]));
}

TEST_CASE("slots: a table that follows another is past its generations, also if they wrap", "[queue]") {
  slot_table<3> before, after;
  before[0].generation = 0xffff'ffff;  // still in flight
  before[1].generation = 5;
  before[2].generation = 0xffff'fff0;
  after[0].generation = 0xffff'fff0;
  after[1].generation = 0xffff'fffe;  // earlier than 5, since that has wrapped
  after[2].generation = 2;            // later
  after.follow(before);
  CHECK(after[0].generation == 0);
  CHECK(after[1].generation == 6);
  CHECK(after[2].generation == 2);
}

TEMPLATE_TEST_CASE("slots: a generation that wraps makes no stale token valid, and no token equal to token{}",
                   "[queue]", split_ring<2>, packed_ring<2>) {
  const auto r = std::make_unique<rig::pair<TestType>>();
  r->attach(2, {});
  // The state after 2^31 - 2 requests. The ring's record itself is not const.
  const_cast<slot_record&>(r->ring.record(0)).generation = 0xffff'fffc;
  std::vector<token> stale;
  for (u64 i = 0; i < 5; ++i) {
    const auto sent = r->submit(1, 0, i);
    REQUIRE(sent);
    CHECK(sent->generation % 2 == 1);
    r->kick();
    r->serve();
    const auto done = r->ring.next_completion();
    REQUIRE(done);
    CHECK(done->which == *sent);
    CHECK(r->ring.is_live(*sent));
    CHECK(!r->ring.is_live({}));
    r->ring.release(*sent);
    stale.push_back(*sent);
    for (const token& one : stale) CHECK(!r->ring.is_live(one));
  }
  CHECK(stale[1].generation == 0xffff'ffff);
  CHECK(stale[2].generation == 1);
}
