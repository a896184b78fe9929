// SPDX-License-Identifier: MIT
// The split ring's memory, byte by byte: the positions of the parts, their initial values, and their byte order.
#include <catch2/catch_test_macros.hpp>

#include <cstring>
#include <memory>

#include "ring_rig.hpp"

using namespace virtio;

namespace {

// The specification's layout for n entries, written here independently: 16-byte descriptors, then flags, index, n
// entries and used_event; the used ring of flags, index, n pairs and avail_event on the next page.
template <u16 N>
void check_layout() {
  using ring = split_ring<N>;
  auto storage = std::make_unique<dma_storage<ring::dma_bytes>>();
  auto one = std::make_unique<ring>();
  const auto layout = one->attach({storage->memory, storage->size, dma_addr{0x10000}}, N, {});
  REQUIRE(layout);
  CHECK(layout->descriptors % 16 == 0);
  CHECK(layout->driver % 2 == 0);
  CHECK(layout->device % 4 == 0);
  CHECK(layout->descriptors == 0);
  CHECK(layout->driver == usize{16} * N);
  const usize end_of_driver = usize{16} * N + 2 + 2 + usize{2} * N + 2;
  CHECK(layout->device == (end_of_driver + 4095) / 4096 * 4096);
  CHECK(layout->device + 2 + 2 + usize{8} * N + 2 <= ring::dma_bytes);
  CHECK(ring::dma_bytes % 4096 == 0);
}

}  // namespace

TEST_CASE(
    "split queue: one contiguous block, aligned, with the used ring on a page of its own [SPLIT-01][SPLITL-02][SPLITL-03]",
    "[queue][split]") {
  check_layout<1>();
  check_layout<2>();
  check_layout<8>();
  check_layout<128>();
  check_layout<256>();
  check_layout<1024>();
  check_layout<32768>();
}

TEST_CASE("split queue: attach clears the storage [SPLIT-19]", "[queue][split]") {
  auto r = std::make_unique<rig::pair<split_ring<8>>>();
  std::memset(r->storage.data, 0xff, r->storage.size);
  r->attach(8, feature_set{feature::event_idx});  // the device reports flags and an index that are not zero
  for (usize i = 0; i < r->storage.size; ++i) {
    // All zeros except the hint for no interrupts.
    const bool is_used_event = i == 128 + 4 + 16 || i == 128 + 4 + 16 + 1;
    if (!is_used_event && r->storage.data[i] != 0) FAIL("byte " << i);
  }
  r->require_no_violations();
}

TEST_CASE("split queue: a descriptor is address, length, flags, next, little-endian", "[queue][split]") {
  auto r = std::make_unique<rig::pair<split_ring<4>>>();
  r->attach(4, {});
  const rig::two_pieces two;
  REQUIRE(r->ring.stage(*r->ring.reserve(), two, 0));
  const u8 expect[32] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xcc, 0xbb, 0xaa, 0x19, 1, 0, 1, 0,
                         0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x04, 0x03, 0x02, 0x01, 2, 0, 0, 0};
  CHECK(std::memcmp(r->storage.data, expect, sizeof expect) == 0);
}

TEST_CASE("split queue: a legacy ring of a big-endian guest is big-endian, to the last word [SPLITL-04]",
          "[queue][split][legacy]") {
  using ring = split_ring<4, ring_options{.order = byte_order::big}>;
  auto storage = std::make_unique<dma_storage<ring::dma_bytes>>();
  auto one = std::make_unique<ring>();
  REQUIRE(one->attach({storage->memory, storage->size, dma_addr{0}}, 4, {}));
  const rig::two_pieces two;
  const auto t = one->stage(*one->reserve(), two, 0);
  REQUIRE(t);
  one->publish();
  const u8 expect[32] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x19, 0xaa, 0xbb, 0xcc, 0, 1, 0, 1,
                         0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x01, 0x02, 0x03, 0x04, 0, 2, 0, 0};
  CHECK(std::memcmp(storage->memory, expect, sizeof expect) == 0);
  const u8 available[6] = {0, 1, 0, 1, 0, 0};  // flags, index, the first head
  CHECK(std::memcmp(storage->memory + 64, available, sizeof available) == 0);
  u8* used = storage->memory + 4096;
  const u8 element[8] = {0, 0, 0, 0, 0, 0, 0, 0x2a};
  std::memcpy(used + 4, element, sizeof element);
  used[3] = 1;  // the index
  const auto done = one->next_completion();
  REQUIRE(done);
  CHECK(done->which == *t);
  CHECK(done->length == 0x2a);
}

TEST_CASE("split queue: sizes follow the device, down to the next power of two [PCI-17][SPLITL-01]", "[queue][split]") {
  using modest = split_ring<16, ring_options{.ring_entries = 256}>;
  CHECK(modest::fit(1024, ring_size::at_most) == 16);
  CHECK(modest::fit(16, ring_size::at_most) == 16);
  CHECK(modest::fit(15, ring_size::at_most) == 8);
  CHECK(modest::fit(1, ring_size::at_most) == 1);
  CHECK(modest::fit(256, ring_size::exactly) == 256);
  CHECK(modest::fit(512, ring_size::exactly) == 0);
  CHECK(modest::fit(4, ring_size::exactly) == 4);
  CHECK(modest::fit(100, ring_size::exactly) == 0);
}
