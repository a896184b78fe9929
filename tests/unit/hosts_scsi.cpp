// SPDX-License-Identifier: MIT
// SCSI on every host that has it: QEMU's disk, and the one CD drive of OpenBSD's vmd.
#include <catch2/catch_test_macros.hpp>

#include <numeric>

#include "hosts.hpp"
#include "scsi.hpp"

using namespace virtio;
using rig::host_description;
using rig::host_machine;
using rig::on_each_host;
using rig::pci_board;
using testing::vmd_era;

namespace {

template <class Board>
using host_on = rig::driver<scsi::device<rig::platform_type, typename Board::transport, rig::host_queue>>;

void fill_pattern(scsi_model& model) {
  auto& all = model.units[0].data;
  for (usize i = 0; i < all.size(); ++i) all[i] = static_cast<u8>(i / 512 * 7 + i % 251);
}
std::vector<u8> expected(scsi_model& model, u64 sector, usize size) {
  const auto from = model.units[0].data.begin() + static_cast<std::ptrdiff_t>(sector * 512);
  return {from, from + static_cast<std::ptrdiff_t>(size)};
}

}  // namespace

TEST_CASE("the SCSI controller with subsystem 0b5d:0008 is bound", "[hosts][scsi][vmd]") {
  for (const vmd_era era : {vmd_era::of_2018, vmd_era::of_2023, vmd_era::of_2025, vmd_era::of_2026}) {
    const auto host = host_description::vmd(era);
    CAPTURE(host.name());
    host_machine<pci_board> m{host};
    usize seen = 0;
    host_on<pci_board> d;
    m.board.scan([&](const pci_board::location& one) {
      if (one.who.subsystem_vendor != 0x0b5d || one.who.subsystem != 0x0008) return;
      ++seen;
      CHECK(one.who.vendor == 0x1af4);
      CHECK(one.who.device == (host.behaviour.pci.legacy ? 0x1004 : 0x1048));
      CHECK(one.seen.type == device_type::scsi);
      REQUIRE(d->start(m.platform(), one, d.storage()));
      CHECK(d->why().why == verdict::bound);
    });
    REQUIRE(seen == 1);
    std::vector<scsi::found> units;
    const auto count = d->scan([&](const scsi::found& one) { units.push_back(one); });
    REQUIRE(count);
    REQUIRE(units.size() == 1);  // target 1, which the host announces, is a bad one
    CHECK(units[0].kind == scsi::kind::cd);
    CHECK(units[0].where == scsi::address{});
    REQUIRE(d->hand_off());
  }
}

TEST_CASE(
    "hosts: a unit is read, written if it is writable, and synchronized, in pieces and whole [SCSI-03][SCSI-04][SCSI-05]",
    "[hosts][scsi]") {
  on_each_host(device_type::scsi, [](auto& m) {
    using board = typename std::remove_reference_t<decltype(m)>::board_type;
    auto& model = m.template as<scsi_model>(device_type::scsi);
    fill_pattern(model);
    host_on<board> d;
    const auto up = rig::bring_up(*d, m.platform(), m.where(device_type::scsi), d.storage());
    INFO(describe(d->why().why));
    REQUIRE(up);
    scsi::unit<std::remove_reference_t<decltype(*d)>> unit;
    REQUIRE(unit.open(*d, {}));
    const bool cd = model.units[0].kind == 5;
    CHECK(unit.capacity() == 1024);
    CHECK(unit.is_read_only() == cd);
    CHECK(unit.block_size() == model.units[0].block);
    for (const u32 piece : {u32{4096}, u32{700}, u32{100000}}) {
      m.memory.largest_piece = piece;
      std::vector<u8> data(40 * 512);
      REQUIRE(unit.read(4, data));
      CHECK(data == expected(model, 4, data.size()));
      std::iota(data.begin(), data.end(), static_cast<u8>(piece));
      if (cd) {
        CHECK(unit.write(800, data).error() == errc::read_only);
      } else {
        REQUIRE(unit.write(800, data));
        CHECK(data == expected(model, 800, data.size()));
      }
      REQUIRE(unit.flush());
    }
    REQUIRE(d->hand_off());
  });
}

TEST_CASE("hosts: vmd's CD drive has one command in flight at a time, and a command without a response has failed",
          "[hosts][scsi][vmd][host-cmd-per-lun][host-no-response]") {
  for (const vmd_era era : {vmd_era::of_2018, vmd_era::of_2023, vmd_era::of_2025, vmd_era::of_2026}) {
    const auto host = host_description::vmd(era);
    host_machine<pci_board> m{host};
    auto& model = m.as<scsi_model>(device_type::scsi);
    fill_pattern(model);
    host_on<pci_board> d;
    REQUIRE(d->start(m.platform(), m.where(device_type::scsi), d.storage()));
    scsi::unit<std::remove_reference_t<decltype(*d)>> unit;
    REQUIRE(unit.open(*d, {}));
    std::vector<u8> one(4096), other(4096);
    REQUIRE(unit.submit_read(0, one, 1));
    CHECK(unit.submit_read(8, other, 2).error() == errc::queue_full);
    unit.kick();
    const auto done = unit.wait_next();
    REQUIRE(done);
    CHECK(done->status == errc::ok);
    CHECK(one == expected(model, 0, one.size()));
    // A unit of more than 2^32 blocks is read by READ(16), which vmd does not support.
    model.tamper = [](const scsi_model::request&, scsi_model::reply& said) { said.writes_response = false; };
    CHECK_FALSE(unit.read(0, one));
    REQUIRE(d->hand_off());
  }
}
