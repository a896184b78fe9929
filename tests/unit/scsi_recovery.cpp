// SPDX-License-Identifier: MIT
// SCSI units and hosts where something goes wrong: units that are not open, scans that cannot end, commands that are
// aborted at any moment, media that change, and units that answer in unusual forms.
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
  CHECK(r.unit.in_flight() == 1);
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
  scsi_rig r(
      {scsi_unit{.lun = 0}, scsi_unit{.lun = 1}, scsi_unit{.lun = 2}, scsi_unit{.target = 1, .lists_units = false}});
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
  CHECK(host->next_event().error() == errc::not_ready);
  for (u32 i = 0; i < 3; ++i) {
    model.send_event(1, 2, static_cast<u16>(i), 1);
    const auto event = host->next_event();
    REQUIRE(event);
    CHECK(event->where.lun == i);
  }
}

TEST_CASE("scsi: a command that is staged is shown to the device ahead of its abort, and not done afterwards",
          "[scsi]") {
  const bool resets_unit = GENERATE(false, true);
  scsi_rig r;
  REQUIRE(r.open());
  const auto before = r.expected(3, 512);
  r.model.hold();
  r.m.memory.on_wait = [&](waiting, u64) {
    (void)r.model.serve(2);
    r.model.release();
    (void)r.model.serve(0);
    r.model.hold();
  };
  const std::vector<u8> data(512, 0xee);
  const auto sent = r.unit.submit_write(3, data, 1);
  REQUIRE(sent);
  const result<void> stopped = resets_unit ? r.host->reset_unit({}) : r.host->abort(*sent);
  REQUIRE(stopped);
  r.unit.kick();
  r.model.release();
  (void)r.model.step();
  const auto ended = r.unit.next_completion();
  REQUIRE(ended);
  CHECK(ended->status == errc::canceled);
  CHECK(r.expected(3, 512) == before);
}

TEST_CASE("scsi: the abort of a command that has ended, and is rejected therefore, resets no unit", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.model.hold();
  std::vector<u8> first(512), second(512);
  const auto sent = r.unit.submit_read(0, first, 1);
  REQUIRE(sent);
  REQUIRE(r.unit.submit_read(1, second, 2));
  r.unit.kick();
  (void)r.model.serve(2);
  r.model.management_response = 11;  // no such task
  SECTION("a program aborts it") {
    r.model.complete(0);  // and the program has not looked
    r.m.memory.on_wait = [&](waiting, u64) {
      r.model.release();
      (void)r.model.serve(0);
      r.model.hold();
    };
    CHECK(r.host->abort(*sent));
    CHECK(r.host->abort(*sent));
    REQUIRE(r.unit.wait(*sent));
  }
  SECTION("a call waits for it, and it ends after the last look") {
    r.m.memory.wait_limit[1] = 50;
    r.m.memory.on_wait = [&](waiting, u64) {
      if (r.model.ring_in_use(0).pending() == 0) return;
      r.model.complete(0);
      r.model.release();
      (void)r.model.serve(0);
      r.model.hold();
    };
    REQUIRE(r.unit.wait(*sent));
  }
  CHECK(first == r.expected(0, 512));
  for (const auto& one : r.model.managed) CHECK(one.subtype == 0);
  r.model.release();
  r.model.complete_all();
  const auto other = r.unit.next_completion();
  REQUIRE(other);
  CHECK(other->cookie == 2);
  CHECK(other->status == errc::ok);
}

TEST_CASE("scsi: a host behind an IOMMU that answers neither commands nor their aborts is dma_unanswered [FEAT-11]",
          "[scsi]") {
  const bool behind_iommu = GENERATE(false, true);
  rig::machine m;
  auto& model = m.add<scsi_model>(seat::modern, 4);
  if (behind_iommu) model.offer({33});
  rig::scsi_host<> host;
  REQUIRE(host.start(m, m.where(4)));
  scsi::unit<rig::scsi_device> unit{};
  REQUIRE(unit.open(*host, {}));
  m.running = false;
  m.memory.wait_limit[1] = 50;
  u8 data[512];
  CHECK(unit.read(0, data).error() == (behind_iommu ? errc::dma_unanswered : errc::timed_out));
  CHECK(unit.read(0, data).error() == errc::not_started);
}

TEST_CASE("scsi: the engine keeps to max_sectors and to the unit's own limit", "[scsi]") {
  const bool by_host = GENERATE(false, true);
  scsi_unit disk{};
  if (!by_host) disk.most_blocks = 8;
  scsi_rig r({disk}, scsi_options{.max_sectors = by_host ? 8u : 0xffffu});
  REQUIRE(r.open());
  CHECK(r.unit.largest_request() == 8 * 512);
  std::vector<u8> data(9 * 512);
  const usize before = r.model.requests_seen.size();
  const bytes parts[] = {{data.data(), 512}, {data.data() + 512, 8 * 512}};
  const const_bytes from[] = {{data.data(), 512}, {data.data() + 512, 8 * 512}};
  CHECK(r.unit.submit_read(0, data).error() == errc::out_of_range);
  CHECK(r.unit.submit_write(0, data).error() == errc::out_of_range);
  CHECK(r.unit.submit_read(0, scatter<bytes>{parts}).error() == errc::out_of_range);
  CHECK(r.unit.submit_write(0, scatter<const_bytes>{from}).error() == errc::out_of_range);
  CHECK(r.model.requests_seen.size() == before);
  REQUIRE(r.unit.submit_read(0, bytes{data.data(), 8 * 512}));
  CHECK(r.unit.wait_next()->status == errc::ok);
  REQUIRE(r.unit.read(0, data));
  CHECK(data == r.expected(0, data.size()));
}

TEST_CASE("scsi: the caching page is behind block descriptors where a unit sends some", "[scsi]") {
  const u8 descriptors = GENERATE(u8{0}, u8{8}, u8{16}, u8{57}, u8{58}, u8{255});
  const bool caches = GENERATE(false, true);
  scsi_rig r;
  r.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.cdb[0] != 0x1a) return;
    said.data.assign(300, 0x08);  // looks like a caching page without a cache, wherever it is read
    said.data[0] = 255;
    said.data[2] = 0x10;
    said.data[3] = descriptors;
    const usize page = 4u + descriptors;
    said.data[page] = 0x88;
    said.data[page + 1] = 18;
    said.data[page + 2] = caches ? 0x04 : 0x00;
    said.data.resize(64);
  };
  REQUIRE(r.open());
  const bool is_known = descriptors <= 57;
  CHECK(r.unit.has_write_cache() == (caches || !is_known));
  REQUIRE(r.unit.flush());
  CHECK(r.model.count(0x35) == (caches || !is_known ? 1 : 0));
}

TEST_CASE("scsi: a unit that knows neither MODE SENSE nor SYNCHRONIZE CACHE has no cache to flush", "[scsi]") {
  scsi_rig r;
  const bool says_caching = GENERATE(false, true);
  u8 asc = 0x20;
  r.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.cdb[0] != 0x35 && (asked.cdb[0] != 0x1a || says_caching)) return;
    said = {.status = 2, .sense = sense_bytes{5, asc, 0}.fixed()};
  };
  REQUIRE(r.open());
  CHECK(r.unit.has_write_cache());
  SECTION("the command is unknown") {
    CHECK(r.unit.flush().error() == (says_caching ? errc::unsupported : errc::ok));
    CHECK(r.unit.has_write_cache() == says_caching);
    CHECK(r.unit.flush().error() == (says_caching ? errc::unsupported : errc::ok));
    CHECK(r.model.count(0x35) == (says_caching ? 2 : 1));
  }
  SECTION("its arguments are") {
    asc = 0x24;
    CHECK(r.unit.flush().error() == errc::unsupported);
    CHECK(r.unit.has_write_cache());
  }
}

TEST_CASE("scsi: a count of missing bytes fails no command that has none", "[scsi]") {
  scsi_rig r;
  r.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.in == 0 && asked.out == 0) said.residual = 512;
  };
  REQUIRE(r.open());
  REQUIRE(r.unit.flush());
  CHECK(r.model.count(0x35) == 1);
  REQUIRE(r.unit.submit_flush());
  CHECK(r.unit.wait_next()->status == errc::ok);
}

TEST_CASE("scsi: numbers that no unit has are refused ahead of the device", "[scsi]") {
  scsi_rig r;
  const u16 lun = GENERATE(u16{16384}, u16{0x8001}, u16{0xffff});
  CHECK(r.host->inquire({.lun = lun}).error() == errc::invalid_argument);
  CHECK(r.open({.lun = lun}).error() == errc::invalid_argument);
  CHECK(r.host->reset_unit({.lun = lun}).error() == errc::invalid_argument);
  CHECK(r.model.requests_seen.empty());
  CHECK(r.model.managed.empty());
  CHECK(r.host->inquire({.lun = 16383}).error() == errc::not_found);
}

TEST_CASE("scsi: DATA PROTECT is read_only where writes are what it is about", "[scsi]") {
  struct row {
    u8 asc, ascq;
    errc error;
    const char* name;
  };
  static constexpr row rows[] = {
      {0x27, 0x00, errc::read_only, "DATA PROTECT: the unit is write-protected"},
      {0x27, 0x02, errc::read_only, "DATA PROTECT: the unit is write-protected"},
      {0x5a, 0x02, errc::read_only, "DATA PROTECT: the unit is write-protected"},
      {0x00, 0x00, errc::read_only, "DATA PROTECT: the unit is write-protected"},
      {0x27, 0x07, errc::io_error, "DATA PROTECT: no space is left for the blocks of a thin disk"},
      {0x20, 0x02, errc::io_error, "DATA PROTECT: access is denied"},
      {0x74, 0x71, errc::io_error, "DATA PROTECT: access is denied"}};
  scsi_rig r;
  REQUIRE(r.open());
  for (const row& one : rows) {
    CAPTURE(int{one.asc}, int{one.ascq});
    r.model.tamper = [&](const scsi_model::request&, scsi_model::reply& said) {
      said = {.status = 2, .sense = sense_bytes{7, one.asc, one.ascq}.fixed()};
    };
    const std::vector<u8> data(512);
    CHECK(r.unit.write(4, data).error() == one.error);
    CHECK(std::string{scsi::describe(r.unit.last_failure())} == one.name);
    CHECK_FALSE(r.unit.is_read_only());
  }
}

TEST_CASE("scsi: after a change of medium or capacity nothing reaches the unit until it is looked at again", "[scsi]") {
  scsi_rig r({scsi_unit{}, scsi_unit{.lun = 1}});
  REQUIRE(r.open());
  scsi::unit<rig::scsi_device> other{};
  REQUIRE(other.open(*r.host, {.lun = 1}));
  const sense_bytes change = GENERATE(sense_bytes{6, 0x28, 0}, sense_bytes{6, 0x2a, 0x09});
  const int first = GENERATE(0, 1, 2, 3, 4);
  r.model.units[0].data.assign(2048 * 512, 0x11);  // another medium
  const auto medium = r.model.units[0].data;
  r.model.units[0].attentions = {change};
  std::vector<u8> data(512, 0xab);
  const auto ends = [&](const result<token>& sent) {
    REQUIRE(sent);
    return other.wait_next()->status;  // another unit's call takes the end
  };
  if (first == 0) CHECK(r.unit.write(5, data).error() == errc::not_ready);
  if (first == 1) CHECK(r.unit.read(5, data).error() == errc::not_ready);
  if (first == 2) CHECK(r.unit.flush().error() == errc::not_ready);
  if (first == 3) CHECK(r.unit.discard(5, 1).error() == errc::not_ready);
  if (first == 4) CHECK(ends(r.unit.submit_write(5, const_bytes{data.data(), 512})) == errc::not_ready);
  CHECK(r.model.units[0].attentions.empty());
  const usize before = r.model.requests_seen.size();
  CHECK(r.unit.write(5, data).error() == errc::not_ready);
  CHECK(r.unit.read(5, data).error() == errc::not_ready);
  CHECK(r.unit.flush().error() == errc::not_ready);
  CHECK(r.unit.discard(5, 1).error() == errc::not_ready);
  CHECK(r.unit.submit_write(5, const_bytes{data.data(), 512}).error() == errc::not_ready);
  CHECK(r.unit.submit_read(5, data).error() == errc::not_ready);
  CHECK(r.unit.submit_flush().error() == errc::not_ready);
  CHECK(r.unit.submit_discard(extent{.sector = 5, .count = 1}).error() == errc::not_ready);
  CHECK(r.model.requests_seen.size() == before);
  CHECK(r.model.units[0].data == medium);
  CHECK(other.read(5, data));
  CHECK(data == r.expected(5, 512, 1));
  REQUIRE(r.unit.refresh());
  CHECK(r.unit.capacity() == 2048);
  REQUIRE(r.unit.write(5, data));
  CHECK(r.expected(5, 512) == data);
}

TEST_CASE("scsi: changes of other units, however many, are no change of this one while it is in use", "[scsi]") {
  scsi_rig r({scsi_unit{}, scsi_unit{.lun = 1}});
  REQUIRE(r.open());
  scsi::unit<rig::scsi_device> other{};
  REQUIRE(other.open(*r.host, {.lun = 1}));
  std::vector<u8> data(512);
  for (int i = 0; i < 20; ++i) {
    r.model.units[1].attentions = {{6, 0x28, 0}};
    CHECK(other.read(1, data).error() == errc::not_ready);
    CHECK(r.unit.read(1, data));
    REQUIRE(other.refresh());
    REQUIRE(other.read(1, data));
  }
}

TEST_CASE("scsi: a unit that becomes ready is waited for as long as the board waits, by few commands", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  const bool is_busy = GENERATE(false, true);
  r.m.memory.wait_limit[0] = 60'000;
  const u64 start = r.m.memory.waits[0];
  u64 ready_at = 50'000;
  r.model.tamper = [&](const scsi_model::request&, scsi_model::reply& said) {
    if (r.m.memory.waits[0] - start >= ready_at) return;
    if (is_busy) said = {.status = 8};
    else said = {.status = 2, .sense = sense_bytes{2, 0x04, 0x01}.fixed()};
  };
  std::vector<u8> data(512);
  const usize before = r.model.requests_seen.size();
  REQUIRE(r.unit.read(4, data));
  CHECK(data == r.expected(4, 512));
  CHECK(r.model.requests_seen.size() - before < 100);
  ready_at = ~u64{0};
  CHECK(r.unit.read(4, data).error() == errc::not_ready);
  CHECK(r.m.memory.waits[0] - start <= 50'000 + 1024 + 60'001);
}

TEST_CASE("scsi: task management works before the first command, and so does a command [SCSI-09]", "[scsi]") {
  scsi_rig r;
  SECTION("task management") {
    CHECK(r.host->reset_unit({}));
    CHECK(r.model.managed.size() == 1);
    CHECK(r.model.requests_seen.empty());
  }
  SECTION("a command") {
    CHECK(r.host->inquire({}));
    CHECK(r.model.managed.empty());
    CHECK(r.model.requests_seen.size() == 1);
  }
}

TEST_CASE("scsi: after lost events a refresh requests by commands what has changed [SCSI-18]", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.listen();
  r.model.units[0].data.resize(2048 * 512);
  r.model.units[0].attentions = {{6, 0x2a, 0x09}};
  for (int i = 0; i < 20; ++i) r.model.send_event(1, 1, 0, 1);  // the last ones are lost
  CHECK(r.model.events_dropped == 4);
  for (int i = 0; i < 16; ++i) CHECK(r.host->next_event());
  (void)r.model.step();
  r.model.send_event(0, 0, 0, 0);
  REQUIRE(r.host->next_event()->what == scsi::event::kind::missed);
  REQUIRE(r.unit.refresh());
  CHECK(r.unit.capacity() == 2048);
  CHECK(r.host->last_attention().has(scsi::sense_key::unit_attention, 0x2a));
}
