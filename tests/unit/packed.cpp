// SPDX-License-Identifier: MIT
// The packed ring's memory, byte by byte, and drivers on it: the number of entries they use, and the length of lists.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <cstring>
#include <memory>

#include "disk.hpp"
#include "entropy.hpp"
#include "ring_rig.hpp"

using namespace virtio;

namespace {

template <u16 N>
void check_layout() {
  using ring = packed_ring<N>;
  auto storage = std::make_unique<dma_storage<ring::dma_bytes>>();
  auto one = std::make_unique<ring>();
  const auto layout = one->attach({storage->memory, storage->size, dma_addr{0x10000}}, N, ring::required);
  REQUIRE(layout);
  CHECK(layout->descriptors == 0);
  CHECK(layout->driver % 4 == 0);
  CHECK(layout->driver >= usize{16} * N);
  CHECK(layout->device % 4096 == 0);  // what only the device writes
  CHECK(layout->device >= layout->driver + 4);
  CHECK(layout->device + 4 <= ring::dma_bytes);
  CHECK(ring::dma_bytes % 4096 == 0);
}

}  // namespace

TEST_CASE("packed queue: descriptors and both event words, aligned, with the device's on a page of its own [PACKED-01]",
          "[queue][packed]") {
  check_layout<1>();
  check_layout<5>();
  check_layout<8>();
  check_layout<255>();
  check_layout<256>();
  check_layout<32768>();
}

TEST_CASE("packed queue: attach clears the storage [FACT-20]", "[queue][packed]") {
  auto r = std::make_unique<rig::pair<packed_ring<8>>>();
  std::memset(r->storage.data, 0xff, r->storage.size);
  r->attach(8, feature_set{feature::event_idx});  // the device reports flags and events that are not zero
  for (usize i = 0; i < r->storage.size; ++i) {
    const u8 expected = i == 128 + 2 ? 1 : 0;  // all zeros except the hint for no interrupts
    if (r->storage.data[i] != expected) FAIL("byte " << i);
  }
  r->require_no_violations();
}

TEST_CASE(
    "packed queue: a descriptor is address, length, id, flags, little-endian, with AVAIL and USED by the lap [FACT-21]",
    "[queue][packed]") {
  auto r = std::make_unique<rig::pair<packed_ring<3>>>();
  r->attach(3, {});
  const rig::two_pieces two;
  for (int lap = 0; lap < 4; ++lap) {
    const auto t = r->ring.stage(*r->ring.reserve(), two, 0);
    const auto other = r->submit(1, 0, 1);  // the third place
    REQUIRE((t && other));
    r->ring.publish();
    const u8 id = static_cast<u8>(t->slot), avail = lap % 2 == 0 ? 0x80 : 0, used = lap % 2 == 0 ? 0 : 0x80;
    const u8 next = avail | 1, write = avail | 2;
    const u8 expect[32] = {0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0xcc, 0xbb, 0xaa, 0x19, id, 0, next,  used,
                           0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x04, 0x03, 0x02, 0x01, id, 0, write, used};
    CHECK(std::memcmp(r->storage.data, expect, sizeof expect) == 0);
    auto both = r->device.honest(t->slot, 9);  // these addresses are not used
    both.skip = 2;
    r->device.push(both);
    r->device.push(other->slot, 0);
    r->device.publish();
    CHECK(r->collect().length == 9);
    CHECK(r->collect().which == *other);
  }
}

TEST_CASE("packed queue: drivers use as many entries as possible, and never none [PCI-16]", "[queue][packed][pci]") {
  const u16 maximum = GENERATE(as<u16>{}, 0, 1, 3, 5, 63, 64, 65, 256, 32768);
  rig::machine m;
  auto& model = m.add<rng_model>(GENERATE(seat::modern, seat::crosvm), 4, maximum);
  model.offer({34});
  rig::entropy<packed_queue<64>> e;
  const auto up = e.start(m, m.where(4));  // the model reports a size of 0 or above its maximum
  if (maximum == 0) {
    CHECK(up.error() == errc::not_found);
    CHECK(e->why().why == verdict::queue_missing);
    return;
  }
  REQUIRE(up);
  CHECK(model.at(0).size == std::min<u16>(maximum, 64));
  u8 data[100];
  for (int i = 0; i < 150; ++i) REQUIRE(e->fill(data));
}

TEMPLATE_TEST_CASE(
    "packed queue: a list has no more descriptors than the device's SEG_MAX allows [PACKED-04][PACKED-12]",
    "[queue][packed][blk]", packed_queue<16>, (packed_queue<16, packed_options{.indirect = 16}>)) {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.seg_max = 3});
  model.offer({28, 34});
  rig::fill_pattern(model);
  m.memory.largest_piece = 512;  // memory that is scattered for the device
  rig::disk<TestType> d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> data(20 * 512);
  CHECK(!d->submit_read(0, bytes{data.data(), 4 * 512}));
  REQUIRE(d->submit_read(0, bytes{data.data(), 3 * 512}));
  m.running = false;
  d->kick();
  const auto one = model.packed_ring().pop();
  REQUIRE(one);
  CHECK(one->elements.size() == 1 + 3 + 1);
  CHECK((one->table != 0) == TestType::template ring<smp_barriers>::wanted.has(feature::indirect_desc));
  CHECK(d->reset());
  CHECK(rig::drained(d).second.size() == 1);
}
