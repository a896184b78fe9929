// SPDX-License-Identifier: MIT
// Devices that can access only a pool, on a machine whose device tree describes it. The devices' memory contains only
// shared pages: an access outside them is a fault, which fails the test. Drivers have ordinary static storage; its
// pages are replaced by pages of the pool, here by a second mapping of the same file.
#include <catch2/catch_test_macros.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <random>
#include <set>

#include "../../examples/boot/common/protected_kvm.hpp"
#include "../../examples/boot/common/restricted_dma.hpp"
#include "disk.hpp"
#include "entropy.hpp"
#include "trees.hpp"

using namespace virtio;

namespace {

constexpr u64 pool_at = 0x9f00'0000;  // its address in the tree of a protected machine, and for devices

/// The calls to the hypervisor.
struct {
  std::vector<u64> shared, guarded;
  u64 granule = 4096;
  u32 services = 1u << 0 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 7;
  bool is_kvm = true, has_smccc = true;
  u64 refuses = 0;  // address that it does not share
  std::vector<u32> calls;
  testing::device_memory* memory = nullptr;
  u8* pool = nullptr;         // for the CPU
  u64 run = 0, run_size = 0;  // the range that was shared last
} host;

struct hypercall {
  boot::smccc_result operator()(u32 function, u64 argument) const {
    host.calls.push_back(function);
    constexpr u64 no = ~u64{0};
    switch (function) {
      case 0x8400000a: return {{argument == 0x80000000 && host.has_smccc ? 0 : no}};
      case 0x80000000: return {{0x10001}};
      case 0x8600ff01:
        if (host.is_kvm) return {{0xb66fb428, 0xe911c52e, 0x564bcaa9, 0x743a004d}};
        return {{no}};
      case 0x86000000: return {{host.services}};
      case 0xc6000002: return {{host.granule}};
      case 0xc6000003:
        if (argument == host.refuses) return {{static_cast<u64>(-3)}};
        host.shared.push_back(argument);
        if (host.memory != nullptr && argument >= pool_at) {
          // Contiguous pages are one piece for a device.
          if (argument != host.run + host.run_size) host.run = argument, host.run_size = 0;
          else (void)host.memory->remove(host.run);
          host.run_size += host.granule;
          REQUIRE(host.memory->add(host.run, host.pool + (host.run - pool_at), host.run_size,
                                   testing::device_memory::permission::read_write));
        }
        return {{0}};
      case 0xc6000007: host.guarded.push_back(argument); return {{0}};
      default: FAIL("an unknown call"); return {{no}};
    }
  }
};
boot::protected_kvm<hypercall> hypervisor;
int pool_file = -1;

struct hooks {
  static bool share(const dma_area& pool) { return hypervisor.share({}, {raw(pool.at), pool.size}); }
  static bool replace_pages(uptr at, const dma_region& by) {
    return mmap(reinterpret_cast<void*>(at), by.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, pool_file,
                static_cast<off_t>(by.data - host.pool)) == reinterpret_cast<void*>(at);
  }
};
using dma_type = boot::restricted_dma<hooks, 32, 4, 16384>;
dma_type dma;

/// Pages of a program, not shared with other data, which are its own again at the end.
struct pages {
  u8* data;
  usize size;
  explicit pages(usize bytes) : size{virtio::detail::round_up(bytes, dma_page)} {
    data = static_cast<u8*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(data != MAP_FAILED);
  }
  pages(const pages&) = delete;
  ~pages() { (void)munmap(data, size); }
};

struct protected_machine {
  testing::device_memory memory;
  testing::fake_pci bus;
  std::vector<std::unique_ptr<device_model>> models;
  std::unique_ptr<boot::machine_description> described = std::make_unique<boot::machine_description>();
  boot::dma_pool_tree pool;
  bool expects_faults = false;

  protected_machine() {
    host = {};
    hypervisor = {};
    dma = {};
    const auto blob = rig::compiled_tree("avf-protected");
    boot::describe(boot::device_tree{blob.data()}, *described);
    described->arguments = nullptr;  // they are freed with the blob
    pool = described->dma_pool;
    REQUIRE(pool.base == pool_at);
    pool_file = memfd_create("pool", 0);
    REQUIRE(ftruncate(pool_file, static_cast<off_t>(pool.size)) == 0);
    host.pool = static_cast<u8*>(mmap(nullptr, pool.size, PROT_READ | PROT_WRITE, MAP_SHARED, pool_file, 0));
    REQUIRE(host.pool != MAP_FAILED);
    host.memory = &memory;
    hypervisor.look({});
  }
  protected_machine(const protected_machine&) = delete;
  ~protected_machine() {
    CHECK((memory.faults().empty() && bus.violations().empty()) != expects_faults);
    if (!expects_faults) {
      for (const auto& what : memory.faults()) FAIL_CHECK(what);
      for (const auto& what : bus.violations()) FAIL_CHECK(what);
    }
    (void)munmap(host.pool, pool.size);
    (void)close(pool_file);
    host.memory = nullptr;
  }
  [[nodiscard]] dma_area area() const { return {host.pool, pool.size, dma_addr{pool.base}}; }

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

struct platform_of {
  using barriers = smp_barriers;
  static constexpr access_policy access_platform = access_policy::through_map;
  protected_machine* machine = nullptr;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return dma.map(va, n, way, out);
  }
  void unmap(const segment& piece, u32 written) const { dma.unmap(piece, written); }
  bool keep_waiting(waiting, u64 attempt) const {
    for (auto& one : machine->models) (void)one->step();
    return attempt < 1000;
  }
};
static_assert(platform<platform_of> && virtio::detail::unmaps<platform_of>);

using disk = blk::device<platform_of, rig::modern_pci, split_queue<16>>;
using packed_disk = blk::device<platform_of, rig::modern_pci, packed_queue<13>>;
using entropy = rng::device<platform_of, rig::modern_pci, split_queue<8>>;

template <class Device>
void read_and_write(protected_machine& m, Device& d, blk_model& model, const pages& storage) {
  REQUIRE(d.start(platform_of{&m}, m.where(4), {storage.data, storage.size}));
  CHECK(model.accepted(33));
  std::mt19937 random{33};
  for (int round = 0; round < 200; ++round) {
    std::vector<u8> data((random() % 60 + 1) * 512);
    const u64 sector = random() % 100;
    if (round % 2 == 0) {
      for (u8& byte : data) byte = static_cast<u8>(random());
      const std::vector<u8> before = data;
      REQUIRE(d.write(sector, data));
      CHECK(data == before);
      CHECK(rig::expected(model, sector, data.size()) == data);
    } else {
      REQUIRE(d.read(sector, data));
      CHECK(rig::expected(model, sector, data.size()) == data);
    }
  }
  CHECK(dma.free_slots() == 36);
}

}  // namespace

TEST_CASE(
    "restricted DMA: block and entropy devices access only the pool of a protected machine's tree [FEAT-11][FEAT-12]",
    "[boot][platform][blk][rng]") {
  protected_machine m;
  REQUIRE(dma.open(m.area()));
  auto& model = m.add<blk_model>(4, rig::blk_options{.seg_max = 30});
  model.offer({28, 29});
  rig::fill_pattern(model);
  (void)m.add<rng_model>(5);
  const pages disk_storage{disk::dma_bytes}, rng_storage{entropy::dma_bytes};
  const auto d = std::make_unique<disk>();
  read_and_write(m, *d, model, disk_storage);

  const auto source = std::make_unique<entropy>();
  REQUIRE(source->start(platform_of{&m}, m.where(5), {rng_storage.data, rng_storage.size}));
  std::vector<u8> some(10000);
  REQUIRE(source->fill(some));
  CHECK(std::set<u8>(some.begin(), some.end()).size() > 1);

  // Stopped and started again in the same storage: it takes no second part of the pool.
  REQUIRE(d->hand_off());
  for (int i = 0; i < 40; ++i) {
    REQUIRE(d->start(platform_of{&m}, m.where(4), {disk_storage.data, disk_storage.size}));
    std::vector<u8> data(512);
    REQUIRE(d->read(1, data));
    REQUIRE(d->hand_off());
  }
}

TEST_CASE("restricted DMA: a packed ring is in the pool, too", "[boot][platform][blk]") {
  protected_machine m;
  REQUIRE(dma.open(m.area()));
  auto& model = m.add<blk_model>(4, rig::blk_options{.seg_max = 30});
  model.offer({34});
  rig::fill_pattern(model);
  const pages storage{packed_disk::dma_bytes};
  const auto d = std::make_unique<packed_disk>();
  read_and_write(m, *d, model, storage);
}

TEST_CASE("restricted DMA: without the pool the same disk accesses other memory, and its driver gets no data",
          "[boot][platform][blk]") {
  protected_machine m;
  m.expects_faults = true;
  auto& model = m.add<blk_model>(4, rig::blk_options{.seg_max = 30});
  rig::fill_pattern(model);
  const pages storage{disk::dma_bytes};
  const auto d = std::make_unique<disk>();
  REQUIRE(d->start(platform_of{&m}, m.where(4), {storage.data, storage.size}));
  std::vector<u8> data(512);
  CHECK(!d->read(1, data));
}

TEST_CASE("restricted DMA: each page of the pool is shared once, and no other page; a rejected page is an error",
          "[boot][platform]") {
  protected_machine m;
  REQUIRE(dma.open(m.area()));
  std::vector<u64> want(m.pool.size / 4096);
  for (usize i = 0; i < want.size(); ++i) want[i] = pool_at + 4096 * i;
  CHECK(host.shared == want);

  segment_list<2> out;
  u8 byte = 0;
  dma = {};
  host.memory = nullptr;  // already shared
  host.refuses = pool_at + 4096;
  CHECK(dma.open(m.area()).error() == errc::dma_unreachable);
  CHECK(dma.map(&byte, 1, direction::to_device, out).error() == errc::dma_unreachable);
  dma = {};
  dma.refuse();
  CHECK(dma.map(&byte, 1, direction::to_device, out).error() == errc::dma_unreachable);
}

TEST_CASE("restricted DMA: storage moves once, keeps no old bytes, has whole pages, and reused pages are moved again",
          "[boot][platform]") {
  protected_machine m;
  std::fill_n(host.pool, m.pool.size, u8{0xee});
  REQUIRE(dma.open(m.area()));
  const pages mine{5 * 4096};
  const auto at = [&](usize first, usize size) {
    segment_list<1> out;
    const auto mapped = dma.map(mine.data + first, size, direction::shared, out);
    return mapped ? raw(out[0].at) : u64{0};
  };
  const u64 first = at(0, 2 * 4096);
  CHECK(first == pool_at);
  CHECK(std::all_of(mine.data, mine.data + 2 * 4096, [](u8 b) { return b == 0; }));
  mine.data[4097] = 77;
  CHECK(host.pool[4097] == 77);  // the same page
  CHECK(at(0, 2 * 4096) == first);
  CHECK(at(0, 4096) == first);
  CHECK(at(8, 4096) == 0);
  CHECK(at(0, 4000) == first);  // inside its pages
  CHECK(at(2 * 4096, 4000) == 0);
  const u64 across = at(4096, 3 * 4096);
  CHECK(across == pool_at + 2 * 4096);
  CHECK(mine.data[4097] == 0);
  CHECK(at(0, 2 * 4096) == pool_at + 5 * 4096);  // its second page was reused
  segment_list<1> out;
  CHECK(dma.map(mine.data, 100, direction::from_device, out));  // like any buffer
  dma.unmap(out[0], 0);
  CHECK(at(0, 4 * 4096) != 0);
}

TEST_CASE("restricted DMA: large buffers use large slots while any are free, then pages; a small pool has only pages",
          "[boot][platform]") {
  protected_machine m;
  REQUIRE(dma.open(m.area()));
  CHECK(dma.free_slots() == 36);
  std::vector<u8> buffer(48 * 1024);
  std::iota(buffer.begin(), buffer.end(), u8{0});
  segment_list<40> list;
  REQUIRE(dma.map(buffer.data(), 40000, direction::to_device, list));
  REQUIRE(list.size() == 3);  // twice 16384, and the rest
  CHECK(raw(list[0].at) >= pool_at + m.pool.size - 4 * 16384);
  REQUIRE(dma.map(buffer.data(), 100, direction::to_device, list));
  CHECK(raw(list[3].at) < pool_at + m.pool.size - 4 * 16384);
  REQUIRE(dma.map(buffer.data(), 20000, direction::to_device, list));  // only one large slot is free
  CHECK(list.size() == 4 + 5);
  std::vector<u8> seen(20000);
  for (usize i = 4, at = 0; i < 9; at += list[i++].length)
    REQUIRE(m.memory.read(raw(list[i].at), seen.data() + at, list[i].length));
  CHECK(std::equal(seen.begin(), seen.end(), buffer.begin()));
  for (const segment& one : list) dma.unmap(one, 0);
  CHECK(dma.free_slots() == 36);

  dma = {};
  host.memory = nullptr;
  REQUIRE(dma.open(m.area().part(0, 2 * (32 * 4096 + 4 * 16384) - 4096)));
  CHECK(dma.free_slots() == 32);
}

TEST_CASE("protected KVM: no call is made to another hypervisor, or to one without these services", "[boot]") {
  host = {};
  const auto shares = [] {
    hypervisor = {};
    host.calls.clear();
    hypervisor.look({});
    return hypervisor.granule();
  };
  CHECK(shares() == 4096);
  host.has_smccc = false;
  CHECK(shares() == 0);
  CHECK(host.calls == std::vector<u32>{0x8400000a});  // the only call that every PSCI 1.0 supports
  CHECK(hypervisor.share({}, {0x80000000, 100}));
  CHECK(hypervisor.guard({}, {0x3f8, 8}));
  CHECK(host.calls.size() == 1);
  host.has_smccc = true;
  host.is_kvm = false;
  CHECK(shares() == 0);
  host.is_kvm = true;
  host.services = 1;
  CHECK(shares() == 0);
  host.services = ~0u;
  host.granule = static_cast<u64>(-3);
  CHECK(shares() == 0);
  host.granule = 16384;
  CHECK(shares() == 16384);
  CHECK(!hypervisor.share({}, {pool_at, 4096}));
  CHECK(hypervisor.share({}, {pool_at, 32768}));
  CHECK(host.shared == std::vector<u64>{pool_at, pool_at + 16384});
  CHECK(hypervisor.guard({}, {0x7ff8, 16}));  // a granule on each side
  CHECK(host.guarded == std::vector<u64>{0x4000, 0x8000});
}

TEST_CASE("machine tree: a pool without an address gets the highest free one", "[boot]") {
  boot::machine_description m{};
  m.memory[m.memory_count++] = {0x80000000, 0x20000000};
  boot::dma_pool_tree pool{{0, 0xe00000}, 0x1000};
  const auto place = [&](std::vector<boot::range> taken) {
    return boot::place_pool(m, pool, taken.data(), taken.size());
  };
  CHECK(place({}) == boot::range{0x9f200000, 0xe00000});
  CHECK(place({{0x9fff0000, 0x1000}}) == boot::range{0x9f1f0000, 0xe00000});
  CHECK(place({{0x9fff0000, 0x1000}, {0x9f1f0000, 1}, {0x80000000, 0x100000}}) == boot::range{0x9e3f0000, 0xe00000});
  m.reserved[m.reserved_count++] = {0x9f000000, 0x100000};
  CHECK(place({{0x9fff0000, 0x1000}}) == boot::range{0x9f1f0000, 0xe00000});
  pool.alignment = 0x200000;
  CHECK(place({{0x9fff0000, 0x1000}}) == boot::range{0x9e200000, 0xe00000});
  CHECK(place({{0x80000000, 0x20000000}}).size == 0);
  CHECK(place({{0x80e00000, 0x1f200000}}) == boot::range{0x80000000, 0xe00000});
  CHECK(place({{0x80dfffff, 0x1f200001}}).size == 0);
  m.memory[m.memory_count++] = {0xffffffff'ff000000, 0x1000000};  // up to the end of the address space
  CHECK(place({}) == boot::range{0xffffffff'ff000000, 0xe00000});
  pool.alignment = 3;
  CHECK(place({}).base == 0xffffffff'ff1ff000);  // page-aligned
  pool.alignment = 0x3000;
  CHECK(place({}).size == 0);
  pool = {{0, 0x1001}, 0};
  CHECK(place({}).size == 0);
  pool = {{0, 0x40000000}, 0};
  CHECK(place({}).size == 0);
}
