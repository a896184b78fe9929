// SPDX-License-Identifier: MIT
// SCSI hosts and units that lie: every call ends, no byte outside of what a call was given is touched, and the next
// start works.
#include <catch2/generators/catch_generators.hpp>

#include <random>

#include "lies.hpp"
#include "scsi.hpp"

using namespace virtio;

TEST_CASE(
    "hostile scsi: capacities and block sizes that cannot be are refused, and those that can be bound every request",
    "[scsi][hostile]") {
  struct row {
    u64 last, block;
    errc error;
  };
  static constexpr row rows[] = {{~u64{0}, 512, errc::out_of_range},
                                 {~u64{0} - 1, 512, errc::ok},
                                 {~u64{0} >> 1, 1024, errc::out_of_range},
                                 {~u64{0} >> 3, 4096, errc::out_of_range},
                                 {(~u64{0} >> 3) - 1, 4096, errc::ok},
                                 {1023, 0, errc::unsupported},
                                 {1023, 1, errc::unsupported},
                                 {1023, 511, errc::unsupported},
                                 {1023, 520, errc::unsupported},
                                 {1023, 8192, errc::unsupported},
                                 {1023, 0xffff'ffff, errc::unsupported},
                                 {1023, 0x8000'0000, errc::unsupported},
                                 {0, 512, errc::ok},
                                 {0xffff'ffff, 512, errc::ok}};
  for (const row& one : rows) {
    CAPTURE(one.last, one.block);
    scsi_rig r({scsi_unit{.last_block = one.last, .block_said = one.block}});
    CHECK(r.open().error() == one.error);
    if (one.error != errc::ok) {
      CHECK(r.unit.capacity() == 0);
      continue;
    }
    CHECK(r.unit.capacity() / (one.block / 512) == one.last + 1);
    std::vector<u8> data(one.block);
    const u64 end = r.unit.capacity();
    CHECK(r.unit.read(end, data).error() == errc::out_of_range);
    CHECK(r.unit.read(end - one.block / 512, data).error() == (one.last > 1023 ? errc::out_of_range : errc::ok));
    CHECK(r.unit.discard(0, ~u64{0} - 7).error() != errc::ok);
  }
}

TEST_CASE("hostile scsi: lists of units that are too long, too short, or of no form", "[scsi][hostile]") {
  scsi_rig r;
  const u32 length = GENERATE(0u, 1u, 7u, 8u, 9u, 512u, 0x7fff'ffffu, 0xffff'fff8u, 0xffff'ffffu);
  const u8 fill = GENERATE(u8{0x00}, u8{0x40}, u8{0x7f}, u8{0xff});
  r.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.cdb[0] != 0xa0) return;
    said = {.data = std::vector<u8>(static_cast<usize>(asked.in), fill)};
    for (int i = 0; i < 4; ++i) said.data[static_cast<usize>(i)] = static_cast<u8>(length >> (24 - 8 * i));
  };
  u32 count = 0;
  const auto scanned = r.host->scan([&](const scsi::found&) { ++count; });
  REQUIRE(scanned);
  CHECK(count <= 4 * 64);
  CHECK(r.model.requests_seen.size() <= 4 * 65);
}

TEST_CASE("hostile scsi: a host that claims every target and unit is scanned within bounds", "[scsi][hostile]") {
  scsi_rig r({scsi_unit{}}, scsi_options{.max_target = 0xffff, .max_lun = 0xffff'ffff});
  const bool lists = GENERATE(false, true);
  r.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    said = {.data = std::vector<u8>(static_cast<usize>(asked.in))};
    if (asked.cdb[0] == 0xa0 && !lists) said = {.status = 2, .sense = sense_bytes{5, 0x20, 0}.fixed()};
    else if (asked.cdb[0] == 0xa0) said.data[0] = 0xff;
  };
  u32 count = 0;
  REQUIRE(r.host->scan([&](const scsi::found&) { ++count; }));
  CHECK(count <= 256 * 64);
  CHECK(r.model.requests_seen.size() <= 256 * 65);
}

TEST_CASE("hostile scsi: sense data of any length and form is one failure of the request", "[scsi][hostile]") {
  const u32 claimed = GENERATE(0u, 1u, 2u, 3u, 13u, 14u, 96u, 97u, 0xffff'ffffu);
  const u8 format = GENERATE(u8{0x00}, u8{0x70}, u8{0x71}, u8{0x72}, u8{0x73}, u8{0x7f}, u8{0xf0}, u8{0xff});
  scsi_rig r;
  REQUIRE(r.open());
  r.model.tamper = [&](const scsi_model::request&, scsi_model::reply& said) {
    said.status = 2;
    said.sense.assign(96, 0x03);
    said.sense[0] = format;
    said.sense_length = claimed;
  };
  std::vector<u8> data(512);
  CHECK_FALSE(r.unit.read(4, data));
  CHECK(r.unit.capacity() == 1024);
  r.model.tamper = nullptr;
  CHECK(r.unit.read(4, data));
}

TEST_CASE("hostile scsi: no response, and one of what the device writes at random", "[scsi][hostile]") {
  scsi_rig r;
  REQUIRE(r.open());
  std::mt19937 random{GENERATE(1u, 2u, 3u, 4u)};
  bool writes = true;
  r.model.tamper = [&](const scsi_model::request&, scsi_model::reply& said) {
    said.writes_response = writes;
    said.response = random() % 2 != 0 ? 0 : static_cast<u8>(random());
    said.status = static_cast<u8>(random() % 4 == 0 ? 0 : random());
    said.residual = random() % 2 != 0 ? 0 : static_cast<u32>(random());
    said.sense_length = static_cast<u32>(random());
    said.sense.assign(random() % 97, 0);
    for (u8& one : said.sense) one = static_cast<u8>(random());
    if (!said.sense.empty()) said.sense[0] = static_cast<u8>(0x70 | random() % 4);
    for (u8& one : said.data) one = static_cast<u8>(random());
    said.data.resize(random() % (said.data.size() + 1));
  };
  std::vector<u8> data(4096);
  r.m.memory.wait_limit[0] = 20;  // BUSY for ever
  for (int i = 0; i < 200; ++i) {
    writes = i % 16 != 0;
    (void)r.unit.read(static_cast<std::uint64_t>(i % 500), data);
    (void)r.unit.write(static_cast<std::uint64_t>(i % 500), data);
    (void)r.unit.flush();
    (void)r.unit.discard(1, 100);
    (void)r.unit.refresh();
    (void)r.host->inquire({});
    (void)scsi::describe(r.unit.last_failure());
  }
  CHECK(r.host->in_flight() == 0);
  r.model.tamper = nullptr;
  writes = true;
  REQUIRE(r.open());
  CHECK(r.unit.read(4, data));
  CHECK(data == r.expected(4, data.size()));
}

TEST_CASE("hostile scsi: a request without a response, as of an opcode that vmd does not know, has failed",
          "[scsi][hostile]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.model.tamper = [](const scsi_model::request&, scsi_model::reply& said) { said.writes_response = false; };
  std::vector<u8> data(512);
  CHECK(r.unit.read(4, data).error() == errc::io_error);
  CHECK(r.unit.last_failure().response == scsi::response::unwritten);
}

TEST_CASE("hostile scsi: used lengths of any kind change nothing", "[scsi][hostile]") {
  scsi_rig r;
  r.model.used_length = GENERATE(0u, 1u, 12u, 0xffff'ffffu);
  REQUIRE(r.open());
  std::vector<u8> data(512);
  CHECK(r.unit.read(4, data));
  CHECK(data == r.expected(4, 512));
  r.listen();
  r.model.send_event(1, 1, 1, 1);
  CHECK(r.host->next_event()->what == scsi::event::kind::rescan);
}

TEST_CASE("hostile scsi: events of any contents, in any number", "[scsi][hostile]") {
  scsi_rig r;
  r.listen();
  std::mt19937 random{GENERATE(1u, 2u, 3u)};
  for (int i = 0; i < 300; ++i) {
    std::vector<u8> raw(random() % 33);
    for (u8& one : raw) one = static_cast<u8>(random());
    if (raw.size() > 4 && random() % 2 != 0) raw[1] = raw[2] = raw[3] = 0;
    (void)r.model.step();
    r.model.send_raw(raw);
    const auto event = r.host->next_event();
    if (event) CHECK(event->where.lun <= 16383);
    else CHECK(event.error() == errc::not_ready);
  }
  (void)r.model.step();
  for (int i = 0; i < 64; ++i) r.model.send_raw(std::vector<u8>(16));
  CHECK(r.host->next_event().error() == errc::not_ready);  // and does not go on for ever
}

TEST_CASE("hostile scsi: rings that lie take the device down, and a start mends it", "[scsi][hostile]") {
  const usize which = GENERATE(0u, 1u, 2u);
  const int lie = GENERATE(0, 1, 2, 3);
  scsi_rig r;
  REQUIRE(r.open());
  r.listen();
  r.m.expect_objections = true;
  std::vector<u8> data(512);
  r.model.hold();
  REQUIRE(r.unit.submit_read(0, data, 5));
  r.unit.kick();
  (void)r.model.serve(2);
  r.m.memory.on_wait = [&](waiting why, u64) {
    if (why == waiting::request) rig::lie(r.model.ring(which), lie, 7);
  };
  if (which == 1) {
    rig::lie(r.model.ring(1), lie, 200);  // all that the ring has are with the device
    CHECK(r.host->next_event().error() == errc::device_misbehaved);
  } else if (which == 0) {
    CHECK(r.host->reset_unit({}).error() == errc::device_misbehaved);
  } else {
    CHECK(r.unit.read(1, data).error() == errc::device_misbehaved);
  }
  const auto back = r.unit.next_completion();
  REQUIRE(back);
  CHECK(back->cookie == 5);
  CHECK(back->status == errc::canceled);
  CHECK(r.unit.next_completion().error() == errc::not_started);
  CHECK(r.host->next_event().error() == errc::not_started);
  CHECK(r.host->reset_unit({}).error() == errc::not_started);
  CHECK(r.m.memory.live() == 0);
  r.model.release();
  r.m.memory.on_wait = [&](waiting, u64) { (void)r.model.step(); };
  REQUIRE(r.host.start(r.m, r.m.where(4)));
  REQUIRE(r.open());
  CHECK(r.unit.read(0, data));
}

TEST_CASE("hostile scsi: configuration fields of any value", "[scsi][hostile]") {
  const u32 value = GENERATE(0u, 1u, 2u, 0x7fff'ffffu, 0xffff'ffffu);
  const usize field = GENERATE(0u, 1u, 2u, 3u, 4u, 7u, 8u);
  rig::machine m;
  m.expect_objections = true;  // of a device that contradicts itself
  auto& model = m.add<scsi_model>(seat::modern, 4);
  model.put_config(4 * field, value, 4);
  rig::scsi_host<> host;
  REQUIRE(host.start(m, m.where(4)));
  scsi::unit<rig::scsi_device> unit{};
  std::vector<u8> data(8192);
  const auto up = unit.open(*host, {});
  REQUIRE(up);
  CHECK(unit.read(3, data));
}

TEST_CASE("hostile scsi: a device that will not reset keeps storage and buffers, which every call says",
          "[scsi][hostile]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.m.expect_objections = true;
  std::vector<u8> data(512);
  r.model.hold();
  r.model.reset_reads = device_model::forever;
  CHECK(r.unit.read(4, data).error() == errc::device_broken);
  CHECK(r.unit.read(4, data).error() == errc::not_started);
  CHECK(r.host->next_event().error() == errc::not_started);
  CHECK(r.host.start(r.m, r.m.where(4)).error() == errc::device_broken);
  CHECK(r.host->reset().error() == errc::device_broken);
  r.model.reset_reads = 0;
  CHECK(r.host->reset());
  CHECK(r.m.memory.live() == 0);
}
