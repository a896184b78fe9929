// SPDX-License-Identifier: MIT
// A driver's buffers: each is either free, with the device or held.
#include <catch2/catch_test_macros.hpp>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include <virtio/device/buffer_pool.hpp>
#include <virtio/queue/either.hpp>

#include "ring_rig.hpp"

using namespace virtio;

namespace {

struct header {
  to_device<u32> a, b;
};
constexpr u32 count = 6;
using pool_type = buffer_pool<count, 256, sizeof(header)>;

struct pooled {
  std::unique_ptr<dma_storage<pool_type::dma_bytes>> storage = std::make_unique<dma_storage<pool_type::dma_bytes>>();
  pool_type pool{};
  pooled() { pool.start({storage->memory, storage->size, dma_addr{0x5'0000'0000}}); }
};

}  // namespace

TEST_CASE("buffers: an all-zero index is none, and any other keeps its number through a ring", "[device]") {
  static_assert(buffer_index{}.is_none() && no_buffer == buffer_index{} && no_buffer.cookie() == 0);
  static_assert(!buffer_index{0}.is_none() && buffer_index{0}.number() == 0);
  static_assert(buffer_index{0xfffd}.number() == 0xfffd);
  static_assert(buffer_index::of_cookie(buffer_index{7}.cookie()) == buffer_index{7});
  static_assert(buffer_index::of_cookie(0).is_none());
  static_assert(sizeof(buffer_index) == 2);
}

TEST_CASE("buffers: each is taken once until it returns, and no two share a byte", "[device]") {
  pooled p;
  std::vector<buffer_index> taken;
  while (p.pool.has_free()) taken.push_back(p.pool.take());
  REQUIRE(taken.size() == count);
  CHECK(p.pool.take().is_none());

  std::set<const u8*> bytes;
  for (const buffer_index one : taken) {
    for (u32 i = 0; i < 256; ++i) CHECK(bytes.insert(p.pool.payload(one) + i).second);
    const auto* cells = reinterpret_cast<const u8*>(&p.pool.header<header>(one));
    for (u32 i = 0; i < sizeof(header); ++i) CHECK(bytes.insert(cells + i).second);
  }
  CHECK(*bytes.begin() >= p.storage->memory);
  CHECK(*bytes.rbegin() < p.storage->memory + pool_type::dma_bytes);
  for (const buffer_index one : taken)
    CHECK((p.pool.payload(one) - p.storage->memory) / 4096 == (p.pool.payload(one) + 255 - p.storage->memory) / 4096);

  p.pool.give_back(taken[3]);
  CHECK(p.pool.take() == taken[3]);
  CHECK(p.pool.take().is_none());
}

TEST_CASE("buffers: held buffers are listed first in, first out", "[device]") {
  pooled p;
  buffer_list one{}, other{};
  std::vector<buffer_index> taken;
  for (u32 i = 0; i < count; ++i) taken.push_back(p.pool.take());
  for (u32 i = 0; i < count; ++i) (i % 2 == 0 ? one : other).push(p.pool, taken[i]);
  CHECK(one.first() == taken[0]);
  CHECK(one.last() == taken[4]);
  CHECK(p.pool.after(taken[0]) == taken[2]);
  CHECK(p.pool.after(taken[4]).is_none());
  for (u32 i = 0; i < count; ++i) CHECK((i % 2 == 0 ? one : other).pop(p.pool) == taken[i]);
  CHECK(one.empty());
  CHECK(other.last().is_none());
  one.push(p.pool, taken[5]);  // an emptied list can be used again
  CHECK((one.first() == taken[5] && one.last() == taken[5]));
}

namespace {

/// A ring of either format, its device, and the pool whose buffers go through it.
template <class Ring, class Device>
struct posted : pooled {
  static constexpr u64 ring_at = 0x7'0000'0000, pool_at = 0x5'0000'0000;
  std::unique_ptr<dma_storage<Ring::dma_bytes>> ring_storage = std::make_unique<dma_storage<Ring::dma_bytes>>();
  virtio::testing::device_memory memory{};
  Device device{};
  Ring ring{};

  explicit posted(feature_set features) {
    using permission = virtio::testing::device_memory::permission;
    REQUIRE(memory.add(ring_at, ring_storage->memory, Ring::dma_bytes, permission::read_write));
    REQUIRE(memory.add(pool_at, storage->memory, pool_type::dma_bytes, permission::read_write));
    const auto layout = ring.attach({ring_storage->memory, Ring::dma_bytes, dma_addr{ring_at}}, 8, features);
    REQUIRE(layout);
    device.configure(memory, 8, ring_at + layout->descriptors, ring_at + layout->driver, ring_at + layout->device, {});
  }
};

template <class Rig>
void go_round(Rig& r) {
  std::multiset<usize> prepared;
  const auto prepare = [&](buffer_index one) { prepared.insert(one.number()); };
  r.pool.post(r.ring, prepare);
  REQUIRE(r.ring.publish());
  REQUIRE(r.ring.in_flight() == 4);  // eight descriptors, two per chain
  CHECK(prepared.size() >= 4);

  buffer_index got{};
  u32 length = 0;
  CHECK(r.pool.arrived(r.ring, got, length) == errc::not_ready);

  std::vector<buffer_index> held;
  for (u32 i = 0; i < 4; ++i) {
    const auto chain = r.device.pop();
    REQUIRE(chain);
    REQUIRE(chain->elements.size() == 2);
    CHECK(chain->elements[0].length == sizeof(header));
    CHECK(chain->elements[1].length == 256);
    CHECK((chain->elements[0].writable && chain->elements[1].writable));
    const u64 payload = chain->elements[1].at - r.pool_at;
    r.storage->memory[payload] = static_cast<u8>(0xa0 + i);
    r.device.push(chain->head, i == 3 ? 0xffff'ffff : 9 + i);  // the last length is too large and is cut
    r.device.publish();
    REQUIRE(r.pool.arrived(r.ring, got, length) == errc::ok);
    CHECK(length == (i == 3 ? 256 + sizeof(header) : 9 + i));
    CHECK(r.pool.payload(got) == r.storage->memory + payload);
    CHECK(*r.pool.payload(got) == 0xa0 + i);
    CHECK(std::find(held.begin(), held.end(), got) == held.end());
    held.push_back(got);
  }
  // Held buffers are not posted: two are left.
  r.pool.post(r.ring, prepare);
  r.ring.publish();
  CHECK(r.ring.in_flight() == 2);
  CHECK_FALSE(r.pool.has_free());
  for (const buffer_index one : held) r.pool.give_back(one);
  r.pool.post(r.ring, prepare);
  r.ring.publish();
  CHECK(r.ring.in_flight() == 4);
}

template <class Rig>
void send(Rig& r) {
  std::memset(r.pool.payload(buffer_index{0}), 0, 256);
  std::vector<buffer_index> sent;
  for (u32 i = 0; i < 3; ++i) {
    const buffer_index one = r.pool.take();
    r.pool.payload(one)[10] = static_cast<u8>(i);
    segment_list<1> chain;
    r.pool.append(chain, one, direction::to_device, 10, 5);
    const auto slot = r.ring.reserve();
    REQUIRE(slot);
    REQUIRE(r.ring.stage(*slot, chain, one.cookie()));
    sent.push_back(one);
  }
  segment_list<1> nothing;
  r.pool.append(nothing, sent[0], direction::to_device, 0, 1);
  REQUIRE(r.ring.stage(*r.ring.reserve(), nothing, no_buffer.cookie()));  // a chain without a buffer
  r.ring.publish();
  bool some = false;
  CHECK(r.pool.collect(r.ring, some) == errc::ok);
  CHECK_FALSE(some);
  for (u32 i = 0; i < 4; ++i) {
    const auto chain = r.device.pop();
    REQUIRE(chain);
    REQUIRE(chain->elements.size() == 1);
    CHECK_FALSE(chain->elements[0].writable);
    if (i < 3) {
      CHECK(chain->elements[0].length == 5);
      CHECK(r.storage->memory[chain->elements[0].at - r.pool_at] == i);
    }
    r.device.push(chain->head, 0);
  }
  r.device.publish();
  CHECK(r.pool.collect(r.ring, some) == errc::ok);
  CHECK(some);
  u32 free = 0;
  while (!r.pool.take().is_none()) ++free;
  CHECK(free == count);
}

using split_rig = posted<split_ring<8>, virtio::testing::split_device>;
using packed_rig = posted<packed_ring<8>, virtio::testing::packed_device>;
constexpr feature_set modern{feature::version_1}, packed = modern | feature_set{feature::ring_packed};

}  // namespace

TEST_CASE("buffers: free ones are posted until the ring is full, and arrived ones are held until they are returned",
          "[device]") {
  SECTION("split") {
    split_rig r{modern};
    go_round(r);
  }
  SECTION("packed") {
    packed_rig r{packed};
    go_round(r);
  }
}

TEST_CASE("buffers: sent buffers are free again, and a chain without a buffer frees none", "[device]") {
  SECTION("split") {
    split_rig r{modern};
    send(r);
  }
  SECTION("packed") {
    packed_rig r{packed};
    send(r);
  }
}
