// SPDX-License-Identifier: MIT
// Limits that a disk does not state, or states larger than hosts take: every request is one that the strictest host takes.
#include <catch2/generators/catch_generators.hpp>

#include "disk.hpp"

using namespace virtio;
using rig::blk_model;
using rig::blk_options;
using disk = rig::disk<>;
using rig::fill_pattern;
using rig::seat;
using virtio::testing::chain;
using virtio::testing::element;

namespace {

/// Buffers are at their own addresses and in one piece each; nobody looks into them.
struct vast_platform : rig::platform_type {
  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    if (way == direction::shared) return rig::platform_type::map(va, n, way, out);
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way, 1);
  }
  void unmap(const segment&, u32) const {}
};

/// Says how large requests were, and moves nothing.
struct counting_disk : blk_model {
  using blk_model::blk_model;
  std::vector<u64> sizes;

  std::uint32_t process(std::uint16_t queue, chain& buffer) override {
    sizes.push_back(buffer.readable() + buffer.writable() - 17);
    if (!accepted(2) && buffer.elements.size() > 3) return 0;
    fail[served()] = ok;
    return blk_model::process(queue, buffer);
  }
};

using vast_disk = rig::driver<blk::device<vast_platform, rig::any_pci, split_queue<16>>>;

/// A model without a driver: it gets chains that were made by hand.
struct bare_disk : blk_model {
  using blk_model::blk_model;
  using blk_model::process;
};

constexpr u64 longest_request = 0x7fff'f000;  // what Linux's preadv and pwritev move at once; hosts count in int

}  // namespace

TEST_CASE("blk: a transfer of 4 GiB is cut into requests that every host takes, whatever the disk states of itself", "[blk]") {
  const u32 size_max = GENERATE(0u, 0x7fff'fe00u, 0x8000'0000u, 0xffff'ffffu);
  const u32 seg_max = GENERATE(0u, 1u, 254u);
  const u32 blk_size = GENERATE(0u, 4096u);
  CAPTURE(size_max, seg_max, blk_size);
  const u64 size = sizeof(usize) > 4 ? u64{4} << 30 : 0xc000'0000;
  rig::machine m;
  auto& model = m.add<counting_disk>(seat::modern, 4, blk_options{.size_max = size_max, .seg_max = seg_max, .blk_size = blk_size});
  model.put_config(0x00, u64{1} << 40, 8);
  vast_disk d;
  REQUIRE(d->start({{&m.memory}}, m.where(4), d.storage()));
  const bytes data{reinterpret_cast<u8*>(uptr{0x1000'1000}), static_cast<usize>(size)};
  REQUIRE(m.memory.memory.add(0x1000'1000, data.data(), size, virtio::testing::device_memory::permission::read_write));
  CHECK(d->largest_request() <= longest_request);
  for (const bool is_write : {false, true}) {
    model.sizes.clear();
    REQUIRE((is_write ? d->write(8, data) : d->read(8, data)));
    u64 sum = 0;
    for (const u64 one : model.sizes) {
      CHECK(one <= longest_request);
      sum += one;
    }
    CHECK(sum == size);
    CHECK(model.sizes.size() <= 5);
  }
  // One request of the caller's own: what no host takes is not sent.
  model.sizes.clear();
  const bytes much = data.part(0, 0x8000'0000);
  CHECK(!d->submit_read(8, much));
  CHECK(!d->submit_write(8, const_bytes{much.data(), much.size()}));
  const bytes halves[] = {data.part(0, 0x4000'0000), data.part(0x4000'0000, 0x4000'0000)};
  CHECK(!d->submit_read(8, halves));
  CHECK(d->in_flight() == 0);
  REQUIRE(d->submit_read(8, data.part(0, d->largest_request())));
  d->kick();
  REQUIRE(d->wait_next());
  CHECK(model.sizes.size() == 1);
}

TEST_CASE("blk model: more bytes than hosts move at once end in io_error", "[blk][testing]") {
  virtio::testing::device_memory memory;
  std::vector<u8> room(4096, 0x5a);
  REQUIRE(memory.add(0x1000, room.data(), room.size(), virtio::testing::device_memory::permission::read_write));
  bare_disk model{memory};
  fill_pattern(model);
  std::fill_n(room.begin(), 16, u8{0});  // a read of sector 0
  const element header{0x1000, 16, false}, status{0x1fff, 1, true};
  const auto serve = [&](std::vector<element> elements) {
    chain c;
    c.elements = std::move(elements);
    c.memory = &memory;
    return model.process(0, c);
  };
  SECTION("one segment") {
    CHECK(serve({header, {0x1100, 1024, true}, status}) == 1025);
    CHECK(room[0xfff] == 0);
    CHECK(model.violations().empty());
  }
  SECTION("2 GiB") {
    model.fail[0] = blk_model::ok;
    (void)serve({header, {0x1100, 0x7fff'f200, true}, status});
    CHECK(room[0xfff] == 1);
    model.fail[1] = blk_model::ok;
    (void)serve({header, {0x1100, 0x7fff'f000, true}, status});
    CHECK(room[0xfff] == 0);
  }
}

TEST_CASE("blk: a disk that states no limit of an extent gets no larger ones than a transfer may be", "[blk]") {
  using virtio::testing::extent_rules;
  rig::machine m;
  auto& model = m.add<counting_disk>(
      seat::modern, 4, blk_options{.discard = extent_rules{}, .write_zeroes = extent_rules{}, .secure_erase = extent_rules{}});
  model.put_config(0x00, u64{1} << 40, 8);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  for (const auto what : {blk::operation::discard, blk::operation::write_zeroes, blk::operation::secure_erase}) {
    const auto most = d->limits_of(what);
    REQUIRE(most);
    CHECK(u64{most->sectors} * 512 <= longest_request);
    CHECK(most->extents == 1);
  }
  REQUIRE(d->discard(5, 0x0180'0000));
  CHECK(d->swept() == 0x0180'0000);
  CHECK(model.sizes.size() == 12);
}
