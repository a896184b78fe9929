// SPDX-License-Identifier: MIT
// SCSI units and hosts where something goes wrong: units that are not open, scans that cannot end, commands that are aborted at any
// moment, media that change, and units that answer in unusual forms.
#include <catch2/generators/catch_generators.hpp>

#include <cstring>

#include "scsi.hpp"

using namespace virtio;

TEST_CASE("scsi: a unit that was never opened has no requests and says not_started", "[scsi]") {
  scsi::unit<rig::scsi_device> unit{};
  CHECK(unit.in_flight() == 0);
  CHECK(unit.most_pieces() == 0);
  CHECK(unit.capacity() == 0);
  unit.kick();
  CHECK(unit.next_completion().error() == errc::not_started);
  CHECK(unit.wait_next().error() == errc::not_started);
  CHECK(unit.wait(token{}).error() == errc::not_started);
  CHECK(unit.poll([](const scsi::done&) {}) == 0);
  CHECK(unit.drain([](const scsi::done&) {}).error() == errc::not_started);
  CHECK(unit.check().error() == errc::not_started);
  CHECK(unit.refresh().error() == errc::not_started);
  CHECK(unit.flush().error() == errc::not_started);
  CHECK(unit.last_failure().response == scsi::response::ok);
}

TEST_CASE("scsi: a failed open closes the unit and leaves it the engine of its host", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  std::vector<u8> data(512);
  REQUIRE(r.unit.submit_read(3, data, 7));
  CHECK(r.open({.lun = 5}).error() == errc::not_found);
  CHECK(r.unit.capacity() == 0);
  CHECK(r.unit.read(0, data).error() == errc::not_started);
  CHECK(r.unit.in_flight() == 0);  // the open of before has ended it, and has kept its end
  const auto ended = r.unit.wait_next();
  REQUIRE(ended);
  CHECK(ended->cookie == 7);
  CHECK(ended->status == errc::ok);
  CHECK(data == r.expected(3, 512));
}

TEST_CASE("scsi: a scan that cannot ask says so, and does not return less units than there are", "[scsi]") {
  scsi_rig r({scsi_unit{}, scsi_unit{.target = 2}}, scsi_options{.cmd_per_lun = 1});
  REQUIRE(r.open());
  std::vector<u8> data(512);
  u32 count = 0;
  const auto take = [&](const scsi::found&) { ++count; };
  SECTION("the program's own command is all that may be out") {
    REQUIRE(r.unit.submit_read(0, data, 1));
    CHECK(r.host->scan(take).error() == errc::queue_full);
    CHECK(r.host->scan_target(2, take).error() == errc::queue_full);
    CHECK(r.unit.drain([](const scsi::done&) {}));
    REQUIRE(r.host->scan(take));
    CHECK(count == 2);
  }
  SECTION("a target gives no answer") {
    r.model.hold();
    r.m.memory.wait_limit[1] = 50;
    r.m.memory.on_wait = [&](waiting, u64) {
      (void)r.model.serve(2);
      r.model.release();
      (void)r.model.serve(0);
      r.model.hold();
    };
    CHECK(r.host->scan(take).error() == errc::timed_out);
    CHECK(r.model.managed.size() == 1);
    CHECK(r.host->inquire({}).error() == errc::timed_out);
    CHECK(r.unit.capacity() == 1024);  // up
  }
  CHECK(r.host->in_flight() == 0);
}

TEST_CASE("scsi: a scan inside of a scan changes nothing of the outer one", "[scsi]") {
  // Target 0 has a list with a gap: a unit that it names is gone. Target 1 has none, and is tried one by one.
  scsi_rig r({scsi_unit{.lun = 0}, scsi_unit{.lun = 1}, scsi_unit{.lun = 2}, scsi_unit{.target = 1, .lists_units = false}});
  r.model.tamper = [](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.cdb[0] == 0x12 && asked.target == 0 && asked.lun == 1) said.data[0] = 0x7f;
  };
  u32 outer = 0, inner = 0;
  const auto count = r.host->scan_target(0, [&](const scsi::found&) {
    ++outer;
    CHECK(r.host->scan_target(1, [&](const scsi::found&) { ++inner; }));
  });
  REQUIRE(count);
  CHECK(outer == 2);
  CHECK(inner == 2);
}

TEST_CASE("scsi: an event queue has room for one descriptor at least, a control queue for two", "[scsi]") {
  rig::machine m;
  const u16 control = GENERATE(u16{1}, u16{2});
  auto& model = m.add<scsi_model>(seat::modern, 4, scsi_options{.control_size = control, .event_size = 1});
  rig::scsi_host<split_queue<16>> host;
  const auto up = host.start(m, m.where(4));
  if (control == 1) {
    CHECK(up.error() == errc::unsupported);
    CHECK(host->why().why == verdict::queue_too_small);
    CHECK(host->why().queue == 0);
    return;
  }
  REQUIRE(up);
  CHECK(host->reset_unit({}));
  for (u32 i = 0; i < 3; ++i) {
    model.send_event(1, 2, static_cast<u16>(i), 1);
    const auto event = host->next_event();
    REQUIRE(event);
    CHECK(event->where.lun == i);
  }
}
