// SPDX-License-Identifier: MIT
// Bounce buffers, on a machine whose devices can address only one window: any access outside it is a fault, which fails
// the test.
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>
#include <numeric>
#include <random>

#include <virtio/platform/bounce.hpp>
#include <virtio/queue/either.hpp>

#include "disk.hpp"
#include "entropy.hpp"

using namespace virtio;

namespace {

constexpr u64 window_at = 0x5'0000'0000;  // the devices' address of the window, different from the CPU's
constexpr usize storage_bytes = 64 * 1024;

using pool_type = bounce_pool<32>;
using small_pool = bounce_pool<6>;
using tiny_slots = bounce_pool<200, 512>;

constinit pool_type pool;  // like on a board
constinit small_pool little;
constinit tiny_slots sectors;

/// A machine with restricted DMA, and the waits of its platform.
template <auto& Pool>
struct restricted_machine {
  dma_storage<storage_bytes + Pool.bytes> window{};
  device_memory memory;
  virtio::testing::fake_pci bus;
  std::vector<std::unique_ptr<device_model>> models;
  u64 patience = 1000;

  restricted_machine() {
    std::fill(std::begin(window.memory), std::end(window.memory), u8{0xee});
    REQUIRE(memory.add(window_at, window.memory, window.size, device_memory::permission::read_write));
    REQUIRE(Pool.open({window.memory, window.size, dma_addr{window_at}}));
  }
  restricted_machine(const restricted_machine&) = delete;
  ~restricted_machine() {
    for (const auto& what : memory.faults()) FAIL_CHECK(what);
    for (const auto& what : bus.violations()) FAIL_CHECK(what);
    CHECK(Pool.free_slots() == slots());
  }
  [[nodiscard]] static u16 slots() { return static_cast<u16>(Pool.bytes / slot_bytes()); }
  [[nodiscard]] static usize slot_bytes() { return &Pool == static_cast<const void*>(&sectors) ? 512 : 4096; }

  template <class Model, class... Arguments>
  Model& add(u8 slot, Arguments&&... arguments) {
    auto made = std::make_unique<Model>(memory, std::forward<Arguments>(arguments)...);
    Model& model = *made;
    models.push_back(std::move(made));
    bus.qemu_modern({0, 0, slot, 0}, model);
    model.offer({33});
    return model;
  }
  [[nodiscard]] pci::found<rig::host> where(u8 slot) { return pci::look(bus.host(), pci::address{0, 0, slot, 0}); }
};

template <auto& Pool>
struct restricted : bounced<Pool> {
  using barriers = smp_barriers;
  restricted_machine<Pool>* machine = nullptr;

  bool keep_waiting(waiting, u64 attempt) const {
    for (auto& one : machine->models) (void)one->step();
    return attempt < machine->patience;
  }
};
static_assert(platform<restricted<pool>> && virtio::detail::unmaps<restricted<pool>>);

/// A driver on that machine: its storage comes from the window.
template <auto& Pool, class Device>
std::unique_ptr<Device> started(restricted_machine<Pool>& m, u8 slot) {
  auto out = std::make_unique<Device>();
  const auto storage = Pool.reserve(Device::dma_bytes);
  REQUIRE(storage);
  restricted<Pool> platform;
  platform.machine = &m;
  REQUIRE(out->start(platform, m.where(slot), *storage));
  return out;
}
template <auto& Pool, class Queue = split_queue<16>>
using disk = blk::device<restricted<Pool>, rig::modern_pci, Queue>;
template <auto& Pool, class Queue = split_queue<8>>
using entropy = rng::device<restricted<Pool>, rig::modern_pci, Queue>;

// Lists cannot be copied, and only grow.
segment_list<8>& fresh(std::unique_ptr<segment_list<8>>& list) {
  list = std::make_unique<segment_list<8>>();
  return *list;
}

}  // namespace

// ---- the pool alone ----

TEST_CASE("bounce: data for the device is copied into the window, written data out of it, and no other byte",
          "[platform][bounce]") {
  restricted_machine<pool> m;
  std::vector<u8> buffer(5000);
  std::iota(buffer.begin(), buffer.end(), u8{1});
  const std::vector<u8> before = buffer;
  std::unique_ptr<segment_list<8>> list;

  auto& out = fresh(list);
  REQUIRE(pool.map(buffer.data(), buffer.size(), direction::to_device, out));
  REQUIRE(out.size() == 2);
  CHECK((out[0].length == 4096 && out[1].length == 904));
  CHECK(pool.free_slots() == 30);
  std::vector<u8> seen(5000);
  for (usize i = 0, at = 0; i < 2; at += out[i++].length)
    REQUIRE(m.memory.read(raw(out[i].at), seen.data() + at, out[i].length));
  CHECK(seen == before);
  for (const segment& one : out) {
    const std::vector<u8> garbage(one.length, 0xff);
    REQUIRE(m.memory.write(raw(one.at), garbage.data(), one.length));  // allowed for a device, without effect
    pool.unmap(one, 0xffffffff);
  }
  CHECK(buffer == before);
  CHECK(pool.free_slots() == 32);

  auto& in = fresh(list);
  REQUIRE(pool.map(buffer.data(), buffer.size(), direction::from_device, in));
  for (const segment& one : in) {
    std::vector<u8> now(one.length);
    REQUIRE(m.memory.read(raw(one.at), now.data(), one.length));
    CHECK(std::count(now.begin(), now.end(), u8{0}) == one.length);  // no old data
    const std::vector<u8> fill(one.length, 0x33);
    REQUIRE(m.memory.write(raw(one.at), fill.data(), one.length));
  }
  CHECK(buffer == before);
  pool.unmap(in[0], 100);
  pool.unmap(in[1], 0xffffffff);
  CHECK(std::all_of(buffer.begin(), buffer.begin() + 100, [](u8 b) { return b == 0x33; }));
  CHECK(std::equal(buffer.begin() + 100, buffer.begin() + 4096, before.begin() + 100));
  CHECK(std::all_of(buffer.begin() + 4096, buffer.end(), [](u8 b) { return b == 0x33; }));
}

TEST_CASE("bounce: a buffer without room is rejected without effect, for now or for good", "[platform][bounce]") {
  restricted_machine<little> m;
  std::vector<u8> buffer(8 * 4096);
  std::unique_ptr<segment_list<8>> held, other;
  CHECK(little.map(buffer.data(), 6 * 4096 + 1, direction::to_device, fresh(held)).error() == errc::no_space);
  REQUIRE(little.map(buffer.data(), 4 * 4096, direction::to_device, fresh(held)));
  CHECK(little.map(buffer.data(), 2 * 4096 + 1, direction::from_device, fresh(other)).error() == errc::queue_full);
  CHECK(other->size() == 0);
  CHECK(little.free_slots() == 2);
  segment_list<1> short_list;
  CHECK(little.map(buffer.data(), 4097, direction::to_device, short_list).error() == errc::no_space);
  short_list.limit_pieces(512);
  CHECK(little.map(buffer.data(), 513, direction::to_device, short_list).error() == errc::no_space);
  CHECK(little.map(buffer.data(), 512, direction::to_device, short_list));
  CHECK(little.map(buffer.data(), 0, direction::to_device, short_list));
  CHECK(little.free_slots() == 1);
  for (const segment& one : *held) little.unmap(one, 0);
  little.unmap(short_list[0], 0);
  CHECK(little.map(buffer.data(), 6 * 4096, direction::from_device, fresh(held)));
  for (const segment& one : *held) little.unmap(one, 0);
}

TEST_CASE("bounce: a buffer in the window is used in place, and shared memory must be in the window",
          "[platform][bounce]") {
  restricted_machine<pool> m;
  const auto mine = pool.reserve(100);
  REQUIRE(mine);
  CHECK(mine->data == m.window.memory);
  CHECK(mine->size == 4096);
  const auto next = pool.reserve(4097);
  REQUIRE(next);
  CHECK(next->data == mine->data + 4096);
  CHECK(pool.reserve(storage_bytes).error() == errc::no_space);
  CHECK(pool.reserve(storage_bytes - 3 * 4096));
  CHECK(pool.reserve(1).error() == errc::no_space);

  segment_list<4> out;
  REQUIRE(pool.map(mine->data + 10, 90, direction::from_device, out));
  REQUIRE(pool.map(next->data, next->size, direction::shared, out));
  CHECK(raw(out[0].at) == window_at + 10);
  CHECK(raw(out[1].at) == window_at + 4096);
  CHECK(pool.free_slots() == 32);
  pool.unmap(out[0], 90);

  u8 elsewhere[64];
  CHECK(pool.map(elsewhere, 64, direction::shared, out).error() == errc::dma_unreachable);
  u8* const end = m.window.memory + m.window.size;
  CHECK(pool.map(end - 10, 11, direction::shared, out).error() == errc::dma_unreachable);
  CHECK(pool.map(end, 1, direction::shared, out).error() == errc::dma_unreachable);
  u8* const before = reinterpret_cast<u8*>(reinterpret_cast<uptr>(m.window.memory) - 1);
  CHECK(pool.map(before, 2, direction::shared, out).error() == errc::dma_unreachable);
}

TEST_CASE("bounce: a window that is too small or shares pages with other data is rejected", "[platform][bounce]") {
  static constinit bounce_pool<4> own;
  static dma_storage<5 * 4096> memory;
  u8 buffer[16];
  segment_list<1> out;
  CHECK(own.map(buffer, 16, direction::to_device, out).error() == errc::dma_unreachable);
  CHECK(own.reserve(1).error() == errc::no_space);
  CHECK(own.open({memory.memory, 3 * 4096, dma_addr{0}}).error() == errc::no_space);
  CHECK(own.open({memory.memory + 8, 4 * 4096, dma_addr{0}}).error() == errc::misaligned);
  CHECK(own.open({memory.memory, 4 * 4096, dma_addr{8}}).error() == errc::misaligned);
  CHECK(own.open({memory.memory, 4 * 4096 + 8, dma_addr{0}}).error() == errc::misaligned);
  CHECK(own.open({memory.memory, 4 * 4096, dma_addr{4096}}));
  CHECK(own.map(buffer, 16, direction::to_device, out));
  own.unmap(out[0], 0);
}

// ---- drivers over it ----

TEMPLATE_TEST_CASE("bounce: blk with mixed requests at full depth, every byte through the window [FEAT-11][FEAT-12]",
                   "[platform][bounce][blk]", split_queue<16>, (split_queue<16, ring_options{.indirect = 12}>),
                   packed_queue<16>, packed_queue<13>) {
  restricted_machine<pool> m;
  auto& model = m.add<blk_model>(4, rig::blk_options{.seg_max = 126});
  model.offer({28, 29, 34});
  rig::fill_pattern(model);
  auto d = started<pool, disk<pool, TestType>>(m, 4);
  CHECK(model.accepted(33));
  model.hold();

  const u32 seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random{seed};
  struct request {
    bool is_write;
    u64 sector;
    std::vector<u8> data;
  };
  std::map<u64, request> flying;
  u64 cookie = 0, deepest = 0;
  for (u32 round = 0; round < 300; ++round) {
    for (;;) {
      request one{random() % 2 == 0, 0, std::vector<u8>((random() % 20 + 1) * 512)};
      one.sector = 40 * (cookie % 50);  // each has a separate range of the disk
      if (std::any_of(flying.begin(), flying.end(), [&](const auto& f) { return f.second.sector == one.sector; }))
        break;
      for (u8& byte : one.data) byte = static_cast<u8>(random());
      auto& kept = flying[cookie] = std::move(one);
      const auto sent = kept.is_write ? d->submit_write(kept.sector, kept.data, cookie)
                                      : d->submit_read(kept.sector, kept.data, cookie);
      if (!sent) {
        REQUIRE(sent.error() == errc::queue_full);
        flying.erase(cookie);
        break;
      }
      ++cookie;
    }
    d->kick();
    deepest = std::max<u64>(deepest, d->in_flight());
    (void)model.step();
    const usize some = random() % (model.held().size() + 1);
    for (usize i = 0; i < some; ++i) model.complete(random() % model.held().size());
    (void)d->poll([&](blk::done done) {
      REQUIRE(done.status == errc::ok);
      const request& was = flying.at(done.cookie);
      REQUIRE(rig::expected(model, was.sector, was.data.size()) == was.data);
      flying.erase(done.cookie);
    });
  }
  model.release();
  model.complete_all();
  const auto [end, rest] = rig::drained(d);
  REQUIRE(end);
  for (const auto& done : rest) {
    const request& was = flying.at(done.cookie);
    REQUIRE(done.status == errc::ok);
    REQUIRE(rig::expected(model, was.sector, was.data.size()) == was.data);
    flying.erase(done.cookie);
  }
  CHECK(flying.empty());
  CHECK(deepest >= 4);
  CHECK(cookie > 200);
}

TEST_CASE("bounce: an exhausted pool delays requests, loses none, and splits requests larger than the pool",
          "[platform][bounce][blk]") {
  restricted_machine<little> m;
  auto& model = m.add<blk_model>(4, rig::blk_options{.seg_max = 126});
  rig::fill_pattern(model);
  auto d = started<little, disk<little>>(m, 4);
  std::vector<std::array<u8, 8192>> buffers(8);
  u64 sent = 0, came = 0;
  for (int round = 0; round < 50; ++round) {
    for (;;) {
      const auto one = d->submit_read(16 * (sent % 8), buffers[sent % 8], sent);
      if (!one) {
        REQUIRE(one.error() == errc::queue_full);
        break;
      }
      ++sent;
    }
    CHECK(sent - came == 3);  // six slots, two per request
    CHECK(little.free_slots() == 0);
    u8 more[512];
    CHECK(d->read(0, more).error() == errc::queue_full);
    while (d->in_flight() != 0 || sent != came) {
      const auto done = d->wait_next();
      REQUIRE(done);
      REQUIRE(done->status == errc::ok);
      REQUIRE(done->cookie == came);
      REQUIRE(std::ranges::equal(buffers[came % 8], rig::expected(model, 16 * (came % 8), 8192)));
      ++came;
    }
  }
  // Larger than the pool: several requests, one after another.
  std::vector<u8> large(100 * 512);
  REQUIRE(d->read(7, large));
  CHECK(large == rig::expected(model, 7, large.size()));
  std::reverse(large.begin(), large.end());
  REQUIRE(d->write(9, large));
  CHECK(large == rig::expected(model, 9, large.size()));
}

TEST_CASE("bounce: a disk without SEG_MAX gets one slot per request, with buffers of any alignment",
          "[platform][bounce][blk]") {
  restricted_machine<little> m;
  auto& model = m.add<blk_model>(4);
  rig::fill_pattern(model);
  auto d = started<little, disk<little>>(m, 4);
  CHECK(d->most_pieces() == 1);
  const usize offset = GENERATE(usize{0}, usize{7}, usize{600});
  const usize size = GENERATE(usize{4096}, usize{4096 + 512}, usize{100 * 512});
  CAPTURE(offset, size);
  std::vector<u8> buffer(offset + size);
  const bytes data{buffer.data() + offset, size};
  REQUIRE(d->read(3, data));
  CHECK(std::vector<u8>(buffer.begin() + static_cast<std::ptrdiff_t>(offset), buffer.end()) ==
        rig::expected(model, 3, size));
  CHECK(model.served() <= size / 4096 + 2);
  std::reverse(buffer.begin(), buffer.end());
  REQUIRE(d->write(100, const_bytes{data.data(), data.size()}));
  CHECK(std::vector<u8>(buffer.begin() + static_cast<std::ptrdiff_t>(offset), buffer.end()) ==
        rig::expected(model, 100, size));
  std::array<std::array<u8, 4096>, 6> many;
  u64 sent = 0;
  while (sent < many.size() && d->submit_read(8 * sent, many[sent], sent)) ++sent;
  CHECK(sent >= 5);  // limited by the queue or by the pool
  const auto [end, ended] = rig::drained(d);
  REQUIRE(end);
  CHECK(ended.size() == sent);
  for (const auto& one : ended) CHECK(std::ranges::equal(many[one.cookie], rig::expected(model, 8 * one.cookie, 4096)));
}

TEST_CASE("bounce: slots of one sector, buffers of any alignment", "[platform][bounce][blk]") {
  restricted_machine<sectors> m;
  auto& model = m.add<blk_model>(4, rig::blk_options{.size_max = 512, .seg_max = 14});
  rig::fill_pattern(model);
  auto d = started<sectors, disk<sectors>>(m, 4);
  std::vector<u8> buffer(20 * 512 + 7);
  REQUIRE(d->read(3, {buffer.data() + 7, 20 * 512}));
  CHECK(std::equal(buffer.begin() + 7, buffer.end(), rig::expected(model, 3, 20 * 512).begin()));
  REQUIRE(d->write(100, {buffer.data() + 7, 20 * 512}));
  CHECK(std::equal(buffer.begin() + 7, buffer.end(), rig::expected(model, 100, 20 * 512).begin()));
}

TEST_CASE("bounce: a failed request changes no buffer, and a falsely completed one reveals no old data",
          "[platform][bounce][blk]") {
  restricted_machine<little> m;
  auto& model = m.add<blk_model>(4);
  rig::fill_pattern(model);
  auto d = started<little, disk<little>>(m, 4);
  std::vector<u8> secret(6 * 4096, 0x99), buffer(6 * 4096, 0x11);
  REQUIRE(d->write(0, secret));  // every slot has been used
  model.fail[model.served()] = blk_model::io_error;
  CHECK(d->read(100, {buffer.data(), 4096}).error() == errc::io_error);
  CHECK(std::all_of(buffer.begin(), buffer.end(), [](u8 b) { return b == 0x11; }));
  CHECK(little.free_slots() == 6);
  model.fail[model.served()] = blk_model::io_error;  // writes no data, but reports success
  model.claim[model.served()] = blk_model::ok;
  CHECK(d->read(100, {buffer.data(), 4096}));
  CHECK(std::all_of(buffer.begin(), buffer.begin() + 4096, [](u8 b) { return b == 0; }));
  CHECK(std::all_of(buffer.begin() + 4096, buffer.end(), [](u8 b) { return b == 0x11; }));
}

TEST_CASE("bounce: a reset with requests in flight frees their slots, and late writes reach no buffer [SHUTDOWN-02]",
          "[platform][bounce][blk]") {
  restricted_machine<pool> m;
  auto& model = m.add<blk_model>(4);
  auto d = started<pool, disk<pool>>(m, 4);
  std::vector<std::array<u8, 4096>> buffers(5);
  for (auto& one : buffers) one.fill(0x11);
  model.hold();
  for (u64 n = 0; n < 5; ++n)
    REQUIRE((n % 2 == 0 ? d->submit_read(8 * n, buffers[n], n) : d->submit_write(8 * n, buffers[n], n)));
  d->kick();
  REQUIRE(model.step() == 5);
  CHECK(pool.free_slots() == 27);
  SECTION("reset") { REQUIRE(d->reset()); }
  SECTION("given up") {
    m.patience = 10;
    CHECK(d->wait_next().error() == errc::dma_unanswered);
  }
  SECTION("hand-off") { REQUIRE(d->hand_off()); }
  CHECK(pool.free_slots() == 27);  // used until the requests return
  const auto back = rig::polled(d);
  CHECK(back.size() == 5);
  for (const auto& one : back) CHECK(one.status == errc::canceled);
  CHECK(pool.free_slots() == 32);
  CHECK(model.resets() == 2);
  CHECK(model.held().empty());
  const std::vector<u8> late(pool.bytes, 0xff);
  REQUIRE(m.memory.write(window_at + m.window.size - pool.bytes, late.data(), late.size()));
  for (const auto& one : buffers) CHECK(std::all_of(one.begin(), one.end(), [](u8 b) { return b == 0x11; }));
}

TEMPLATE_TEST_CASE("bounce: entropy of any size, two devices on one pool", "[platform][bounce][rng]", split_queue<8>,
                   packed_queue<8>) {
  restricted_machine<little> m;
  m.add<rng_model>(4).offer({34});
  auto& model = m.add<blk_model>(5);
  rig::fill_pattern(model);
  auto e = started<little, entropy<little, TestType>>(m, 4);
  auto d = started<little, disk<little>>(m, 5);
  std::vector<u8> drawn(70000), sector(512);
  usize have = 0;
  for (const usize size : {usize{1}, usize{4096}, usize{4097}, usize{60000}}) {
    REQUIRE(e->fill({drawn.data(), size}));
    for (usize i = 0; i < size; ++i) REQUIRE(drawn[i] == rng_model::pattern(have + i));
    have += size;
    REQUIRE(d->read(size % 2000, sector));
    REQUIRE(sector == rig::expected(model, size % 2000, 512));
  }
  u8 few[16];
  const auto sent = e->submit(few);
  REQUIRE(sent);
  REQUIRE(d->read(1, sector));
  REQUIRE(e->wait(*sent));
  CHECK(few[0] == rng_model::pattern(have));
}
