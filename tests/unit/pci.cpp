// SPDX-License-Identifier: MIT
// Discovery: ids by rule, BARs, valid and invalid capability lists, and a verdict for every function.
#include <catch2/generators/catch_generators.hpp>

#include <set>

#include "disk.hpp"
#include "entropy.hpp"
#include "session.hpp"

using namespace virtio;

namespace {

pci::identity ids(u16 vendor, u16 device, u16 subsystem = 0, u8 revision = 0) {
  return {.vendor = vendor,
          .device = device,
          .subsystem_vendor = vendor,
          .subsystem = subsystem,
          .revision = revision,
          .header_type = 0};
}

// Returns the verdict of a start of the device in slot 4 after a change to its configuration space.
verdict spoiled(void (*change)(fake_function&)) {
  rig::machine m;
  m.expect_objections = true;
  m.add<blk_model>(seat::modern, 4);
  change(m.function(4));
  const auto where = m.where(4);
  rig::disk<> d;
  const auto up = d.start(m, where);
  CHECK(bool{up} == (where.seen.why == verdict::usable));
  if (!up) CHECK(d->why().why == where.seen.why);  // discovery and start agree
  return where.seen.why;
}

u8 cap(fake_function& f, int type) { return f.capability(0x09, type); }

}  // namespace

TEST_CASE("pci ids: the whole modern range by rule, of any revision and subsystem [PCI-01][PCI-03][PCI-04]", "[pci]") {
  for (u32 device = 0; device < 0x10000; ++device) {
    const auto m = pci::match_ids(ids(0x1af4, static_cast<u16>(device), 0x1100, static_cast<u8>(device)));
    if (device < 0x1000 || device > 0x107f) CHECK(m.why == verdict::id_outside_ranges);
    else if (device == 0x1040) CHECK(m.why == verdict::id_without_type);
    else if (device > 0x1040)
      CHECK((m.why == verdict::usable && m.type == static_cast<device_type>(device - 0x1040) && !m.may_be_legacy));
    else CHECK((m.why == verdict::usable && m.type == static_cast<device_type>(0x1100) && m.may_be_legacy));
  }
  CHECK(pci::match_ids(ids(0x8086, 0x1042)).why == verdict::not_virtio);
}

TEST_CASE("pci ids: a transitional device's type is its subsystem id, or its place in the table [PCI-02]", "[pci]") {
  CHECK(pci::match_ids(ids(0x1af4, 0x1005, 4)).type == device_type::entropy);
  CHECK(pci::match_ids(ids(0x1af4, 0x1004, 8)).type == device_type::scsi);
  CHECK(pci::match_ids(ids(0x1af4, 0x1002, 5)).type == device_type::balloon);
  CHECK(pci::match_ids(ids(0x1af4, 0x1001, 0)).type == device_type::block);
  CHECK(pci::match_ids(ids(0x1af4, 0x1005, 0)).type == device_type::entropy);
  CHECK(pci::match_ids(ids(0x1af4, 0x103f, 0)).why == verdict::type_unknown);
}

TEST_CASE("pci ids: the four devices of an Android guest match", "[pci]") {
  CHECK(pci::match_ids(ids(0x1af4, 0x1042)).type == device_type::block);
  CHECK(pci::match_ids(ids(0x1af4, 0x1044)).type == device_type::entropy);
  CHECK(pci::match_ids(ids(0x1af4, 0x1045)).type == device_type::balloon);
  CHECK(pci::match_ids(ids(0x1af4, 0x1053)).type == device_type::vsock);
}

TEST_CASE("pci ids: a user's row comes first and may have any vendor", "[pci]") {
  static constexpr pci::id_row rows[] = {{0x0b5d, 0x0777, device_type::vmmci}, {0x1af4, 0x1042, device_type::entropy}};
  CHECK(pci::match_ids(ids(0x0b5d, 0x0777, 0xffff), rows).type == device_type::vmmci);
  CHECK(pci::match_ids(ids(0x0b5d, 0x0777, 0xffff), rows).may_be_legacy);
  CHECK(pci::match_ids(ids(0x1af4, 0x1042), rows).type == device_type::entropy);
  CHECK(pci::match_ids(ids(0x0b5d, 0x0778), rows).why == verdict::not_virtio);
}

TEST_CASE("pci: every function has a verdict, behind bridges and of multi-function devices too", "[pci]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  m.add<rng_model>(seat::transitional, 5);
  m.add<rng_model>(seat::legacy, 6);
  m.bus.bridge({0, 0, 7, 0}, 3, 3);
  for (const u8 function : {u8{0}, u8{5}}) {
    m.models.push_back(
        std::make_unique<device_model>(m.memory.memory, function == 0 ? u16{3} : u16{16}, std::vector<u16>{8, 8}));
    m.bus.qemu_modern({0, 3, 0, function}, *m.models.back());
  }
  m.bus.multi_function({0, 3, 0, 0});
  std::vector<std::string> seen;
  pci::for_each(m.bus.host(), [&](const pci::found<rig::host>& one) {
    REQUIRE(one.seen.why != verdict::undecided);
    seen.push_back(std::to_string(one.id.bus) + ":" + std::to_string(one.id.slot) + "." +
                   std::to_string(one.id.function) + " " + name(one.seen.type) + ", " + describe(one.seen.why) +
                   " through " + name(one.seen.via));
  });
  CHECK(seen ==
        std::vector<std::string>{"0:4.0 block, usable through modern PCI", "0:5.0 entropy, usable through modern PCI",
                                 "0:6.0 entropy, usable through legacy PCI",
                                 "0:7.0 no device, not a virtio device through no interface",
                                 "3:0.0 console, usable through modern PCI", "3:0.5 gpu, usable through modern PCI"});
  CHECK(m.bus.events.size() == 2 * seen.size());  // the trace hook received each function and its verdict
}

TEST_CASE("pci: none, one, two and the n-th device of a type", "[pci]") {
  rig::machine m;
  const auto host = m.bus.host();
  CHECK(pci::find(host, device_type::block).error() == errc::not_found);
  m.add<blk_model>(seat::modern, 4);
  REQUIRE(pci::find(host, device_type::block));
  CHECK(pci::find(host, device_type::block)->id.slot == 4);
  m.add<rng_model>(seat::modern, 5);
  m.add<blk_model>(seat::legacy, 6);
  CHECK(pci::find(host, device_type::block).error() == errc::ambiguous);
  CHECK(pci::find(host, device_type::entropy)->id.slot == 5);
  CHECK(pci::find_nth(host, device_type::block, 0)->id.slot == 4);
  CHECK(pci::find_nth(host, device_type::block, 1)->id.slot == 6);
  CHECK(pci::find_nth(host, device_type::block, 2).error() == errc::not_found);
}

TEST_CASE("pci: a bridge with any bus numbers causes no endless walk", "[pci][hostile]") {
  rig::machine m;
  const u8 secondary = GENERATE(u8{0}, u8{1}, u8{255});
  m.bus.bridge({0, 0, 2, 0}, secondary, 255);
  m.bus.bridge({0, 1, 2, 0}, 1, 255);
  m.bus.bridge({0, 255, 2, 0}, 0, 255);
  usize count = 0;
  pci::for_each(m.bus.host(), [&](const auto&) { ++count; });
  CHECK(count >= 1);
  CHECK(count <= 3);
}

TEST_CASE("pci: a verdict names each defect of a device", "[pci][hostile]") {
  CHECK(spoiled([](fake_function&) {}) == verdict::usable);
  CHECK(spoiled([](fake_function& f) { f.poke(0x02, 0x2000, 2); }) == verdict::id_outside_ranges);
  CHECK(spoiled([](fake_function& f) { f.poke(0x02, 0x1040, 2); }) == verdict::id_without_type);
  CHECK(spoiled([](fake_function& f) {
          f.poke(0x02, 0x103f, 2);
          f.poke(0x2e, 0, 2);
        }) == verdict::type_unknown);
  CHECK(spoiled([](fake_function& f) { f.poke(0x00, 0x8086, 2); }) == verdict::not_virtio);
  CHECK(spoiled([](fake_function& f) { f.poke(0x06, 0, 2); }) == verdict::capability_missing);  // no list at all
  for (const int type : {1, 2, 3}) {
    static int which;
    which = type;
    CHECK(spoiled([](fake_function& f) { f.poke(cap(f, which) + 3u, 7, 1); }) == verdict::capability_missing);
    CHECK(spoiled([](fake_function& f) { f.poke(cap(f, which) + 4u, 6, 1); }) == verdict::capability_bar_invalid);
    CHECK(spoiled([](fake_function& f) { f.poke(cap(f, which) + 12u, 0, 4); }) == verdict::capability_too_short);
    CHECK(spoiled([](fake_function& f) { f.poke(cap(f, which) + 8u, 0xfffffffc, 4); }) == verdict::bar_too_small);
    // An unimplemented BAR.
    CHECK(spoiled([](fake_function& f) { f.poke(cap(f, which) + 4u, 3, 1); }) == verdict::bar_unassigned);
  }
  CHECK(spoiled([](fake_function& f) { f.poke(cap(f, 1) + 8u, 2, 4); }) == verdict::capability_misaligned);
  CHECK(spoiled([](fake_function& f) { f.poke(cap(f, 2) + 8u, 0x3001, 4); }) == verdict::capability_misaligned);
  CHECK(spoiled([](fake_function& f) { f.poke(cap(f, 4) + 8u, 0x2002, 4); }) == verdict::capability_misaligned);
  CHECK(spoiled([](fake_function& f) { f.poke(cap(f, 1) + 12u, 55, 4); }) == verdict::capability_too_short);
  // A far larger length is valid [PCI-12].
  CHECK(spoiled([](fake_function& f) { f.poke(cap(f, 1) + 12u, 0xffffffff, 4); }) == verdict::usable);
  // And so is a long cap_len.
  CHECK(spoiled([](fake_function& f) { f.poke(cap(f, 1) + 2u, 0xff, 1); }) == verdict::usable);
}

TEST_CASE(
    "pci: reserved capability types and BARs are skipped, lengths beyond need tolerated [PCI-07][PCI-09][PCI-10][PCI-12][PCI-13]",
    "[pci]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  // Before the valid ones: a reserved type, and a common structure in a reserved BAR.
  const u8 first = f.config[0x34];
  f.poke(0x34, 0xc0, 1);
  f.poke(0xc0, 0x09 | 0xd4 << 8 | 16 << 16 | 0x66u << 24, 4);
  f.poke(0xd4, 0x09 | u32{first} << 8 | 16 << 16 | 1u << 24, 4);
  f.poke(0xd8, 9, 1);
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  CHECK(d->read(0, sector));
  CHECK(model.reads() == 1);
}

TEST_CASE("pci: the first usable capability of a kind is used [PCI-08]", "[pci]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const u8 first = f.config[0x34];
  f.poke(0x34, 0xc0, 1);
  f.poke(0xc0, 0x09 | u32{first} << 8 | 16 << 16 | 1u << 24, 4);
  f.poke(0xc4, 4, 1);
  f.poke(0xc8, 0x10000000, 4);  // common configuration beyond the end of BAR 4
  f.poke(0xcc, 56, 4);
  rig::disk<> d;
  CHECK(d.start(m, m.where(4)));
}

TEST_CASE("pci: a walk returns every virtio capability unchanged, also unusable ones", "[pci]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  const auto place = m.where(4);
  auto& f = m.function(4);
  // Shared memory beyond 4 GiB, region 7 in BAR 2. The first structure gets invalid numbers.
  const u8 shared =
      f.add_capability(0x09, {24, 8, 2, 7, 0, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0}, 0xc0);
  f.poke(cap(f, 1) + 4u, 0x47, 1);
  f.poke(cap(f, 1) + 12u, 5, 4);

  std::vector<pci::virtio_capability> seen;
  const auto before = f.config;
  pci::each_virtio_capability(place.host, place.id, [&](const pci::virtio_capability& one) {
    seen.push_back(one);
    return true;
  });
  CHECK(f.config == before);
  const auto find = [&](pci::structure what) {
    for (const auto& one : seen)
      if (one.what == what) return one;
    FAIL("no such capability");
    return seen[0];
  };
  const auto region = find(pci::structure::shared_memory);
  CHECK(region.at == shared);
  CHECK(region.bytes == 24);
  CHECK(region.bar == 2);
  CHECK(region.id == 7);
  CHECK(region.offset == 0x3'0000'1000);
  CHECK(region.length == 0x1'0000'2000);
  CHECK(find(pci::structure::common).bar == 0x47);
  CHECK(find(pci::structure::common).length == 5);
  CHECK(find(pci::structure::notify).notify_multiplier == f.peek(cap(f, 2) + 16u));
  CHECK(find(pci::structure::device).offset == f.peek(cap(f, 4) + 8u));
  CHECK(find(pci::structure::isr).notify_multiplier == 0);
  CHECK(std::string{name(region.what)} == "shared memory");

  // A capability at the end of configuration space: missing fields are zero, and are not read.
  f.poke(0x34, 0xf8, 1);
  f.poke(0xf8, 0x08'10'00'09, 4);
  f.poke(0xfc, 0x0104, 4);
  seen.clear();
  pci::each_virtio_capability(place.host, place.id, [&](const pci::virtio_capability& one) {
    seen.push_back(one);
    return false;  // and ends when the visitor returns false
  });
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].at == 0xf8);
  CHECK(seen[0].bar == 4);
  CHECK(seen[0].id == 1);
  CHECK(seen[0].offset == 0);
  CHECK(seen[0].length == 0);
}

TEST_CASE("pci: the walk of a looping or random capability list ends", "[pci][hostile]") {
  rig::machine m;
  m.expect_objections = true;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const auto whole = f.config;
  for (u32 next = 0; next < 256; ++next)
    for (u32 at : {0x34u, u32{f.config[0x34]} + 1u, u32{cap(f, 1)} + 1u}) {
      f.config = whole;
      f.poke(at, next, 1);
      f.config_reads = 0;
      (void)m.where(4);
      CHECK(f.config_reads < 400);
    }
}

TEST_CASE("pci: random configuration space never leads outside a BAR", "[pci][hostile]") {
  rig::machine m;
  m.expect_objections = true;
  m.add<blk_model>(seat::modern, 4);
  auto& f = m.function(4);
  const auto whole = f.config;
  u32 seed = 1;
  for (int round = 0; round < 3000; ++round) {
    f.config = whole;
    for (int change = 0; change < 3; ++change) {
      seed = seed * 1664525u + 1013904223u;
      f.poke(0x34 + seed / 7 % (0x100 - 0x34), seed >> 24, 1);
    }
    report why;
    pci::modern_layout<rig::host::bar_space> layout;
    if (!pci::find_modern(m.bus.host(), {0, 0, 4, 0}, layout, why)) continue;
    for (const auto& space : layout.space) CHECK(space.start + space.length <= f.bar_sizes[space.index]);
    CHECK(layout.common().size() >= 56);
  }
}

TEST_CASE("pci: BARs are sized with decoding off and restored [PCI-05]", "[pci]") {
  rig::machine m;
  m.add<blk_model>(seat::transitional, 4);
  auto& f = m.function(4);
  f.poke(0x04, 0x0103, 2);
  const auto before = f.config;
  const auto io = pci::probe_bar(m.bus.host(), {0, 0, 4, 0}, 0);
  REQUIRE(io);
  CHECK(io->kind == pci::bar_kind::io);
  CHECK(io->size == f.bar_sizes[0]);
  const auto memory = pci::probe_bar(m.bus.host(), {0, 0, 4, 0}, 4);
  REQUIRE(memory);
  CHECK(memory->kind == pci::bar_kind::memory);
  CHECK(memory->is_64bit);
  CHECK(memory->size == f.bar_sizes[4]);
  CHECK(pci::probe_bar(m.bus.host(), {0, 0, 4, 0}, 2).error() == errc::not_found);
  CHECK(pci::probe_bar(m.bus.host(), {0, 0, 4, 0}, 6).error() == errc::not_found);
  CHECK(f.config == before);
}

TEST_CASE("pci: a bridge has two BARs, and the registers after them are never sized", "[pci][hostile]") {
  rig::machine m;
  auto& bridge = m.bus.bridge({0, 0, 7, 0}, 3, 5);
  bridge.bar_sizes[1] = 4096;
  bridge.poke(0x14, 0xe0000004, 4);  // the last BAR claims to be 64 bits wide
  const auto before = bridge.config;
  for (u8 index = 2; index < 8; ++index)
    CHECK(pci::probe_bar(m.bus.host(), {0, 0, 7, 0}, index).error() == errc::not_found);
  const auto last = pci::probe_bar(m.bus.host(), {0, 0, 7, 0}, 1);
  REQUIRE(last);
  CHECK((last->base == 0xe0000000 && last->size == 4096 && !last->is_64bit));
  CHECK(bridge.config == before);
  CHECK(bridge.last_write(0x18) == 0);
}

TEST_CASE("pci: BARs out of reach and unassigned BARs have different verdicts", "[pci]") {
  rig::machine m;
  m.add<blk_model>(seat::modern, 4);
  m.bus.reach = 0x1000;
  CHECK(m.where(4).seen.why == verdict::bar_out_of_reach);
  m.bus.reach = ~u64{0};
  m.function(4).poke(0x20, 0x0c, 4);  // BAR 4: 64 bits, prefetchable, no address
  m.function(4).poke(0x24, 0, 4);
  CHECK(m.where(4).seen.why == verdict::bar_unassigned);
}

TEST_CASE("pci: an ECAM host distinguishes unassigned I/O BARs from those outside its window", "[pci][hostile]") {
  alignas(4096) static u8 space[4096];
  static u8 window[64];
  const pci::ecam host{.base = reinterpret_cast<uptr>(space), .io_base = reinterpret_cast<uptr>(window)};
  const auto put = [&](u32 bar) { host.config_write32({}, 0x10, bar); };
  put(0x01);
  CHECK(host.bar({}, 0).error() == errc::not_found);
  put(0xffffffe1);
  CHECK(host.bar({}, 0).error() == errc::out_of_range);
  put(0x21);
  REQUIRE(host.bar({}, 0));
  CHECK(host.bar({}, 0)->size() == 4);  // plain memory stores every bit
  CHECK(host.config_read32({.bus = 1}, 0) == 0xffffffff);
}

TEST_CASE("pci: a BAR is out of reach unless all of it lies between floor and reach", "[pci][hostile]") {
  const u64 floor = 0x8000'0000, reach = u64{1} << 32, page = 4096;
  const auto memory = [](u64 base, u64 size, u64 from = 0x8000'0000, u64 to = u64{1} << 32) {
    return pci::linear_map{.floor = from, .reach = to}.cpu_address(base, size).has_value();
  };
  CHECK(memory(floor, page));
  CHECK_FALSE(memory(floor - page, page));      // the guest's own memory
  CHECK_FALSE(memory(floor - page, 2 * page));  // only its first half is inside
  CHECK(memory(reach - page, page));
  CHECK(memory(floor, reach - floor));
  CHECK_FALSE(memory(reach - page, 2 * page));
  CHECK_FALSE(memory(reach, page));
  CHECK_FALSE(memory(floor, u64{1} << 63));
  CHECK_FALSE(memory(floor + page, ~u64{0}));                        // wraps around, and ends just before its start
  CHECK_FALSE(memory(u64{0} - page, 2 * page, 0, pci::everywhere));  // beyond the last address
  CHECK(memory(0x10000, page, 0, 0));                                // the default reach is 4 GiB
  CHECK(memory(0xffff'f000, page, 0, 0));
  CHECK_FALSE(memory(0xffff'f000, 2 * page, 0, 0));
  CHECK_FALSE(memory(u64{1} << 32, page, 0, 0));
  CHECK(memory(u64{~uptr{0}} - page, page, floor, pci::everywhere));
  CHECK(memory(u64{1} << 40, page, floor, u64{1} << 41) == (sizeof(uptr) == 8));
}

TEST_CASE("pci: an ECAM host gives no BAR below its floor or beyond its reach", "[pci][hostile]") {
  alignas(4096) static u8 space[4096];
  pci::ecam host{.base = reinterpret_cast<uptr>(space), .bars = {.floor = 0x8000'0000, .reach = 0xc000'0000}};
  const auto error = [&](u32 low, u32 high = 0) {
    host.config_write32({}, 0x10, low);
    host.config_write32({}, 0x14, high);
    return host.bar({}, 0).error();  // 16 bytes: plain memory stores every bit
  };
  CHECK(error(0x8000'0000) == errc::ok);
  CHECK(error(0xbfff'fff0) == errc::ok);
  CHECK(error(0x7fff'fff0) == errc::out_of_range);
  CHECK(error(0x0010'0000) == errc::out_of_range);
  CHECK(error(0xc000'0000) == errc::out_of_range);
  CHECK(error(0x9000'0004, 1) == errc::out_of_range);  // 64 bits wide
  CHECK(error(0x9000'0004) == errc::ok);
  host.bars.reach = 0xc000'0000 - 8;
  CHECK(error(0xbfff'fff0) == errc::out_of_range);  // half of it
}

TEST_CASE(
    "pci: a device without capabilities is legacy if its ids allow that, and needs an I/O BAR [PCIL-01][PCIL-02][PCIL-03][PCIL-04][LEGACY-01]",
    "[pci][legacy]") {
  rig::machine m;
  m.add<blk_model>(seat::legacy, 4);
  CHECK(m.where(4).seen.via == transport_kind::pci_legacy);
  rig::disk<split_queue<256>, rig::modern_pci> modern_only;
  CHECK(modern_only.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(modern_only->why().why == verdict::legacy_unsupported);
  m.function(4).bar_sizes[0] = 0;
  m.function(4).poke(0x10, 0, 4);
  CHECK(m.where(4).seen.why == verdict::legacy_without_io_bar);

  m.add<blk_model>(seat::modern, 5);
  rig::disk<split_queue<256>, rig::legacy_pci> legacy_only;
  CHECK(legacy_only.start(m, m.where(5)).error() == errc::unsupported);
  CHECK(legacy_only->why().why == verdict::modern_unsupported);

  // A transitional device is driven through its capabilities.
  m.add<blk_model>(seat::transitional, 6);
  CHECK(m.where(6).seen.via == transport_kind::pci_modern);
  rig::disk<split_queue<256>> any;
  REQUIRE(any.start(m, m.where(6)));
  CHECK(any->why().via == transport_kind::pci_modern);
  // It also has the legacy block, for the legacy transport.
  rig::disk<split_queue<256>, rig::legacy_pci> old;
  REQUIRE(any->reset());
  CHECK(old.start(m, m.where(6)));
}

TEST_CASE("pci legacy: a page number beyond 32 bits is refused [SPLITL-03]", "[pci][legacy]") {
  rig::machine m;
  m.add<rng_model>(seat::legacy, 4);
  m.memory.shared_base = u64{1} << 44;
  rig::entropy<> e;
  CHECK(e.start(m, m.where(4)).error() == errc::dma_unreachable);
  CHECK(e->why().why == verdict::queue_unusable);
  m.add<rng_model>(seat::modern, 5);
  CHECK(e.start(m, m.where(5)));  // modern addresses have 64 bits
}

TEST_CASE("pci modern: a kick is exactly one register write of 16 bits at the queue's own place [NOTIFY-01][NOTIFY-03]",
          "[pci]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::modern, 4);
  model.at(0).notify_off = 3;
  rig::disk<> d;
  REQUIRE(d.start(m, m.where(4)));
  u8 sector[512];
  REQUIRE(d->submit_read(0, sector));
  m.function(4).clear_log();
  d->kick();
  CHECK(m.function(4).log() == "w2@notify+0xc=0x0");
  d->kick();  // no new request, no write
  CHECK(m.function(4).log() == "w2@notify+0xc=0x0");
  CHECK(d->wait_next());
}

TEST_CASE(
    "pci modern: only writable registers are written, queue sizes are powers of two, queues are enabled once [PCI-15][PCI-17][PCI-18][PCI-20][PCI-14]",
    "[pci]") {
  rig::machine m;
  auto& model = m.add<rng_model>(GENERATE(seat::modern, seat::crosvm, seat::vmd), 4, u16{100});
  rig::entropy<split_queue<256>> e;
  REQUIRE(e.start(m, m.where(4)));  // the model reports any of these, and the fake PCI writes into capabilities
  CHECK(model.at(0).size == 64);
  u8 data[64];
  CHECK(e->fill(data));
}

TEST_CASE("pci modern: queue reset goes through its register and is confirmed by reading [RESET-02][PCI-21]", "[pci]") {
  rig::machine m;
  auto& model = m.add<device_model>(seat::modern, 4, u16{4}, std::vector<u16>{8});
  model.offer({40});
  model.queue_reset_reads = 3;
  ring_session<> one{m, {.wanted = feature_set{feature::ring_reset}}};
  auto& s = one.s;
  REQUIRE(one.set_up());
  s.go();
  auto& f = m.function(4);
  f.poke(f.capability(0x09, 1) + 12u, 64, 4);
  report why;
  REQUIRE(s.transport().open(m.where(4), why));
  REQUIRE(s.transport().begin_queue_reset(0));
  int reads = 1;
  while (!s.transport().queue_reset_done(0)) ++reads;
  CHECK(reads == 4);
  CHECK(!model.at(0).enabled);
}
