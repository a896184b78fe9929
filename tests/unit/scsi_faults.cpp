// SPDX-License-Identifier: MIT
// What fails beside what does not: writes that a host cannot do, hosts that answer little, and what becomes of a
// command that takes too long.
#include <catch2/generators/catch_generators.hpp>

#include <optional>

#include "scsi.hpp"

using namespace virtio;

namespace {

constexpr u8 write_10 = 0x2a;

[[nodiscard]] u32 block_of(const scsi_model::request& asked) {
  return u32{asked.cdb[2]} << 24 | u32{asked.cdb[3]} << 16 | u32{asked.cdb[4]} << 8 | asked.cdb[5];
}

/// Every write of unit 0 that begins at `block` fails with this sense data, and changes nothing.
void fail_writes(scsi_rig& r, u32 block, sense_bytes with) {
  r.model.tamper = [block, with](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.cdb[0] != write_10 || asked.lun != 0 || block_of(asked) != block) return;
    said.status = 2;
    said.sense = with.fixed();
    said.residual = static_cast<u32>(asked.out);
  };
}

/// A read that the unit keeps, of a driver with this choice. `managed`: what the host was asked for; none, it was
/// reset.
template <scsi::late_command Late>
void read_late(std::optional<u32> managed) {
  CAPTURE(static_cast<int>(Late));
  rig::machine m;
  auto& model = m.add<scsi_model>(seat::modern, 4);
  rig::scsi_host<rig::scsi_queue, rig::any_pci, scsi::options{.late = Late}> host;
  REQUIRE(host.start(m, m.where(4)));
  scsi::unit<scsi::device<rig::platform_type, rig::any_pci, rig::scsi_queue, scsi::options{.late = Late}>> unit;
  REQUIRE(unit.open(*host, {}));
  model.hold();
  m.memory.wait_limit[1] = 50;
  m.memory.on_wait = [&](waiting, u64) {
    (void)model.serve(2);
    model.release();
    (void)model.serve(0);
    model.hold();
  };
  std::vector<u8> data(512);
  CHECK(unit.read(4, data).error() == errc::timed_out);
  CHECK(model.managed.size() == (managed ? 1u : 0u));
  if (managed) CHECK(model.managed[0].subtype == *managed);
  CHECK(unit.capacity() == (managed ? 1024u : 0u));
}

}  // namespace

TEST_CASE("scsi: a write that fails is named by its sense data, and fails no other request and no other unit",
          "[scsi]") {
  struct row {
    sense_bytes sense;
    const char* begins;
  };
  const auto one = GENERATE(row{{0x0b, 0, 6}, "ABORTED COMMAND"}, row{{3, 0x0c, 0}, "MEDIUM ERROR"},
                            row{{4, 0x44, 0}, "HARDWARE ERROR"}, row{{7, 0x27, 7}, "DATA PROTECT: no space"});
  scsi_rig r({scsi_unit{}, scsi_unit{.lun = 1}});
  REQUIRE(r.open());
  scsi::unit<rig::scsi_device> neighbour;
  REQUIRE(neighbour.open(*r.host, {.lun = 1}));
  fail_writes(r, 50, one.sense);
  const std::vector<u8> data(512, 0xa5);
  CHECK(r.unit.write(50, data).error() == errc::io_error);
  CHECK(std::string{scsi::describe(r.unit.last_failure())}.rfind(one.begins, 0) == 0);
  CHECK(neighbour.write(50, data));
  CHECK(r.expected(50, 512, 1) == data);

  for (u32 i = 0; i < 3; ++i) REQUIRE(r.unit.submit_write(i == 1 ? 50 : 10 * i, data, i));
  for (u32 i = 3; i < 5; ++i) REQUIRE(neighbour.submit_write(10 * i, data, i));
  u32 came = 0;
  CHECK(r.unit.drain([&](const scsi::done& ended) {
    ++came;
    CHECK(ended.status == (ended.cookie == 1 ? errc::io_error : errc::ok));
    if (ended.cookie == 1) CHECK(std::string{scsi::describe(ended.how)}.rfind(one.begins, 0) == 0);
  }));
  CHECK(came == 5);
  CHECK(r.unit.write(51, data));
  CHECK(r.unit.flush());
  CHECK(r.unit.last_failure().sense == scsi::sense{});
}

TEST_CASE("scsi: a long write stops at the command that fails, and those after it are not sent", "[scsi]") {
  scsi_rig r({scsi_unit{}}, {.max_sectors = 8});
  REQUIRE(r.open());
  fail_writes(r, 16, {3, 0x0c, 0});
  const u32 before = r.model.count(write_10);
  const std::vector<u8> data(usize{40} * 512, 0xa5);
  CHECK(r.unit.write(0, data).error() == errc::io_error);
  CHECK(r.model.count(write_10) == before + 3);
  CHECK(r.unit.last_failure().sense.key == scsi::sense_key::medium_error);
}

TEST_CASE(
    "scsi: one unit of a host that answers as vmd does: BAD TARGET but for it, commands one by one, no response to what it does not know",
    "[scsi][vmd]") {
  static constexpr u8 known[] = {0x00, 0x12, 0x25, 0x28};
  const bool lists = GENERATE(true, false);
  scsi_rig r({scsi_unit{.kind = 5, .block = 2048}}, {.seg_max = 126, .cmd_per_lun = 1, .max_target = 1, .max_lun = 1},
             seat::vmd);
  u32 silent = 0;
  r.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    bool knows = asked.cdb[0] == 0xa0 && lists;
    for (const u8 one : known) knows = knows || asked.cdb[0] == one;
    if (asked.target != 0 || asked.lun != 0) {
      said = {};
      said.response = 3;
    } else if (!knows) {
      said = {};
      said.writes_response = false;
      ++silent;
    }
  };
  const auto all = r.scan();
  REQUIRE(all.size() == 1);
  CHECK(all[0].kind == scsi::kind::cd);
  REQUIRE(r.open());
  CHECK(r.unit.capacity() == 1024);
  CHECK(r.unit.block_size() == 2048);
  CHECK(r.unit.is_read_only());
  std::vector<u8> data(4096), second(2048);
  CHECK(r.unit.read(8, data));
  CHECK(data == r.expected(8, 4096));
  CHECK(r.unit.read(2, second).error() == errc::misaligned);
  REQUIRE(r.unit.submit_read(0, second, 1));
  CHECK(r.unit.submit_read(4, data, 2).error() == errc::queue_full);
  const auto done = r.unit.wait_next();
  REQUIRE(done);
  CHECK(done->status == errc::ok);
  CHECK(second == r.expected(0, 2048));
  CHECK(r.host->inquire({.target = 1}).error() == errc::not_found);
  CHECK(r.host->inquire({.lun = 1}).error() == errc::not_found);
  CHECK(silent >= 1);  // MODE SENSE
}

TEST_CASE("scsi: where no response is written, none of before is taken for it", "[scsi][hostile]") {
  scsi_rig r;
  REQUIRE(r.open());
  std::vector<u8> data(512);
  u8 unanswered = 0xff;
  r.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    said.writes_response = asked.cdb[0] != unanswered;
  };
  CHECK(r.unit.read(4, data));  // GOOD, in the slot that the next command has, too
  unanswered = 0x28;
  CHECK(r.unit.read(4, data).error() == errc::io_error);
  CHECK(std::string{scsi::describe(r.unit.last_failure())} == "the device wrote no response");
  r.model.units[0].attentions.push_back({6, 0x29, 0});
  unanswered = 0xff;
  CHECK(r.unit.read(4, data));
  unanswered = 0x35;
  CHECK(r.unit.flush().error() == errc::io_error);
  CHECK(r.unit.last_failure().response == scsi::response::unwritten);
  CHECK(r.unit.last_failure().sense == scsi::sense{});
  for (const u8 question : {u8{0x12}, u8{0x00}, u8{0x25}}) {
    unanswered = question;
    CHECK(r.unit.refresh().error() == errc::io_error);
    unanswered = 0xff;
    CHECK(r.unit.read(4, data));  // the facts of before hold
  }
}

TEST_CASE("scsi: a late command ends as the driver's type has it: by an abort, a reset of its unit, or one of the host",
          "[scsi]") {
  read_late<scsi::late_command::abort>(0);
  read_late<scsi::late_command::resets_unit>(5);
  read_late<scsi::late_command::resets_host>(std::nullopt);
}

TEST_CASE("scsi: the default for a late command is a reset of its unit, which no known host answers by a hang",
          "[scsi]") {
  static_assert(scsi::options{}.late == scsi::late_command::resets_unit);
  read_late<scsi::options{}.late>(5);
}

TEST_CASE("scsi: a command that has ended, and one that never was, cannot be waited for", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.m.memory.wait_limit[1] = 50;
  std::vector<u8> data(512);
  const auto sent = r.unit.submit_read(0, data, 1);
  REQUIRE(sent);
  CHECK(r.unit.wait(*sent));
  CHECK(r.unit.wait(*sent).error() == errc::stale_handle);
  CHECK(r.unit.wait(token{}).error() == errc::stale_handle);
  CHECK(r.unit.capacity() == 1024);
}
