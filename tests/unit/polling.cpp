// SPDX-License-Identifier: MIT
// Base classes of boards: identity-mapped memory, and the waits of a board without a clock.
#include <catch2/catch_test_macros.hpp>

#include <virtio/platform/bounce.hpp>
#include <virtio/platform/identity.hpp>

#include "processor.hpp"

using namespace virtio;

namespace {

template <class Board>
u64 turns(waiting why, u64 enough) {
  u64 attempt = 0;
  while (attempt < enough && Board{}.keep_waiting(why, attempt)) ++attempt;
  return attempt;
}

struct host_of_nothing {};
struct board : host_of_nothing, identity_mapped<rig::hardware_barriers>, polling<1000> {};
static_assert(platform<board> && __is_empty(board));
static_assert(!platform<identity_mapped<>>, "a board says how long it waits, or inherits polling");
static_assert(!platform<polling<>>);

}  // namespace

TEST_CASE("polling: a wait for a peer ends long before a wait for a device, and every wait ends", "[platform]") {
  CHECK(turns<board>(waiting::reset, 2000) == 1000);
  CHECK(turns<board>(waiting::request, 2000) == 1000);
  CHECK(turns<board>(waiting::connect, 2000) == 20);
  CHECK(turns<board>(waiting::shutdown, 2000) == 20);
  CHECK(turns<polling<3>>(waiting::connect, 10) == 1);  // a peer is polled at least once
  CHECK(turns<polling<0>>(waiting::reset, 10) == 0);
}

TEST_CASE("polling: the default bound is that of docs/porting.md", "[platform]") {
  constexpr identity_platform<> usual;
  for (const waiting why : {waiting::reset, waiting::request}) {
    CHECK(usual.keep_waiting(why, 499'999'999));
    CHECK_FALSE(usual.keep_waiting(why, 500'000'000));
  }
  for (const waiting why : {waiting::connect, waiting::shutdown}) {
    CHECK(usual.keep_waiting(why, 9'999'999));
    CHECK_FALSE(usual.keep_waiting(why, 10'000'000));
  }
}

TEST_CASE("identity mapping: a buffer's device address is its CPU address, in one piece", "[platform]") {
  u8 memory[64];
  segment_list<1> pieces;
  REQUIRE(board{}.map(memory + 3, 7, direction::from_device, pieces));
  REQUIRE(pieces.size() == 1);
  CHECK(pieces[0].at == dma_addr{reinterpret_cast<uptr>(memory) + 3});
  CHECK(pieces[0].length == 7);
}
