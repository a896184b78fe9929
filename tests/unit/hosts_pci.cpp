// SPDX-License-Identifier: MIT
// Behaviour of hosts on PCI: BARs above 4 GiB, the window in configuration space, interrupts without an ISR. The models
// of hosts check that drivers comply.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <virtio/bus/pci/msix.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "hosts.hpp"

using namespace virtio;
using rig::host_description;
using rig::host_machine;
using rig::pci_board;
using on = host_description::bus;

namespace {

using narrow = pci::windowed<pci_board::host>;  // a board that reaches 4 GiB, and uses the window above that
using window_disk = rig::driver<blk::device<rig::platform_type, pci::transport<narrow>, rig::host_queue>>;
using plain_disk = rig::driver<blk::device<rig::platform_type, pci_board::transport, rig::host_queue>>;

constexpr u64 four_gib = u64{1} << 32;

pci::found<narrow> through_window(host_machine<pci_board>& m) {
  const auto found = pci::find(narrow{m.board.bus()}, device_type::block);
  REQUIRE(found);
  return *found;
}

host_description with_disk(host_description host) {  // and no other device
  return {.on = host.on, .behaviour = host.behaviour, .disk = host.disk};
}

}  // namespace

TEST_CASE("hosts: BARs above 4 GiB are driven if the board reaches them, and reported otherwise", "[hosts][pci]") {
  for (const auto& host : {host_description::firecracker(on::pci), host_description::cloud_hypervisor()}) {
    CAPTURE(host.name());
    host_machine<pci_board> m{host};
    m.board.devices.reach = four_gib;
    usize seen = 0;
    m.board.scan([&](const auto& one) {
      ++seen;
      CHECK(one.seen.why == verdict::bar_out_of_reach);
      CHECK(one.seen.bar == 0);
    });
    CHECK(seen == m.models.size());
    plain_disk d;
    CHECK(d->start(m.platform(), m.where(device_type::block), d.storage()).error() == errc::unsupported);
    CHECK(d->why().why == verdict::bar_out_of_reach);
    m.board.devices.reach = u64{1} << 40;
    REQUIRE(d->start(m.platform(), m.where(device_type::block), d.storage()));
    u8 sector[512];
    CHECK(d->read(0, sector));
    REQUIRE(d->hand_off());
  }
}

TEST_CASE(
    "hosts: through the window Cloud Hypervisor's disk is read, and Firecracker's, which gets no doorbell there, ends "
    "in a time-out",
    "[hosts][pci][window]") {
  const bool hears = GENERATE(true, false);
  const auto host = hears ? host_description::cloud_hypervisor() : host_description::firecracker(on::pci);
  host_machine<pci_board> m{host};
  m.board.devices.reach = four_gib;
  auto& model = m.as<blk_model>(device_type::block);
  fill_pattern(model);
  window_disk d;
  REQUIRE(d->start(m.platform(), through_window(m), d.storage()));
  std::vector<u8> data(1024);
  const auto read = d->read(3, data);
  if (hears) {
    REQUIRE(read);
    CHECK(data == expected(model, 3, data.size()));
  } else {
    CHECK(read.error() == errc::timed_out);
    CHECK(model.doorbells() == 0);
    CHECK(model.requests() == 0);
  }
  (void)d->hand_off();
}

TEST_CASE("hosts: crosvm's window, whose data would be the next capability, is ignored", "[hosts][pci][host-window]") {
  auto host = with_disk(host_description::crosvm());
  host.behaviour.pci.bar0 = 0x1'0000'0000;  // no crosvm uses this address
  host.behaviour.pci.bar0_is_64_bit = true;
  host_machine<pci_board> m{host};
  m.board.devices.reach = four_gib;
  window_disk d;
  CHECK(d->start(m.platform(), through_window(m), d.storage()).error() == errc::unsupported);
  CHECK(d->why().why == verdict::bar_out_of_reach);
}

TEST_CASE("hosts: with MSI-X every queue's interrupt arrives on its vector, and no ISR is read [PCI-34][PCI-35]",
          "[hosts][pci][msix]") {
  for (const auto& host : host_description::all()) {
    // Vmd has had MSI-X since 2026.
    if (host.is_mmio() || (host.is_vmd() && host.behaviour.pci.bar1_size == 0)) continue;
    CAPTURE(host.name());
    host_machine<pci_board> m{host};
    auto& model = m.as<blk_model>(device_type::block);
    const auto where = m.where(device_type::block);
    pci::msix<pci_board::host> table;
    REQUIRE(table.open(where.host, where.id));
    for (u16 vector = 0; vector < 2; ++vector) REQUIRE(table.route(vector, {0xfee0'0000, vector}));
    table.enable();
    plain_disk d;
    REQUIRE(d->start(m.platform(), where, d.storage(), {.config = 0, .first = 1, .count = 1}));
    u8 sector[512];
    for (int i = 0; i < 3; ++i) {
      REQUIRE(d->submit_read(0, sector));
      d->kick();
      (void)model.step();
      REQUIRE(d->drain([](blk::done) {}));
    }
    CHECK(model.counts.isr == 0);
    CHECK(m.board.devices.function(where.id).capability(0x11) != 0);
    REQUIRE(d->hand_off());
  }
}

TEST_CASE("hosts: Firecracker and Alioth have no interrupt line: polling drivers work, and the ISR stays 0",
          "[hosts][pci]") {
  for (const auto& host : {host_description::firecracker(on::pci), host_description::alioth()}) {
    CAPTURE(host.name());
    host_machine<pci_board> m{host};
    auto& model = m.as<blk_model>(device_type::block);
    plain_disk d;
    REQUIRE(d->start(m.platform(), m.where(device_type::block), d.storage()));
    u8 sector[512];
    REQUIRE(d->read(0, sector));
    CHECK(model.interrupts() == 0);
    const auto cause = d->acknowledge_interrupt();
    CHECK_FALSE(cause.queue);
    CHECK_FALSE(cause.config);
    REQUIRE(d->hand_off());
  }
}

TEST_CASE(
    "hosts: Alioth's command register and MSI-X control need 16-bit writes, and a board without them gets a verdict",
    "[hosts][pci]") {
  const auto host = with_disk(host_description::alioth());
  host_machine<pci_board> m{host};
  using wide = virtio::testing::fake_host;
  rig::driver<blk::device<rig::platform_type, pci::transport<wide>, rig::host_queue>> d;
  const auto found = pci::find(m.board.devices.host(), device_type::block);
  REQUIRE(found);
  CHECK(d->start(m.platform(), *found, d.storage()).error() == errc::unsupported);
  CHECK(d->why().why == verdict::decoding_off);
}

TEST_CASE("hosts: crosvm requests a reset if not exactly its queues are enabled at DRIVER_OK, and the model reports it",
          "[hosts][kit]") {
  for (const auto& [type, missing] :
       {std::pair{u16{4}, u16{0}}, std::pair{u16{19}, u16{2}}, std::pair{u16{5}, u16{1}}}) {
    CAPTURE(type);
    const auto host = host_description::crosvm();
    device_memory memory;
    const auto model = rig::made_by(host, static_cast<device_type>(type), memory);
    host.behaviour.device.apply_to(*model);
    using via = device_model::interface;
    model->write_status(0, via::modern);
    for (const u8 status : {u8{0}, u8{1}, u8{3}}) {
      if (status != 0) model->write_status(status, via::modern);
      (void)model->read_status();
    }
    (void)model->read_offer(1, via::modern);
    model->write_accepted(1, 1, via::modern);
    model->write_status(0x0b, via::modern);
    (void)model->read_status();
    const u16 last = type == 19 ? 3 : type == 5 ? 2 : 1;
    for (u16 q = 0; q < last; ++q)
      if (q != missing) {
        for (unsigned area = 0; area < 3; ++area)
          for (unsigned half = 0; half < 2; ++half) model->write_queue_area(q, area, half, 0);
        model->write_queue_enable(q, 1);
      }
    model->write_status(0x0f, via::modern);
    CHECK((model->status() & 0x40) != 0);
    usize told = 0;
    for (const auto& what : model->violations())
      told += contains(what, "DRIVER_OK with queue " + std::to_string(missing) + " not enabled");
    CHECK(told == 1);
  }
}

TEST_CASE("hosts: Firecracker ignores a status write of two steps at once, and the model reports it", "[hosts][kit]") {
  const auto host = host_description::firecracker(on::pci);
  device_memory memory;
  const auto model = rig::made_by(host, device_type::entropy, memory);
  host.behaviour.device.apply_to(*model);
  using via = device_model::interface;
  model->write_status(0, via::modern);
  (void)model->read_status();
  model->write_status(3, via::modern);
  CHECK(model->status() == 0);
  CHECK(contains(model->violations().back(), "STATUS: step from 0x0 to 0x3"));
  model->write_status(1, via::modern);
  CHECK(model->status() == 1);
  model->write_status(0x81, via::modern);
  CHECK(model->status() == 0x81);
}

TEST_CASE(
    "hosts: a transitional driver drives kvmtool's legacy disk and crosvm's; the other drivers drive one each and name the other [LEGACY-07]",
    "[hosts][pci][mmio]") {
  using host = pci_board::host;
  const bool is_legacy = GENERATE(true, false);
  rig::machine m;
  m.add<blk_model>(is_legacy ? seat::legacy : seat::crosvm, 4, blk_options{.queue_size = 128});
  const auto where = pci::look(host{m.bus.host()}, pci::address{0, 0, 4, 0});
  using ring = split_queue<16, ring_options{.ring_entries = 128}>;
  rig::driver<blk::device<rig::platform_type, pci::transport<host>, ring>> transitional;
  rig::driver<blk::device<rig::platform_type, pci::modern<host>, ring>> modern;
  rig::driver<blk::device<rig::platform_type, pci::legacy<host>, ring>> legacy;
  u8 sector[512];
  const auto drives = [&](auto& d, verdict otherwise) {
    const auto up = d.start(m, where);
    CHECK(d->why().why == (up ? verdict::bound : otherwise));
    if (!up) return false;
    CHECK(d->read(0, sector));
    CHECK(d->hand_off());
    return true;
  };
  CHECK(drives(transitional, verdict::undecided));
  CHECK(drives(modern, verdict::legacy_unsupported) == !is_legacy);
  CHECK(drives(legacy, verdict::modern_unsupported) == is_legacy);
}
