// SPDX-License-Identifier: MIT
// Indirect tables: with the feature a chain of several pieces takes one descriptor on every ring; without it one per
// piece. The ring reports both.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "ring_types.hpp"

using namespace virtio;
using namespace rig;

namespace {

using split_both = split_ring<8, ring_options{.indirect = 8, .in_order = true}>;
using packed_both = packed_ring<8, packed_options{.indirect = 8, .in_order = true}>;
struct split_either : either_ring<8, ring_options{.indirect = 8}> {};
struct packed_either : either_ring<8, ring_options{.indirect = 8}> {};

}  // namespace

template <>
inline constexpr bool rig::is_packed<packed_either> = true;

namespace {

feature_set features_for(const subject& r, bool tables) {
  feature_set f{feature::version_1};
  if (r.in_order) f.set(static_cast<u8>(feature::in_order));
  if (tables) f.set(static_cast<u8>(feature::indirect_desc));
  return f;
}

// Every second attachment is without the feature, so that no state of the previous one remains.
void in_tables(subject& r) {
  for (const bool tables : {true, false, true}) {
    CAPTURE(tables);
    r.attach(8, features_for(r, tables));
    CHECK(r.ring.longest_chain() == (tables ? 8 : r.room()));
    u64 sent = 0;
    while (r.submit(1, 2, sent)) ++sent;
    CHECK(sent == (tables ? r.room() : r.room() / 3u));
    r.kick();
    for (u64 i = 0; i < sent; ++i) {
      const auto one = r.device.pop();
      REQUIRE(one);
      CHECK((one->table != 0) == tables);
      CHECK(one->descriptors == (tables ? 1 : 3));
      CHECK(r.is_chain(*one, 1, 2, i));
      r.device.push(one->head, 0);
      r.device.publish();
      CHECK(r.collect().cookie == i);
    }
    // One piece needs no table.
    REQUIRE(r.submit(1, 0, 9));
    r.kick();
    const auto single = r.device.pop();
    REQUIRE(single);
    CHECK(single->table == 0);
    r.require_no_violations();
    r.device.reset();
    while (const auto back = r.ring.reclaim()) r.ring.release(back->which);
  }
}
TEMPLATE_TEST_CASE(
    "tables: with INDIRECT_DESC a chain takes one descriptor, without it as many as it has pieces "
    "[PACKED-13][SPLIT-06][PACKED-10]",
    "[queue][contract][indirect]", indirect, packed_indirect, split_both, packed_both, split_either, packed_either) {
  in_tables(*std::make_unique<pair<TestType>>());
}

TEST_CASE("tables: indirect tables of a split ring follow its used ring, which ends inside a page",
          "[queue][split][indirect]") {
  const auto r = std::make_unique<pair<split_ring<512, ring_options{.indirect = 3}>>>();
  r->attach(512, features_for(*r, true));
  REQUIRE(r->submit(1, 1, 0));
  r->kick();
  const auto one = r->device.pop();
  REQUIRE(one);
  CHECK(one->table >= storage_at + 16 * 512 + 4096 + 6 + 8 * 512);  // the available ring takes a page
}

}  // namespace
