// SPDX-License-Identifier: MIT
// Profiles of hosts: the quirks of OpenBSD's vmd that need a profile, chosen by name or by the bridge of the bus; and
// its quirks that need none, since the library meets them on every host.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <sstream>

#include <virtio/mmio.hpp>
#include <virtio/testing/fake_mmio.hpp>

#include "entropy.hpp"
#include "hosts.hpp"

using namespace virtio;

namespace {

using profiled_bus = pci::profiled<rig::host>;
using profiled_pci = pci::transport<profiled_bus>;
// Legacy devices have fixed queue sizes: entropy 64, disks 128.
using roomy = queue<8, ring_options{.ring_entries = 128}>;
using profiled_entropy = rig::entropy<roomy, profiled_pci>;
using plain_entropy = rig::entropy<roomy>;

constexpr pci::address bridge{0, 0, 0, 0};

/// A bus of vmd: its bridge, and storage inside the memory of its guests.
struct vmd_machine : rig::machine {
  vmd_machine() {
    bus.raw(bridge, "5d 0b 66 06");
    memory.shared_base = 0x1000'0000;
  }
  [[nodiscard]] profiled_bus detected() { return pci::detected(bus.host()); }
  [[nodiscard]] pci::found<profiled_bus> find(device_type type) {
    const auto found = pci::find(detected(), type);
    REQUIRE(found);
    return *found;
  }
  /// vmd's entropy device, legacy or 1.x.
  rng_model& add_entropy(seat where) {
    auto& model = add<rng_model>(where, 4, u16{64});
    model.withdraw({28, 29, 34});
    model.reads_past_the_newest = true;
    return model;
  }
};

bool holds_pattern(const std::vector<u8>& data) {
  for (usize i = 0; i < data.size(); ++i)
    if (data[i] != rng_model::pattern(i)) return false;
  return true;
}

}  // namespace

// --- choosing a profile ---

TEST_CASE("host profiles: OpenBSD's vmd is detected by its bridge, and other machines have none",
          "[hosts][pci][host-bridge]") {
  vmd_machine m;
  CHECK(pci::detect(m.bus.host()) == &hosts::openbsd_vmd);
  CHECK(std::string{m.detected().profile->name} == "OpenBSD's vmd");
  m.bus.function(bridge).poke(0, 0x0666'8086, 4);
  CHECK(pci::detect(m.bus.host()) == nullptr);
  m.bus.function(bridge).poke(0, 0x0667'0b5d, 4);
  CHECK(pci::detect(m.bus.host()) == nullptr);
  CHECK(m.detected().id_rows().count == 0);
  CHECK(m.detected().quirks().storage_end == 0);
  CHECK(m.detected().quirks().entropy_descriptors == 0);
  testing::fake_pci empty;
  CHECK(pci::detect(empty.host()) == nullptr);
}

TEST_CASE("host profiles: a bridge is detected only as the first function of its bus", "[hosts][pci]") {
  rig::machine m;
  m.bus.raw(bridge, "86 80 37 12");
  m.bus.raw({0, 0, 5, 0}, "5d 0b 66 06");
  CHECK(pci::detect(m.bus.host()) == nullptr);
}

TEST_CASE("host profiles: detection reads one dword of the bridge, and changes nothing", "[hosts][pci]") {
  vmd_machine m;
  m.add_entropy(seat::vmd);
  auto& f = m.bus.function(bridge);
  f.config_reads = 0;
  m.function(4).config_reads = 0;
  (void)m.detected();
  CHECK(f.dword_reads[0] == 2);  // one of the walk, one of the detection
  CHECK(f.config_writes == 0);
  CHECK(m.function(4).config_reads == 0);
}

TEST_CASE("host profiles: the program's ids come first, then the profile's, then the rules",
          "[hosts][pci][host-profile-ids]") {
  rig::machine m;
  m.bus.raw({0, 0, 1, 0}, "5d 0b 77 07");
  m.bus.raw({0, 0, 2, 0}, "f4 1a 42 10");
  m.bus.raw({0, 0, 3, 0}, "f4 1a 44 10");
  static constexpr hosts::profile next{.name = "another", .ids = hosts::openbsd_vmd_ids};
  static constexpr id_row mine[] = {{0x0b5d, 0x0777, device_type::gpu}, {0x1af4, 0x1042, device_type::console}};
  const profiled_bus named{m.bus.host(), &next};
  const auto type_of = [](const auto& bus, u8 slot, id_table extra) {
    return pci::at(bus, pci::address{0, 0, slot, 0}, extra).seen.type;
  };
  CHECK(type_of(named, 1, {}) == device_type::vmmci);
  CHECK(type_of(named, 1, mine) == device_type::gpu);
  CHECK(type_of(named, 2, mine) == device_type::console);
  CHECK(type_of(named, 2, {}) == device_type::block);
  CHECK(type_of(named, 3, mine) == device_type::entropy);
  CHECK(type_of(profiled_bus{m.bus.host(), nullptr}, 1, {}) == device_type::none);
  CHECK(type_of(m.bus.host(), 1, {}) == device_type::none);
}

// The types of a program without a profile have no part for profiles, and so no code (bench/size counts it).
static_assert(!detail::has_quirks<pci::found<rig::host>> && detail::has_quirks<pci::found<profiled_bus>>);
static_assert(!detail::has_quirks<mmio::found<testing::fake_mmio::bus_type>>);
static_assert(detail::has_quirks<mmio::found<mmio::profiled<testing::fake_mmio::bus_type>>>);
static_assert(sizeof(pci::found<profiled_bus>) == sizeof(pci::found<rig::host>) + sizeof(void*));

TEST_CASE("host profiles: a bus of slots gets a profile by name", "[hosts][mmio]") {
  using slots = mmio::profiled<testing::fake_mmio::bus_type>;
  testing::strict_machine memory;
  testing::fake_mmio devices;
  rng_model model{memory.memory, 8};
  devices.place(model, testing::host_behaviour::libkrun());
  memory.on_wait = [&](waiting, u64) { (void)model.step(); };
  static constexpr hosts::profile cautious{.name = "one at a time", .quirks = {.entropy_descriptors = 1}};
  for (const hosts::profile* const as : {&cautious, static_cast<const hosts::profile*>(nullptr)}) {
    slots bus = mmio::detected(devices.bus());
    CHECK(bus.profile == nullptr);
    bus.profile = as;
    const auto where = mmio::find(bus, device_type::entropy);
    REQUIRE(where);
    rig::driver<rng::device<rig::platform_type, mmio::transport<slots>, queue<8>>> e;
    REQUIRE(e->start(rig::platform_type{&memory}, *where, e.storage()));
    u8 data[4][8];
    REQUIRE(e->submit(data[0]));
    CHECK(e->submit(data[1]).error() == (as != nullptr ? errc::queue_full : errc::ok));
    REQUIRE(e->hand_off());
    while (e->next_completion()) {}
  }
  CHECK(memory.violations().empty());
}

// --- entropy: one descriptor at a time ---

TEST_CASE(
    "host profiles: vmd's entropy device, which reads one entry too far, gets one buffer at a time, and all of it is used",
    "[hosts][rng][host-entropy-one]") {
  const seat where = GENERATE(seat::vmd, seat::legacy);
  CAPTURE(rig::name(where));
  vmd_machine m;
  auto& model = m.add_entropy(where);
  profiled_entropy e;
  REQUIRE(e.start(m, m.find(device_type::entropy)));
  SECTION("one buffer after another, past the end of the ring") {
    std::vector<u8> data(200 * 7);
    for (usize i = 0; i < 200; ++i) REQUIRE(e->fill(bytes{data.data() + 7 * i, 7}));
    CHECK(holds_pattern(data));
    CHECK(model.requests() == 200);
  }
  SECTION("a second buffer is rejected until the first is complete") {
    std::vector<u8> data(64);
    REQUIRE(e->submit(bytes{data.data(), 32}, 1));
    CHECK(e->submit(bytes{data.data() + 32, 32}, 2).error() == errc::queue_full);
    e->kick();
    CHECK(e->submit(bytes{data.data() + 32, 32}, 2).error() == errc::queue_full);
    const auto done = e->wait_next();
    REQUIRE(done);
    CHECK(done->length == 32);
    REQUIRE(e->submit(bytes{data.data() + 32, 32}, 2));
    REQUIRE(e->wait_next());
    CHECK(holds_pattern(data));
  }
  SECTION("scattered memory is filled piece by piece: the device uses only the first descriptor of a chain") {
    m.memory.largest_piece = 100;
    std::vector<u8> data(1000);
    REQUIRE(e->fill(data));
    CHECK(holds_pattern(data));
  }
  REQUIRE(e->hand_off());
}

TEST_CASE(
    "host profiles: without the profile vmd's entropy device completes two requests at once wrongly, which is detected",
    "[hosts][rng]") {
  vmd_machine m;
  m.expect_objections = true;
  m.add_entropy(seat::vmd);
  plain_entropy e;
  REQUIRE(e.start(m, m.where(4)));
  u8 data[2][32];
  REQUIRE(e->submit(data[0]));
  REQUIRE(e->submit(data[1]));
  bool wrong = false;
  for (int i = 0; i < 2; ++i) {
    const auto done = e->wait_next();
    wrong = wrong || !done || done->status != errc::ok;
  }
  CHECK(wrong);
  (void)e->hand_off();
  while (e->next_completion()) {}
}

TEST_CASE("host profiles: in the same program a machine without a profile has a full ring of requests in flight",
          "[hosts][rng]") {
  rig::machine m;
  m.add<rng_model>(seat::modern, 4);
  profiled_entropy e;
  const auto where = pci::find(pci::detected(m.bus.host()), device_type::entropy);
  REQUIRE(where);
  CHECK(where->host.profile == nullptr);
  REQUIRE(e.start(m, *where));  // storage at any address
  u8 data[8][16];
  for (auto& one : data) REQUIRE(e->submit(one));
  REQUIRE(e->drain([](rng::done) {}));
  REQUIRE(e->hand_off());
}

// --- storage ---

TEST_CASE(
    "host profiles: on vmd storage must end below the end of the memory under 4 GiB, or is rejected first, by name",
    "[hosts][host-storage-end]") {
  constexpr u64 end = 0xf000'0000;
  const usize bytes = profiled_entropy{}.storage().size;
  for (const u64 at : {u64{0x10'0000}, end - bytes}) {
    CAPTURE(at);
    vmd_machine m;
    m.add_entropy(seat::legacy);  // a model of vmd needs the memory ranges of its guest
    m.memory.shared_base = at;
    profiled_entropy e;
    REQUIRE(e.start(m, m.find(device_type::entropy)));
    std::vector<u8> data(16);
    CHECK(e->fill(data));
    REQUIRE(e->hand_off());
  }
  for (const u64 at : {end - bytes + 4096, end, u64{1} << 32, u64{0x1'0010'0000}, ~u64{0} - 0xff'ffff}) {
    CAPTURE(at);
    vmd_machine m;
    auto& model = m.add_entropy(seat::vmd);
    m.memory.shared_base = at & ~u64{4095};
    const auto where = m.find(device_type::entropy);
    profiled_entropy e;
    CHECK(e.start(m, where).error() == errc::dma_unreachable);
    CHECK(e->why().why == verdict::storage_unusable);
    CHECK(model.counts.all() == 0);
  }
}

// --- models of all versions of vmd ---

namespace {

using vmd_bus = pci::profiled<rig::pci_board::host>;
template <class Queue = roomy>
using entropy_on_vmd = rig::driver<rng::device<rig::platform_type, pci::transport<vmd_bus>, Queue>>;

template <class Body>
void on_each_vmd(Body&& body) {
  using testing::vmd_era;
  for (const vmd_era era : {vmd_era::of_2018, vmd_era::of_2023, vmd_era::of_2025, vmd_era::of_2026}) {
    const auto host = rig::host_description::vmd(era);
    CAPTURE(host.name());
    rig::host_machine<rig::pci_board> m{host};
    body(m);
  }
}

}  // namespace

TEST_CASE("host profiles: every version of vmd is detected, and gives entropy to a program with any number of requests",
          "[hosts][rng][vmd]") {
  on_each_vmd([](auto& m) {
    const vmd_bus here = pci::detected(m.board.bus());
    REQUIRE(here.profile == &hosts::openbsd_vmd);
    const auto where = pci::find(here, device_type::entropy);
    REQUIRE(where);
    entropy_on_vmd<> e;
    REQUIRE(e->start(m.platform(), *where, e.storage()));
    std::vector<u8> data(4096);
    usize sent = 0, ended = 0;
    while (ended < 64) {
      while (sent < 64 && e->submit(bytes{data.data() + 64 * sent, 64})) ++sent;
      const auto done = e->wait_next();
      REQUIRE(done);
      CHECK(done->length == 64);
      ++ended;
    }
    CHECK(holds_pattern(data));
    REQUIRE(e->hand_off());
  });
}

TEST_CASE(
    "host profiles: if each half of an address must be memory, storage beyond 4 GiB ends vmd without the profile, and is rejected by name with it",
    "[hosts][vmd]") {
  const auto host = rig::host_description::vmd(testing::vmd_era::of_2025);
  rig::host_machine<rig::pci_board> m{host};
  m.memory.shared_base = 0x1'f800'0000;  // the lower half is not memory
  const vmd_bus here = pci::detected(m.board.bus());
  const auto where = pci::find(here, device_type::entropy);
  REQUIRE(where);
  entropy_on_vmd<> e;
  CHECK(e->start(m.platform(), *where, e.storage()).error() == errc::dma_unreachable);
  CHECK(e->why().why == verdict::storage_unusable);
  CHECK(m.objections().empty());

  m.expect_objections = true;
  const auto unnamed = pci::find(vmd_bus{m.board.bus(), nullptr}, device_type::entropy);
  REQUIRE(unnamed);
  (void)e->start(m.platform(), *unnamed, e.storage());
  CHECK(m.model(device_type::entropy).aborted());
}

// --- what needs no profile ---

TEST_CASE(
    "host profiles: on every host a queue's size is written first, then its areas in vmd's spacing, then its enable bit, then a doorbell",
    "[hosts][pci][host-ring-order]") {
  vmd_machine m;
  auto& model = m.add_entropy(seat::vmd);
  plain_entropy e;
  REQUIRE(e.start(m, m.where(4)));
  std::vector<u8> data(16);
  REQUIRE(e->fill(data));
  std::istringstream log{m.function(4).log()};
  std::string order;
  for (std::string one; log >> one;) {
    if (one[0] != 'w') continue;
    const std::string place = one.substr(3, one.find('=') - 3);
    if (place == "common+0x18") order += "size ";
    else if (place == "common+0x1c") order += "enable ";
    else if (place.rfind("common+0x2", 0) == 0 || place.rfind("common+0x3", 0) == 0) order += place.substr(7) + ' ';
    else if (place.rfind("notify", 0) == 0) order += "doorbell ";
  }
  CHECK(order == "size 0x20 0x24 0x28 0x2c 0x30 0x34 enable doorbell ");
  const auto& q = model.at(0);
  CHECK(q.descriptors % 4096 == 0);
  CHECK(q.driver == q.descriptors + 16u * q.size);
  CHECK(q.device == ((q.driver + 6 + 2u * q.size + 4095) & ~u64{4095}));
  REQUIRE(e->hand_off());
}

namespace {

/// A board with 16-bit writes to configuration space, which records their offsets.
struct halves : rig::host {
  static inline unsigned lower = 0, upper = 0;
  void config_write32(pci::address at, u16 offset, u32 value) const { rig::host::config_write32(at, offset, value); }
  void config_write16(pci::address at, u16 offset, u16 value) const {
    ++(offset % 4 == 0 ? lower : upper);
    testing::fake_host16{*this}.config_write16(at, offset, value);
  }
};

}  // namespace

TEST_CASE(
    "host profiles: on every host configuration space is written by aligned dwords or their lower halves, which no vmd misplaces",
    "[hosts][pci][host-lanes]") {
  vmd_machine m;
  m.add_entropy(seat::vmd);
  auto& f = m.function(4);
  REQUIRE(f.lanes_lost);
  const u32 before = f.peek(0x04, 2);
  halves::lower = halves::upper = 0;
  rig::entropy<roomy, pci::transport<halves>> e;
  const auto where = pci::find(halves{m.bus.host()}, device_type::entropy);
  REQUIRE(where);
  f.poke(0x04, 0, 2);  // so that the driver must change it
  REQUIRE(e.start(m, *where));
  CHECK(f.peek(0x04, 2) == 5);
  std::vector<u8> data(16);
  CHECK(e->fill(data));
  REQUIRE(e->hand_off());
  CHECK(f.peek(0x04, 2) == 0);
  CHECK(halves::lower >= 2);
  CHECK(halves::upper == 0);
  f.poke(0x04, before, 2);
}

TEST_CASE("host profiles: entries of a ring that were never available are zero, also after another attachment",
          "[hosts][rng]") {
  vmd_machine m;
  auto& model = m.add_entropy(seat::vmd);
  profiled_entropy e;
  for (int life = 0; life < 2; ++life) {
    REQUIRE(e.start(m, m.find(device_type::entropy)));
    std::vector<u8> data(16);
    for (int i = 0; i < 3; ++i) REQUIRE(e->fill(data));
    for (u16 entry = 0; entry < model.at(0).size; ++entry) CHECK(model.ring().raw_available_entry(entry) == 0);
    // A previous driver left data there.
    for (u8& byte : model.ring().available_area()) byte = 0xff;
    REQUIRE(e->hand_off());
  }
}
