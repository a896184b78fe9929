// SPDX-License-Identifier: MIT
// One unmap per mapping: platforms map a buffer once, and disks may need it in pieces.
#include <catch2/generators/catch_generators.hpp>

#include <numeric>

#include "disk.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<rig::big_queue>;

/// Counts and records the calls.
struct counting {
  struct call {
    u64 at;
    u32 length;
    u64 handle;
    u32 written;
    [[nodiscard]] friend bool operator==(const call&, const call&) = default;
  };
  using barriers = smp_barriers;
  std::vector<call>* calls = nullptr;

  result<void> map(const volatile void*, usize, direction, segments&) const { return {}; }
  void unmap(const segment& s, u32 written) const { calls->push_back({raw(s.at), s.length, s.handle, written}); }
  bool keep_waiting(waiting, u64) const { return false; }
};
static_assert(platform<counting>);

}  // namespace

TEST_CASE("unmap: a mapping is unmapped once and as a whole, even if a disk needs it in pieces", "[blk][platform]") {
  const u32 size_max = GENERATE(512u, 4096u, 0u);
  const seat where = GENERATE(seat::modern, seat::legacy);
  CAPTURE(size_max);
  rig::machine m;
  m.memory.one_mapping = true;
  auto& model = m.add<blk_model>(where, 4, blk_options{.size_max = size_max, .seg_max = 6});
  fill_pattern(model);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  const u64 before = m.memory.maps;
  SECTION("one request") {
    std::vector<u8> data(2048);
    REQUIRE(d->read(3, data));
    CHECK(data == expected(model, 3, data.size()));
    CHECK(m.memory.maps - before == 1);
    CHECK(m.memory.unmaps == 1);
  }
  SECTION("more than a request holds: several requests, each mapped and unmapped") {
    std::vector<u8> data(40960);
    REQUIRE(d->read(3, data));
    CHECK(data == expected(model, 3, data.size()));
    std::iota(data.begin(), data.end(), u8{9});
    REQUIRE(d->write(100, data));
    CHECK(data == expected(model, 100, data.size()));
    CHECK(m.memory.live() == 0);
  }
  SECTION("several buffers, one after another in one chain") {
    std::vector<u8> a(1024), b(512), c(1024);
    const bytes parts[] = {a, b, c};
    REQUIRE(d->submit_read(3, parts));
    REQUIRE(d->wait_next());
    CHECK(a == expected(model, 3, 1024));
    CHECK(b == expected(model, 5, 512));
    CHECK(c == expected(model, 6, 1024));
    CHECK(m.memory.unmaps == 3);
  }
  SECTION("a request that fails") {
    std::vector<u8> data(2048, 7);
    model.fail[model.served()] = blk_model::io_error;
    CHECK(d->read(3, data).error() == errc::io_error);
    CHECK(m.memory.unmaps == 1);
  }
  SECTION("a list of buffers that does not fit, and one that cannot be mapped at its end") {
    std::vector<u8> a(1024), b(4096), c(40960);
    const bytes too_much[] = {a, b, c};
    const auto staged = d->submit_read(0, too_much);
    if (size_max != 0) CHECK(staged.error() == errc::too_many_pieces);
    m.memory.fail_map = m.memory.maps + 2;
    CHECK(d->submit_read(0, too_much).error() != errc::ok);
    (void)d->reset();
    (void)rig::drained(d);
    CHECK(m.memory.live() == 0);
  }
  SECTION("a reset") {
    std::vector<u8> data(2048);
    model.hold();
    REQUIRE(d->submit_read(3, data));
    d->kick();
    REQUIRE(d->reset());
    CHECK(d->next_completion()->status == errc::canceled);
    CHECK(m.memory.unmaps == 1);
  }
}

TEST_CASE("unmap: written bytes are counted across the pieces of a mapping, and across mappings", "[platform]") {
  segment room[8];
  segments list{room};
  list.limit_pieces(512);
  REQUIRE(list.push(dma_addr{0x10000}, 600, direction::to_device, 1));
  REQUIRE(list.push(dma_addr{0x1000}, 1200, direction::from_device, 2));
  // Adjacent, the same handle, but another mapping.
  REQUIRE(list.push(dma_addr{0x1000 + 1200}, 100, direction::from_device, 2));
  REQUIRE(list.size() == 6);
  const u32 written = GENERATE(0u, 1u, 512u, 513u, 1199u, 1200u, 1201u, 1299u, 1300u, 0xffff'ffffu);
  std::vector<counting::call> calls;
  detail::mapped_pieces<counting, 2, 8> mapped;
  mapped.remember(1, list.begin(), list.size());
  mapped.unmap(counting{&calls}, 1, written);
  const u32 first = std::min(written, 1200u), second = std::min(written - first, 100u);
  CHECK(calls ==
        std::vector<counting::call>{{0x10000, 600, 1, 0}, {0x1000, 1200, 2, first}, {0x1000 + 1200, 100, 2, second}});
  mapped.unmap(counting{&calls}, 1, written);
  CHECK(calls.size() == 3);  // no second time
}

TEST_CASE("unmap: push() marks the pieces that continue a mapping, of any length", "[platform]") {
  segment room[4];
  segments list{room};
  list.limit_pieces(4096);
  REQUIRE(list.push(dma_addr{0x1000}, 100, direction::from_device, 5));
  CHECK(list.push(dma_addr{0x10000}, 16384, direction::from_device, 77).error() == errc::no_space);
  list.truncate(1);
  CHECK(list.bytes() == 100);
  CHECK(list.writable_bytes() == 100);
  REQUIRE(list.push(dma_addr{0x10000}, 12288, direction::from_device, 77));
  CHECK(list[0].handle == 5);
  CHECK(list[1].handle == 77);
  CHECK(!list[1].continues());
  CHECK(list[2].continues());
  CHECK(list[3].continues());
  // Longer than a 32-bit length: only in a chain that no ring accepts.
  segment more[5];
  segments large{more};
  REQUIRE(large.push(dma_addr{0}, 0x1'4000'0000, direction::from_device, 3));
  REQUIRE(large.size() == 5);
  std::vector<counting::call> calls;
  detail::unmap(counting{&calls}, large.begin(), large.size(), 0);
  CHECK(calls == std::vector<counting::call>{{0, 0xffff'ffff, 3, 0}});
}
