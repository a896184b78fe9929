// SPDX-License-Identifier: MIT
// The list of free slots, and generations that one table takes over from another: after restarts, and out of order.
#include <catch2/catch_test_macros.hpp>

#include <deque>
#include <random>
#include <vector>

#include <virtio/queue/slots.hpp>

using namespace virtio;

TEST_CASE("slots: a list starts with a number of free slots, and a returned slot is used after all others",
          "[queue][slot-list]") {
  slot_list<8> list;
  for (const u32 count : {8u, 5u, 1u, 7u, 2u, 8u}) {
    CAPTURE(count);
    list.start(count);
    std::deque<u16> expected;
    for (u16 i = 0; i < count; ++i) expected.push_back(i);
    // The second returns before the first, as if the caller held one longer.
    std::vector<u16> out;
    for (int i = 0; i < 2 && expected.size() > 1; ++i) {  // one stays free
      CHECK(list.first() == expected.front());
      out.push_back(expected.front());
      expected.pop_front();
      list.take_first();
    }
    for (; !out.empty(); out.pop_back()) {
      list.put_last(out.back());
      expected.push_back(out.back());
    }
    u16 at = list.first();
    for (const u16 one : expected) {
      CHECK(at == one);
      at = list.after(at);
    }
  }
}

TEST_CASE("slots: a slot can return to the front or to the end of a list", "[queue][slot-list]") {
  std::mt19937 random{3};
  slot_list<8> list;
  for (int life = 0; life < 50; ++life) {
    const u32 count = static_cast<u32>(1 + random() % 8);
    list.start(count);
    std::deque<u16> free;
    std::vector<u16> taken;
    for (u16 i = 0; i < count; ++i) free.push_back(i);
    for (int step = 0; step < 200; ++step) {
      if (random() % 2 != 0 && free.size() > 1) {
        REQUIRE(list.first() == free.front());
        taken.push_back(free.front());
        free.pop_front();
        list.take_first();
      } else if (!taken.empty()) {
        const usize which = random() % taken.size();
        if (random() % 2 != 0) {
          list.put_last(taken[which]);
          free.push_back(taken[which]);
        } else {
          list.put_first(taken[which]);
          free.push_front(taken[which]);
        }
        taken[which] = taken.back();
        taken.pop_back();
      }
    }
  }
}

TEST_CASE("slots: generations that follow another table never go back, even if they wrap", "[queue][generations]") {
  slot_table<2> first, second;
  first.clear();
  second.clear();
  const auto serve = [](slot_table<2>& table, int times) {
    token last;
    for (int i = 0; i < times; ++i) {
      last = {0, table.begin(0, 0, 0).generation};
      completion out;
      table.end(0, {}, used_length::known, out);
      (void)table.release(last);
    }
    return last;
  };
  const token late = serve(first, 9);
  const token early = serve(second, 2);
  SECTION("from earlier to later") {
    second.follow(first);
    const token next{0, second.begin(0, 0, 0).generation};
    CHECK(next.generation == late.generation + 2);
    CHECK(second.is_live(next));
  }
  SECTION("not from later to earlier") {
    first.follow(second);
    const token next{0, first.begin(0, 0, 0).generation};
    CHECK(next.generation == late.generation + 2);
    CHECK_FALSE(first.is_live(late));
    CHECK_FALSE(first.is_live(early));
  }
  SECTION("a request in flight is stale in the table that follows") {
    const token live{0, first.begin(0, 0, 0).generation};
    second.follow(first);
    CHECK(first.is_live(live));
    CHECK_FALSE(second.is_live(live));
    CHECK(second.begin(0, 0, 0).generation == live.generation + 2);
  }
  SECTION("where 32 bits wrap") {
    first[1].generation = 4;  // after 2^31 requests more than
    second[1].generation = 0xffff'fffe;
    second.follow(first);
    CHECK(second.begin(1, 0, 0).generation == 5);
    first.follow(second);
    CHECK(first.begin(1, 0, 0).generation >= 5);
    first[1].generation = 0xffff'fffe;
    second[1].generation = 4;
    second.follow(first);
    CHECK(second.begin(1, 0, 0).generation == 5);
  }
}

TEST_CASE("slots: a token of a request that was in flight is stale after clear(), and stays so",
          "[queue][generations]") {
  slot_table<2> table;
  table.clear();
  const token before{1, table.begin(1, 0, 0).generation};
  REQUIRE(table.is_live(before));
  table.clear();
  CHECK_FALSE(table.is_live(before));
  const token after{1, table.begin(1, 0, 0).generation};
  CHECK(table.is_live(after));
  CHECK_FALSE(table.is_live(before));
}
