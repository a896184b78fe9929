// SPDX-License-Identifier: MIT
// Legacy devices with numbers in the guest's order, over legacy-only transports. On a big-endian machine every word of
// a ring, of a request and of the configuration (except a balloon's) is big-endian there, and modern devices on the
// same machine are little-endian.
#include <cstring>
#include <numeric>

#include <virtio/mmio.hpp>
#include <virtio/testing/fake_mmio.hpp>

#include "balloon.hpp"
#include "console.hpp"
#include "disk.hpp"
#include "entropy.hpp"
#include "legacy.hpp"
#include "net.hpp"
#include "scsi.hpp"

using namespace virtio;

namespace {

using ring = split_queue<16, ring_options{.indirect = 8, .ring_entries = 256, .order = native_order}>;

/// The bytes of a number in this machine's order.
template <class T>
std::vector<u8> in_memory(T value) {
  std::vector<u8> out(sizeof value);
  std::memcpy(out.data(), &value, sizeof value);
  return out;
}

}  // namespace

TEST_CASE(
    "guest order: a legacy disk's ring, requests, extents and config have the guest's order [SPLITL-04][BLKL-01][BLKL-03]",
    "[blk][legacy]") {
  rig::machine m;
  auto& model = rig::add_legacy<blk_model>(m, 4,
                                           blk_options{.sectors = 0x1122,
                                                       .blk_size = 1024,
                                                       .discard = extent_rules{.sectors = 0x300, .extents = 2},
                                                       .lifetime = std::array<u16, 3>{1, 0x0203, 0x0405}});
  fill_pattern(model);
  rig::disk<ring, rig::legacy_pci> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->capacity() == 0x1122);
  CHECK(d->block_size() == 1024);
  std::vector<u8> data(8192);
  REQUIRE(d->read(6, data));
  CHECK(data == expected(model, 6, data.size()));
  std::iota(data.begin(), data.end(), u8{5});
  REQUIRE(d->write(0x1000, data));
  CHECK(data == expected(model, 0x1000, data.size()));
  REQUIRE(d->discard(0x200, 0x400));
  REQUIRE(model.extents.size() == 2);
  CHECK(model.extents[0].sector == 0x200);
  CHECK(model.extents[0].sectors == 0x300);
  CHECK(model.extents[1].sectors == 0x100);
  const auto worn = d->get_lifetime();
  REQUIRE(worn);
  CHECK(worn->pre_eol == 1);
  CHECK(worn->estimate_b == 0x0405);
  // The available index in memory, and an index that the device has written.
  const auto shown = model.ring().available_area();
  CHECK(std::vector<u8>(shown.begin() + 2, shown.begin() + 4) == in_memory(model.ring().raw_available_idx()));
  const auto used = model.ring().used_area();
  CHECK(std::vector<u8>(used.begin() + 2, used.begin() + 4) == in_memory(model.ring().raw_used_idx()));
  CHECK(model.ring().raw_used_idx() == model.served());
}

TEST_CASE(
    "guest order: a disk in a legacy slot has the guest's order, and a modern one beside it is little-endian [SPLITL-04][BLKL-01]",
    "[blk][mmio][legacy]") {
  virtio::testing::strict_machine memory;
  virtio::testing::fake_mmio row;
  blk_model old{memory.memory, {.sectors = 0x1122}}, modern{memory.memory, {.sectors = 0x3344}};
  (void)row.add(old, 1);
  (void)row.add(modern);
  memory.on_wait = [&](waiting, u64) {
    (void)old.step();
    (void)modern.step();
  };
  using bus_type = virtio::testing::fake_mmio::bus_type;
  rig::driver<blk::device<rig::platform_type, mmio::legacy<bus_type>, ring>> of_old;
  rig::driver<blk::device<rig::platform_type, mmio::modern<bus_type>, split_queue<16>>> of_modern;
  REQUIRE(of_old->start({&memory}, mmio::at(row.bus(), 0), of_old.storage()));
  REQUIRE(of_modern->start({&memory}, mmio::at(row.bus(), 1), of_modern.storage()));
  CHECK(of_old->capacity() == 0x1122);
  CHECK(of_modern->capacity() == 0x3344);
  std::vector<u8> data(1024, 7);
  REQUIRE(of_old->write(0x1000, data));
  REQUIRE(of_modern->write(0x2000, data));
  CHECK(data == expected(old, 0x1000, data.size()));
  CHECK(data == expected(modern, 0x2000, data.size()));
  const auto one = modern.ring().available_area();
  CHECK(one[2] + one[3] * 256 == modern.ring().raw_available_idx());
  for (const auto& what : row.violations()) FAIL_CHECK(what);
  for (const auto& what : memory.violations()) FAIL_CHECK(what);
}

TEST_CASE("guest order: legacy entropy fills a buffer through a ring in the guest's order [SPLITL-04]",
          "[rng][legacy]") {
  rig::machine m;
  rig::add_legacy<rng_model>(m, 4);
  rig::entropy<ring, rig::legacy_pci> e;
  REQUIRE(e.start(m, m.where(4)));
  std::vector<u8> bytes(100);
  REQUIRE(e->fill(bytes));
  CHECK(std::any_of(bytes.begin(), bytes.end(), [](u8 byte) { return byte != 0; }));
}

TEST_CASE(
    "guest order: a legacy balloon's pages, statistics and command ids have the guest's order, its config is little-endian "
    "[BALLOONL-01][BALLOONL-04][BALLOONL-05]",
    "[balloon][legacy]") {
  rig::machine m;
  auto& model = rig::add_legacy<rig::balloon_model>(m, 4, rig::balloon_offers{0, 1, 3});
  rig::balloon_driver<ring, rig::legacy_pci> d;
  REQUIRE(d->start(m.platform(), m.where(4), d.storage(), {}, rig::two_samples));
  model.want(0x0102);
  CHECK(*d->follow(rig::pages_from{5000}, rig::pages_from{0, 0}) == 0x0102);
  CHECK(model.pages().size() == 0x0102);
  CHECK(*model.pages().begin() == 5000);
  CHECK(model.actual() == 0x0102);
  model.ask();
  (void)model.serve(2);
  CHECK(model.statistics() == std::map<unsigned, std::uint64_t>{{4, 1 << 20}, {5, 1 << 30}});
  model.open_round();
  const u32 round = model.round();
  u32 next = 0;
  alignas(4096) static u8 page[4096];
  CHECK(*d->hint([&](bytes& out) { return next++ == 0 && (out = bytes{page}, true); }) == 1);
  REQUIRE(!model.commands().empty());
  CHECK(model.commands().front() == round);
}

TEST_CASE(
    "guest order: a legacy console's screen and control messages have the guest's order [CONSOLEL-01][CONSOLEL-02]",
    "[console][legacy]") {
  rig::machine m;
  auto& model = rig::add_legacy<rig::console_model>(m, 4, rig::console_offers{1}, usize{3}, u16{16});
  model.ports[0].is_console = true;
  model.ports[1].name = "agent.1";
  model.ports[2].there = false;
  model.offer({0});
  model.put_config(0, 0x0150, 2);
  model.put_config(2, 0x0018, 2);
  rig::driver<console::device<rig::platform_type, rig::legacy_pci, ring, rig::three_small_ports>> d;
  REQUIRE(d.start(m, m.where(4)));
  rig::settle(d, model);
  const auto screen = d->size();
  REQUIRE(screen);
  CHECK(screen->columns == 0x0150);
  CHECK(screen->rows == 0x0018);
  CHECK(*d->find_named(text("agent.1")) == 1);
  CHECK(*d->send(text("hello")) == 5);
  REQUIRE(d->flush());
  CHECK(model.ports[0].heard == "hello");
}

TEST_CASE("guest order: a legacy card's config and headers have the guest's order [NETL-01][NETL-02]",
          "[net][legacy]") {
  rig::machine m;
  auto& model = rig::add_legacy<rig::net_model>(m, 4, rig::net_offers{0, 5, 16});
  model.put_config(6, 1, 2);
  rig::driver<net::device<rig::platform_type, rig::legacy_pci, ring, rig::few_buffers>> d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(d->mac() == net::mac_address{{0x52, 0x54, 0, 0x12, 0x34, 0x56}});
  CHECK(d->state() == net::link_state::up);
  const auto frame = rig::frame_of(100);
  REQUIRE(rig::send(d, frame, {34, 6}));
  d->flush();
  (void)model.step();
  REQUIRE(model.sent.size() == 1);
  CHECK(model.sent[0].data == frame);
  CHECK(model.sent[0].head.csum_start == 34);
  CHECK(model.sent[0].head.csum_offset == 6);
}

TEST_CASE(
    "guest order: a legacy SCSI host's config, commands and task management have the guest's order [SCSIL-01][SCSIL-03][SCSIL-04]",
    "[scsi][legacy]") {
  rig::machine m;
  auto& model = rig::add_legacy<scsi_model>(m, 4, scsi_options{}, std::vector<scsi_unit>{scsi_unit{}});
  using host_type = scsi::device<rig::platform_type, rig::legacy_pci, ring>;
  rig::driver<host_type> host;
  REQUIRE(host.start(m, m.where(4)));
  scsi::unit<host_type> unit{};
  REQUIRE(unit.open(*host, {}));
  CHECK(unit.capacity() == 1024);
  std::vector<u8> data(4096, 9);
  REQUIRE(unit.write(1000, const_bytes{data.data(), 1024}));
  REQUIRE(unit.read(1000, bytes{data.data(), 1024}));
  REQUIRE(host->reset_unit({}));
  REQUIRE(model.managed.size() == 1);
  CHECK(model.managed[0].subtype == 5);
}
