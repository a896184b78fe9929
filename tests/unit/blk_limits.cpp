// SPDX-License-Identifier: MIT
// Limits that a disk does not state, or states larger than hosts accept: the strictest host accepts every request.
#include <catch2/generators/catch_generators.hpp>

#include <random>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;
using disk = rig::disk<>;
using virtio::testing::chain;
using virtio::testing::element;

namespace {

/// Buffers are at their own addresses and in one piece each; their contents are not read.
struct vast_platform : rig::platform_type {
  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    if (way == direction::shared) return rig::platform_type::map(va, n, way, out);
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way, 1);
  }
  void unmap(const segment&, u32) const {}
};

/// Records the sizes of requests, and transfers no data.
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

/// Adjacent pages for the CPU are not adjacent for the device.
struct paged_platform : rig::platform_type {
  static constexpr usize page = 4096;
  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    if (way == direction::shared) return rig::platform_type::map(va, n, way, out);
    auto* at = static_cast<const volatile u8*>(va);
    const u16 before = out.size();
    while (n != 0) {
      const usize here = std::min<usize>(n, page - reinterpret_cast<uptr>(at) % page);
      if (const auto mapped = rig::platform_type::map(at, here, way, out); !mapped) {
        for (u16 i = before; i < out.size(); ++i) undo(out[i]);
        return mapped;
      }
      at += here;
      n -= here;
    }
    return {};
  }
  void undo(const segment& one) const { rig::platform_type::unmap(one, 0); }
};

using vast_disk = rig::driver<blk::device<vast_platform, rig::any_pci, split_queue<16>>>;
using paged_disk = rig::driver<blk::device<paged_platform, rig::any_pci, split_queue<16>>>;

/// A model without a driver: it receives chains that the test makes.
struct bare_disk : blk_model {
  using blk_model::blk_model;
  using blk_model::process;
};

constexpr u64 longest_request = 0x7fff'f000;  // what Linux's preadv and pwritev move at once; hosts count in int

}  // namespace

TEST_CASE("blk: a transfer of 4 GiB is split into requests that every host accepts, whatever limits the disk states",
          "[blk]") {
  const u32 size_max = GENERATE(0u, 0x7fff'fe00u, 0x8000'0000u, 0xffff'ffffu);
  const u32 seg_max = GENERATE(0u, 1u, 254u);
  const u32 blk_size = GENERATE(0u, 4096u);
  CAPTURE(size_max, seg_max, blk_size);
  const u64 size = sizeof(usize) > 4 ? u64{4} << 30 : 0xc000'0000;
  rig::machine m;
  auto& model = m.add<counting_disk>(seat::modern, 4,
                                     blk_options{.size_max = size_max, .seg_max = seg_max, .blk_size = blk_size});
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
  // A request of the caller: a size that no host accepts is not sent.
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

TEST_CASE("blk: a request of the caller has at most largest_transfer bytes, whatever segments the disk accepts",
          "[blk]") {
  const u32 size_max = GENERATE(0u, 0x4000'0000u, 0xffff'ffffu);
  const u32 seg_max = GENERATE(0u, 4u);
  CAPTURE(size_max, seg_max);
  rig::machine m;
  auto& model = m.add<counting_disk>(seat::modern, 4, blk_options{.size_max = size_max, .seg_max = seg_max});
  model.put_config(0x00, u64{1} << 40, 8);
  vast_disk d;
  REQUIRE(d->start({{&m.memory}}, m.where(4), d.storage()));
  const bytes data{reinterpret_cast<u8*>(uptr{0x1000'1000}), usize{0x4000'1000}};
  REQUIRE(m.memory.memory.add(0x1000'1000, data.data(), data.size(),
                              virtio::testing::device_memory::permission::read_write));
  for (const usize more : {usize{512}, usize{4096}}) {
    const bytes much = data.part(0, largest_transfer + more);
    const bytes parts[] = {much.part(0, more), much.part(more, largest_transfer)};
    const const_bytes written[] = {parts[0], parts[1]};
    CHECK(d->submit_read(8, much).error() == errc::out_of_range);
    CHECK(d->submit_read(8, parts).error() == errc::out_of_range);
    CHECK(d->submit_write(8, const_bytes{much}).error() == errc::out_of_range);
    CHECK(d->submit_write(8, written).error() == errc::out_of_range);
  }
  CHECK(d->in_flight() == 0);
  CHECK(d->submit_read(8, data.part(0, largest_transfer)));
  CHECK(d->submit_write(8, const_bytes{data.part(0, largest_transfer)}));
  d->kick();
  REQUIRE(d->wait_next());
  REQUIRE(d->wait_next());
  CHECK(model.sizes == std::vector<u64>{largest_transfer, largest_transfer});
}

TEST_CASE(
    "blk model: more bytes than hosts transfer at once end in io_error, and without SEG_MAX the status goes into a second segment",
    "[blk][testing]") {
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
  SECTION("two to write") {
    CHECK(serve({header, {0x1100, 512, true}, {0x1400, 512, true}, status}) == 513);
    CHECK(room[0xfff] == 0x5a);  // not written
    CHECK(room[0x400] == 0);
    CHECK(room[0x401] == 0x5a);
    CHECK(std::equal(room.begin() + 0x100, room.begin() + 0x300, model.data().begin()));
    CHECK(model.violations().size() == 1);
  }
  SECTION("two to read") {
    room[0] = 1;
    CHECK(serve({header, {0x1100, 512, false}, {0x1400, 512, false}, status}) == 0);
    CHECK(room[0xfff] == 0x5a);
    CHECK(model.violations().size() == 1);
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

TEST_CASE("blk: a disk that states no SEG_MAX gets one data segment per request, however the memory is scattered",
          "[blk]") {
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy, seat::crosvm);
  const u32 piece = GENERATE(512u, 700u, 4096u);
  CAPTURE(name(where), piece);
  rig::machine m;
  auto& model = m.add<blk_model>(where, 4, blk_options{.queue_size = 16});
  model.offer({28});
  fill_pattern(model);
  m.memory.largest_piece = piece;
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->most_pieces() == 1);
  std::vector<u8> data(100 * 512);
  REQUIRE(d->read(7, data));
  CHECK(data == expected(model, 7, data.size()));
  std::mt19937 random{3};
  for (u8& b : data) b = static_cast<u8>(random());
  REQUIRE(d->write(1000, data));
  CHECK(data == expected(model, 1000, data.size()));
  REQUIRE(d->flush());

  u8 a[512], b[512];
  const bytes two[] = {a, b}, one[] = {a, bytes{b, 0}};
  CHECK(d->submit_read(0, two).error() == errc::too_many_pieces);
  const const_bytes out[] = {const_bytes{a}, const_bytes{b}};
  CHECK(d->submit_write(0, out).error() == errc::too_many_pieces);
  CHECK(m.memory.live() == 0);
  REQUIRE(d->submit_read(0, one));
  REQUIRE(d->wait_next());
}

TEST_CASE("blk: with SEG_MAX a request has at most as many segments as the disk states and the driver has room for",
          "[blk]") {
  // The queue has 16 entries; header and status take two.
  const auto [stated, most] = GENERATE(table<u32, u16>({{1, 1}, {2, 2}, {7, 7}, {254, 14}}));
  CAPTURE(stated, most);
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4, blk_options{.queue_size = 16, .seg_max = stated});
  fill_pattern(model);
  m.memory.largest_piece = 512;
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->most_pieces() == most);
  std::vector<u8> data(512 * (u32{most} + 1));
  CHECK(d->submit_read(3, data).error() == errc::too_many_pieces);
  REQUIRE(d->submit_read(3, bytes{data}.part(0, 512 * usize{most})));
  REQUIRE(d->wait_next());
  REQUIRE(d->read(3, data));
  CHECK(data == expected(model, 3, data.size()));
}

TEST_CASE(
    "blk: without SEG_MAX memory scattered by pages costs at most one request per page, wherever the buffer starts",
    "[blk]") {
  // Halves of most of them are never powers of two.
  const u32 size_max = GENERATE(0u, 0x7000u, 0xff'ffffu, 0x3fff'f000u);
  // With SEG_MAX the number of pages is that of a request's segments.
  const u32 seg_max = GENERATE(0u, 2u, 3u, 254u);
  const usize offset = GENERATE(usize{0}, usize{512}, usize{1536}, usize{3584});
  const usize sectors = GENERATE(usize{8}, usize{24}, usize{67}, usize{255}, usize{512});
  CAPTURE(size_max, seg_max, offset, sectors);
  rig::machine m;
  auto& model =
      m.add<blk_model>(seat::modern, 4, blk_options{.queue_size = 16, .size_max = size_max, .seg_max = seg_max});
  fill_pattern(model);
  paged_disk d;
  REQUIRE(d->start({{&m.memory}}, m.where(4), d.storage()));
  std::vector<u8> room(offset + sectors * 512 + 4096);
  u8* const page = reinterpret_cast<u8*>((reinterpret_cast<uptr>(room.data()) + 4095) & ~uptr{4095});
  const bytes data{page + offset, sectors * 512};
  const usize pages = (offset + data.size() + 4095) / 4096;
  const usize most = (pages + d->most_pieces() - 1) / d->most_pieces() + (d->most_pieces() > 1 ? 1 : 0);
  REQUIRE(d->read(9, data));
  CHECK(std::vector<u8>(data.data(), data.data() + data.size()) == expected(model, 9, data.size()));
  CHECK(model.served() <= most);
  std::mt19937 random{7};
  for (usize i = 0; i < data.size(); ++i) data.data()[i] = static_cast<u8>(random());
  const u32 before = model.served();
  REQUIRE(d->write(700, const_bytes{data.data(), data.size()}));
  CHECK(std::vector<u8>(data.data(), data.data() + data.size()) == expected(model, 700, data.size()));
  CHECK(model.served() - before <= most);
  CHECK(m.memory.live() == 0);
}

TEST_CASE("blk: a disk that states no limit for extents gets extents of at most a transfer's size", "[blk]") {
  using virtio::testing::extent_rules;
  rig::machine m;
  auto& model = m.add<counting_disk>(
      seat::modern, 4,
      blk_options{.discard = extent_rules{}, .write_zeroes = extent_rules{}, .secure_erase = extent_rules{}});
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
  CHECK(d->range_progress() == 0x0180'0000);
  CHECK(model.sizes.size() == 12);
}

TEST_CASE("rng: fill() requests at most what the strictest host accepts, and fills any length", "[rng]") {
  const u32 piece = GENERATE(0x8000'0000u, 5000u);
  rig::machine m;
  auto& model = m.add<rng_model>(GENERATE(seat::modern, seat::legacy, seat::vmd), 4);
  m.memory.largest_piece = piece;
  rig::entropy<> e;
  REQUIRE(e.start(m, m.where(4)));
  std::vector<u8> data(300'001);
  REQUIRE(e->fill(data));
  for (usize i = 0; i < data.size(); ++i) REQUIRE(data[i] == rng_model::pattern(i));
  if (piece == 5000) return;
  // The limit also applies to a request of the caller.
  REQUIRE(e->submit(data));
  e->kick();
  const auto one = e->wait_next();
  REQUIRE(one);
  CHECK(one->length <= rng_model::most_bytes);
  CHECK(one->length > 0);
  CHECK(model.violations().empty());
}
