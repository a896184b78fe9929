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
