// SPDX-License-Identifier: MIT
// The SCSI driver on every kind of PCI device: units are found, and have a disk's calls; commands that fail have names;
// what takes too long is aborted; units come and go.
#include <catch2/generators/catch_generators.hpp>

#include <cstring>
#include <numeric>

#include "disk.hpp"
#include "scsi.hpp"

using namespace virtio;

static_assert(block_storage<scsi::unit<rig::scsi_device>>);
static_assert(block_storage<blk::device<rig::platform_type, rig::any_pci, rig::big_queue>>);

namespace {

/// What a program writes for either.
template <block_storage Disk>
std::vector<u8> copied(Disk& disk, u64 from, u64 to, usize size) {
  std::vector<u8> data(size);
  REQUIRE(disk.read(from, data));
  REQUIRE(disk.write(to, data));
  REQUIRE(disk.flush());
  std::vector<u8> back(size);
  const auto sent = disk.submit_read(to, back, 7);
  REQUIRE(sent);
  disk.kick();
  const auto done = disk.wait_next();
  REQUIRE(done);
  CHECK(done->cookie == 7);
  CHECK(done->status == errc::ok);
  CHECK(data == back);
  return data;
}

}  // namespace

TEST_CASE(
    "scsi: a unit has a disk's calls on every kind of device: reads, writes, flushes [SCSI-03][SCSI-04][SCSI-07][SCSI-10][SCSI-11][SCSIL-06][SCSIL-07]",
    "[scsi]") {
  const seat where = GENERATE(seat::modern, seat::transitional, seat::legacy, seat::vmd);
  CAPTURE(rig::name(where));
  scsi_rig r({scsi_unit{}}, {}, where);
  REQUIRE(r.open());
  CHECK(r.unit.capacity() == 1024);
  CHECK(r.unit.block_size() == 512);
  CHECK_FALSE(r.unit.is_read_only());
  CHECK(r.unit.has_write_cache());
  const auto before = r.expected(3, 8192);
  CHECK(copied(r.unit, 3, 1000, 8192) == before);
  CHECK(r.expected(1000, 8192) == before);
  CHECK(r.model.units[0].stable == r.model.units[0].data);
  CHECK_FALSE(r.model.accepted(0));  // nothing goes both ways in one command
  CHECK_FALSE(r.model.accepted(3));
  CHECK(r.host->hand_off());
}

TEST_CASE("scsi: the same program drives a block device and a unit", "[scsi][blk]") {
  scsi_rig r;
  REQUIRE(r.open());
  auto& model = r.m.add<blk_model>(seat::modern, 5);
  fill_pattern(model);
  rig::disk<big_queue> disk;
  REQUIRE(disk.start(r.m, r.m.where(5)));
  CHECK(copied(*disk, 5, 900, 4096) == copied(r.unit, 5, 900, 4096));
}

TEST_CASE("scsi: blocks of 512 to 4,096 bytes, counted in sectors of 512", "[scsi]") {
  const u32 block = GENERATE(512u, 1024u, 2048u, 4096u);
  scsi_unit disk{.block = block, .most_blocks = GENERATE(0u, 3u)};
  scsi_rig r({disk});
  REQUIRE(r.open());
  CHECK(r.unit.block_size() == block);
  CHECK(r.unit.capacity() == 1024);
  std::vector<u8> all(1024 * 512);
  REQUIRE(r.unit.read(0, all));
  CHECK(all == r.expected(0, all.size()));
  CHECK(r.unit.read(block / 512, bytes{all.data(), block}));
  CHECK(std::equal(all.begin(), all.begin() + block, r.model.units[0].data.begin() + block));
  const usize before = r.model.requests_seen.size();
  if (block > 512) CHECK(r.unit.read(1, bytes{all.data(), block}).error() == errc::misaligned);
  if (block > 512) CHECK(r.unit.submit_read(0, bytes{all.data(), 512}).error() == errc::misaligned);
  CHECK(r.unit.read(0, bytes{all.data(), 511}).error() == errc::misaligned);
  CHECK(r.unit.read(1024, bytes{all.data(), block}).error() == errc::out_of_range);
  CHECK(r.unit.read(~u64{0} << 12, bytes{all.data(), block}).error() == errc::out_of_range);
  CHECK(r.unit.submit_read(0, bytes{}).error() == errc::invalid_argument);
  CHECK(r.unit.read(0, bytes{}));
  CHECK(r.model.requests_seen.size() == before);
}

TEST_CASE("scsi: a CD drive only reads, and is asked by commands of ten bytes", "[scsi]") {
  scsi_rig r({scsi_unit{.kind = 5, .block = 2048}});
  REQUIRE(r.open());
  CHECK(r.unit.is_read_only());
  CHECK_FALSE(r.unit.has_write_cache());
  std::vector<u8> data(4096);
  REQUIRE(r.unit.read(8, data));
  CHECK(data == r.expected(8, data.size()));
  CHECK(r.unit.write(8, data).error() == errc::read_only);
  CHECK(r.unit.submit_write(8, data).error() == errc::read_only);
  CHECK(r.unit.discard(8, 4).error() == errc::read_only);
  CHECK(r.unit.flush());
  CHECK(r.model.count(0x88) == 0);
}

TEST_CASE("scsi: beyond 2^32 blocks the commands have sixteen bytes", "[scsi]") {
  scsi_rig r({scsi_unit{.last_block = u64{1} << 40}});
  u64 block = 0;
  r.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.cdb[0] != 0x88) return;
    for (int i = 2; i < 10; ++i) block = block << 8 | asked.cdb[static_cast<usize>(i)];
    said = {.data = std::vector<u8>(512, 0x33)};
  };
  REQUIRE(r.open());
  CHECK(r.unit.capacity() == (u64{1} << 40) + 1);
  std::vector<u8> data(512);
  REQUIRE(r.unit.read(u64{1} << 40, data));
  CHECK(block == u64{1} << 40);
  CHECK(data == std::vector<u8>(512, 0x33));
}

TEST_CASE("scsi: units are found by lists, in both forms of their numbers, and one by one where there is no list",
          "[scsi]") {
  SECTION("lists") {
    scsi_rig r({scsi_unit{.target = 0, .lun = 0}, scsi_unit{.target = 2, .lun = 0, .kind = 5, .block = 2048},
                scsi_unit{.target = 2, .lun = 300}, scsi_unit{.target = 3, .lun = 7}});
    const auto all = r.scan();
    REQUIRE(all.size() == 4);
    CHECK(all[0].where == scsi::address{.lun = 0, .target = 0});
    CHECK(all[1].kind == scsi::kind::cd);
    CHECK(all[2].where == scsi::address{.lun = 300, .target = 2});
    CHECK(all[3].where == scsi::address{.lun = 7, .target = 3});
    CHECK(std::string(all[0].vendor, 8) == "VIRTIO  ");
    CHECK(std::string(all[0].product, 16) == "TESTING UNIT    ");
    REQUIRE(r.open(all[2].where));
    std::vector<u8> data(512);
    CHECK(r.unit.read(9, data));
  }
  SECTION("one by one, up to the first that is none") {
    scsi_rig r({scsi_unit{.lun = 0, .lists_units = false}, scsi_unit{.lun = 1}, scsi_unit{.lun = 3}});
    CHECK(r.scan().size() == 2);
  }
  SECTION("no more than the device has") {
    scsi_rig r({scsi_unit{.lun = 0, .lists_units = false}, scsi_unit{.lun = 1}},
               scsi_options{.max_target = 0, .max_lun = 0});
    CHECK(r.scan().size() == 1);
    CHECK(r.model.requests_seen.size() == 2);
  }
}

TEST_CASE("scsi: a unit's serial is that of its page, or else the first text of its identification", "[scsi]") {
  using raw = std::vector<u8>;
  const auto text = [](std::string_view s) { return raw(s.begin(), s.end()); };
  const auto name = [&](u8 set, u8 kind, std::string_view s) {
    raw out{set, kind, 0, static_cast<u8>(s.size())};
    out.insert(out.end(), s.begin(), s.end());
    return out;
  };
  const auto joined = [](raw a, const raw& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  const raw binary = name(1, 3, "\x60\x01\x02\x03"), of_port = name(2, 0x10, "port"), iscsi = name(2, 8, "iqn.x");
  struct row {
    std::map<u8, raw> pages;
    std::string_view expected;  // empty: there is none
  };
  const row rows[] = {
      {{{0x80, text("abc-1")}}, "abc-1"},
      {{{0x80, text("  two words ")}, {0x83, name(2, 0, "other")}}, "two words"},
      {{{0x80, text("    ")}, {0x83, name(2, 0, "other")}}, "other"},
      {{{0x80, raw{'a', 7, 'b'}}, {0x83, name(2, 0, "other")}}, "other"},
      {{{0x83, joined(joined(binary, of_port), joined(iscsi, name(2, 1, "QEMU    x")))}}, "QEMU    x"},
      {{{0x83, joined(binary, of_port)}}, ""},
      {{{0x83, raw{2, 0, 0, 200, 'a', 'b'}}}, ""},  // longer than its page
      {{{0x83, raw{2, 0, 0}}}, ""},
      {{{0x80, raw(200, 'x')}},
       std::string_view{
           "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}},
      {{}, ""},
  };
  for (const row& one : rows) {
    CAPTURE(one.expected);
    scsi_rig r({scsi_unit{.pages = one.pages}});
    u8 into[100]{};
    const auto length = r.host->get_serial({}, into);
    if (one.expected.empty()) {
      CHECK(length.error() == errc::unsupported);
      continue;
    }
    REQUIRE(length);
    CHECK(std::string(into, into + *length) == one.expected);
    u8 few[3]{};
    CHECK(*r.host->get_serial({}, bytes{few, 2}) == *length);
    CHECK(std::string(few, few + 2) == one.expected.substr(0, 2));
    CHECK(few[2] == 0);
  }
  scsi_rig r;
  u8 into[8];
  CHECK(r.host->get_serial({.target = 3}, into).error() == errc::not_found);
  CHECK(r.host->get_serial({.lun = 5}, into).error() ==
        errc::unsupported);  // a target answers for units that it has not, but not this
  CHECK(r.host->get_serial({.lun = 0x4000}, into).error() == errc::invalid_argument);
}

TEST_CASE("scsi: standard data in place of a page, and a page that says to be longer than what came, are no serial",
          "[scsi][hostile]") {
  scsi_rig r({scsi_unit{.kind = 5, .block = 2048}}, scsi_options{.ignores_pages = true});
  u8 into[100];
  CHECK(r.host->get_serial({}, into).error() == errc::unsupported);
  scsi_rig short_one;
  short_one.model.tamper = [&](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.cdb[0] == 0x12) said = {.data = {0, asked.cdb[2], 0xff, 0xff, 'a'}};
  };
  const auto length = short_one.host->get_serial({}, into);
  REQUIRE(length);
  CHECK(*length == 1);
}

TEST_CASE("scsi: what is no disk is no unit to open", "[scsi]") {
  scsi_rig r({scsi_unit{.kind = 1}});
  CHECK(r.open().error() == errc::wrong_device);
  CHECK(r.open({.lun = 5}).error() == errc::not_found);
  CHECK(r.open({.target = 3}).error() == errc::not_found);
  CHECK(r.unit.read(0, bytes{}).error() == errc::not_started);
  u8 data[512];
  CHECK(r.unit.read(0, data).error() == errc::not_started);
  CHECK(r.unit.submit_read(0, data).error() == errc::not_started);
  CHECK(r.unit.discard(0, 1).error() == errc::not_started);
  CHECK(r.unit.capacity() == 0);
}

TEST_CASE("scsi: sense data in both formats has a name, and is an error", "[scsi]") {
  struct row {
    u8 key, asc;
    errc error;
    const char* name;
  };
  static constexpr row rows[] = {{1, 0x17, errc::ok, "RECOVERED ERROR"},
                                 {2, 0x3a, errc::not_ready, "NOT READY: no medium"},
                                 {3, 0x11, errc::io_error, "MEDIUM ERROR"},
                                 {4, 0x44, errc::io_error, "HARDWARE ERROR"},
                                 {5, 0x20, errc::unsupported, "ILLEGAL REQUEST: the unit does not know the command"},
                                 {5, 0x21, errc::out_of_range, "ILLEGAL REQUEST: the block is out of range"},
                                 {5, 0x25, errc::not_found, "ILLEGAL REQUEST: there is no such unit"},
                                 {7, 0x27, errc::read_only, "DATA PROTECT: the unit is write-protected"},
                                 {11, 0x00, errc::io_error, "ABORTED COMMAND"},
                                 {0, 0x00, errc::io_error, "CHECK CONDITION without sense data"}};
  scsi_rig r;
  REQUIRE(r.open());
  r.model.descriptor_sense = GENERATE(false, true);
  for (const row& one : rows) {
    CAPTURE(one.name);
    r.model.tamper = [&](const scsi_model::request&, scsi_model::reply& said) {
      const sense_bytes what{one.key, one.asc, 0};
      said.status = 2;
      said.sense = r.model.descriptor_sense ? what.descriptor() : what.fixed();
    };
    std::vector<u8> data(512);
    CHECK(r.unit.read(0, data).error() == one.error);
    CHECK(std::string{scsi::describe(r.unit.last_failure())} == one.name);
    REQUIRE(r.unit.submit_read(0, data, 3));
    const auto done = r.unit.wait_next();
    REQUIRE(done);
    CHECK(done->status == one.error);
    CHECK(std::string{scsi::describe(done->how)} == one.name);
  }
}

TEST_CASE(
    "scsi: the transport's responses and SAM's statuses have names; a target's failure is not tried again [SCSI-12]",
    "[scsi]") {
  struct row {
    u8 response, status;
    errc error;
    const char* begins;
  };
  static constexpr row rows[] = {{1, 0, errc::io_error, "OVERRUN"},
                                 {2, 0, errc::canceled, "ABORTED"},
                                 {3, 0, errc::not_found, "BAD TARGET"},
                                 {6, 0, errc::io_error, "TRANSPORT FAILURE"},
                                 {7, 0, errc::io_error, "TARGET FAILURE"},
                                 {8, 0, errc::io_error, "NEXUS FAILURE"},
                                 {9, 0, errc::io_error, "FAILURE"},
                                 {12, 0, errc::not_found, "INCORRECT LUN"},
                                 {77, 0, errc::io_error, "FAILURE"},
                                 {0, 0x18, errc::io_error, "RESERVATION CONFLICT"},
                                 {0, 0x40, errc::canceled, "TASK ABORTED"},
                                 {0, 0x99, errc::io_error, "a status that drivers do not know"},
                                 {0, 4, errc::ok, "GOOD"}};
  scsi_rig r;
  REQUIRE(r.open());
  for (const row& one : rows) {
    CAPTURE(one.begins);
    r.model.tamper = [&](const scsi_model::request&, scsi_model::reply& said) {
      said.response = one.response;
      said.status = one.status;
    };
    std::vector<u8> data(512);
    const usize before = r.model.requests_seen.size();
    CHECK(r.unit.read(0, data).error() == one.error);
    CHECK(r.model.requests_seen.size() == before + 1);
    CHECK(std::string{scsi::describe(r.unit.last_failure())}.rfind(one.begins, 0) == 0);
  }
}

TEST_CASE(
    "scsi: a unit with something to say, one that becomes ready and one that is busy are asked again, within bounds",
    "[scsi]") {
  scsi_rig r;
  std::vector<u8> data(512);
  SECTION("attentions") {
    r.model.units[0].attentions = {{6, 0x29, 0}, {6, 0x3f, 0x0e}};
    REQUIRE(r.open());
    r.model.units[0].attentions = {{6, 0x2a, 0x01}};
    REQUIRE(r.unit.read(4, data));
    CHECK(data == r.expected(4, 512));
    CHECK(std::string{scsi::describe(r.host->last_attention())} == "UNIT ATTENTION: parameters have changed");
    r.model.units[0].attentions.assign(1000, {6, 0x29, 0});
    CHECK(r.unit.read(4, data).error() == errc::not_ready);
    CHECK(r.model.units[0].attentions.size() == 1000 - 17);
    CHECK(std::string{scsi::describe(r.unit.last_failure())} == "UNIT ATTENTION: the unit was reset");
  }
  SECTION("becomes ready") {
    r.m.memory.wait_limit[0] = 100'000;
    r.model.units[0].becomes_ready_in = 40;
    REQUIRE(r.open());
    r.model.units[0].becomes_ready_in = 1'000'000;
    CHECK(r.unit.read(4, data).error() == errc::not_ready);
    CHECK(r.model.units[0].becomes_ready_in > 900'000);
  }
  SECTION("busy") {
    REQUIRE(r.open());
    const u8 status = GENERATE(u8{0x08}, u8{0x28}, u8{0});
    u32 left = 9;
    r.model.tamper = [&](const scsi_model::request&, scsi_model::reply& said) {
      if (left == 0 || left-- == 0) return;
      said.status = status;
      if (status == 0) said.response = 5;
      said.data.clear();
    };
    REQUIRE(r.unit.read(4, data));
    CHECK(data == r.expected(4, 512));
    left = 0xffff'ffff;
    CHECK(r.unit.read(4, data).error() == errc::not_ready);
  }
  SECTION("no medium: no waiting helps") {
    r.model.units[0].has_medium = false;
    CHECK(r.open().error() == errc::not_ready);
    CHECK(r.model.count(0x00) == 1);
    r.model.units[0].has_medium = true;
    r.model.units[0].attentions = {{6, 0x28, 0}};
    CHECK(r.open());
  }
  SECTION("the engine brings all of it to the program") {
    REQUIRE(r.open());
    r.model.units[0].attentions = {{6, 0x29, 0}};
    REQUIRE(r.unit.submit_read(4, data));
    CHECK(r.unit.wait_next()->status == errc::not_ready);
    REQUIRE(r.unit.submit_read(4, data));
    CHECK(r.unit.wait_next()->status == errc::ok);
  }
}

TEST_CASE("scsi: less data than asked for is a failure", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.model.tamper = [&](const scsi_model::request&, scsi_model::reply& said) {
    said.residual = GENERATE_COPY(1u, 512u, 0xffff'ffffu);
  };
  std::vector<u8> data(512);
  CHECK(r.unit.read(4, data).error() == errc::io_error);
  CHECK(r.unit.last_failure().is_short);
  CHECK(r.unit.write(4, data).error() == errc::io_error);
}

TEST_CASE("scsi: no more commands are out than one unit may have, nor than the queue holds [SCSI-05][SCSI-06]",
          "[scsi]") {
  const u32 most = GENERATE(0u, 1u, 3u, 1000u);
  scsi_rig r({scsi_unit{}, scsi_unit{.lun = 1}}, scsi_options{.cmd_per_lun = most});
  REQUIRE(r.open());
  r.model.hold();
  const u32 fit = most == 0 ? 1 : std::min(most, 5u);  // a ring of 16, and three descriptors a command
  std::vector<u8> data(20 * 512);
  for (u32 i = 0; i < fit; ++i) REQUIRE(r.unit.submit_read(i, bytes{data.data() + 512 * i, 512}, i));
  CHECK(r.unit.submit_read(0, bytes{data.data(), 512}).error() == errc::queue_full);
  r.unit.kick();
  (void)r.model.step();
  CHECK(r.model.held().size() == fit);
  r.model.release();
  r.model.complete_all_backwards();
  u32 seen = 0;
  REQUIRE(r.unit.drain([&](const scsi::done& one) {
    CHECK(one.status == errc::ok);
    seen |= 1u << one.cookie;
  }));
  CHECK(seen == (1u << fit) - 1);
  CHECK(r.unit.read(0, data));
}

TEST_CASE("scsi: scattered data, over no more pieces than seg_max and the options allow", "[scsi]") {
  const u32 most = GENERATE(0u, 2u, 126u);
  scsi_rig r({scsi_unit{}}, scsi_options{.seg_max = most, .max_sectors = GENERATE(0u, 8u)});
  REQUIRE(r.open());
  CHECK(r.unit.most_pieces() == (most == 0 ? 1 : std::min(most, 14u)));
  std::vector<u8> data(2048);
  const bytes parts[] = {{data.data(), 100}, {data.data() + 1000, 924}};
  const auto sent = r.unit.submit_read(5, scatter<bytes>{parts});
  CHECK(sent.error() == (most == 0 ? errc::too_many_pieces : errc::ok));
  if (sent) {
    CHECK(r.unit.wait(*sent));
    std::memmove(data.data() + 100, data.data() + 1000, 924);
    CHECK(std::equal(data.begin(), data.begin() + 1024, r.model.units[0].data.begin() + 5 * 512));
    const const_bytes from[] = {{data.data(), 512}, {data.data() + 512, 512}};
    const auto back = r.unit.submit_write(100, scatter<const_bytes>{from});
    REQUIRE(back);
    CHECK(r.unit.wait(*back));
    CHECK(r.expected(100, 1024) == r.expected(5, 1024));
  }
  std::vector<u8> all(1000 * 512);
  REQUIRE(r.unit.read(3, all));
  CHECK(all == r.expected(3, all.size()));
}

TEST_CASE("scsi: discard is split where the unit's limit is, and refused by units that take none", "[scsi]") {
  scsi_rig r({scsi_unit{.block = 1024, .most_unmapped = GENERATE(0u, 7u)}, scsi_unit{.lun = 1, .thin = false}});
  REQUIRE(r.open());
  CHECK(r.unit.can_discard());
  auto wanted = r.model.units[0].data;
  std::fill_n(wanted.begin() + 100 * 512, 200 * 512, u8{0xdd});
  REQUIRE(r.unit.discard(100, 200));
  CHECK(r.unit.range_progress() == 200);
  CHECK(r.model.units[0].data == wanted);
  CHECK(r.unit.discard(101, 1).error() == errc::misaligned);
  const auto sent = r.unit.submit_discard(extent{.sector = 10, .count = 4});
  REQUIRE(sent);
  CHECK(r.unit.wait(*sent));
  CHECK(r.model.units[0].data[10 * 512] == 0xdd);
  REQUIRE(r.open({.lun = 1}));
  CHECK_FALSE(r.unit.can_discard());
  CHECK(r.unit.discard(0, 1).error() == errc::unsupported);
}

TEST_CASE("scsi: a command that takes too long is aborted, and the device runs on", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.model.hold();
  r.m.memory.wait_limit[1] = 50;
  r.m.memory.on_wait = [&](waiting, u64) {
    (void)r.model.serve(2);
    r.model.release();
    (void)r.model.serve(0);
    r.model.hold();
  };
  std::vector<u8> data(512), other(512);
  REQUIRE(r.unit.submit_read(9, other, 9));
  CHECK(r.unit.read(4, data).error() == errc::timed_out);
  REQUIRE(r.model.managed.size() == 1);
  CHECK(r.model.managed[0].subtype == 0);
  CHECK(r.unit.capacity() == 1024);  // up
  r.model.release();
  r.model.complete_all();
  const auto done = r.unit.next_completion();
  REQUIRE(done);
  CHECK(done->cookie == 9);
  CHECK(done->status == errc::ok);
  CHECK(r.unit.read(4, data));
  CHECK(data == r.expected(4, 512));
}

TEST_CASE("scsi: where ABORT TASK fails the unit is reset, and where that fails the device", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.model.hold();
  r.m.memory.wait_limit[1] = 50;
  r.m.memory.on_wait = [&](waiting, u64) {
    (void)r.model.serve(2);
    if (r.model.management_response == 99) return;
    r.model.release();
    (void)r.model.serve(0);
    r.model.hold();
  };
  std::vector<u8> data(512);
  SECTION("the abort is rejected once") {
    r.model.management_response = 11;
    r.m.memory.on_wait = [&](waiting, u64) {
      (void)r.model.serve(2);
      r.model.release();
      if (r.model.serve(0) != 0) r.model.management_response = 0;
      r.model.hold();
    };
    CHECK(r.unit.read(4, data).error() == errc::timed_out);
    REQUIRE(r.model.managed.size() == 2);
    CHECK(r.model.managed[1].subtype == 5);
    CHECK(r.unit.capacity() == 1024);
  }
  SECTION("all is rejected") {
    r.model.management_response = 11;
    CHECK(r.unit.read(4, data).error() == errc::timed_out);
    CHECK(r.unit.capacity() == 0);
    CHECK(r.model.status() == 0);
    CHECK(r.unit.read(4, data).error() == errc::not_started);
  }
  SECTION("the device says that it has aborted, and has not") {
    r.model.ignores_management = true;
    CHECK(r.unit.read(4, data).error() == errc::timed_out);
    CHECK(r.unit.capacity() == 0);
    CHECK(r.model.managed.size() == 2);
  }
  SECTION("the abort is not answered before the unit is reset") {
    u32 taken = 0;
    r.m.memory.on_wait = [&](waiting, u64) {
      (void)r.model.serve(2);
      if (r.model.ring_in_use(0).pending() < 2) return;  // ABORT TASK alone waits
      r.model.release();
      taken += static_cast<u32>(r.model.serve(0));
      r.model.hold();
    };
    r.model.ignores_management = false;
    CHECK(r.unit.read(4, data).error() == errc::timed_out);
    CHECK(taken == 2);
    CHECK(r.unit.capacity() == 1024);
    CHECK(r.unit.read(4, data).error() == errc::timed_out);
    CHECK(taken == 4);
    CHECK(r.unit.capacity() == 1024);
  }
  SECTION("the control queue is not served") {
    r.model.management_response = 99;
    CHECK(r.unit.read(4, data).error() == errc::timed_out);
    CHECK(r.unit.capacity() == 0);
  }
  r.model.release();
  r.model.management_response = 0;
  r.m.memory.on_wait = [&](waiting, u64) { (void)r.model.step(); };
  REQUIRE(r.host.start(r.m, r.m.where(4)));
  CHECK(r.unit.read(4, data).error() == errc::not_started);  // it may be another unit now
  REQUIRE(r.open());
  CHECK(r.unit.read(4, data));
}

TEST_CASE("scsi: a program aborts commands and resets units itself", "[scsi]") {
  scsi_rig r({scsi_unit{}, scsi_unit{.lun = 1}});
  REQUIRE(r.open());
  r.model.hold();
  r.m.memory.on_wait = [&](waiting, u64) {
    r.model.release();
    (void)r.model.serve(0);
    r.model.hold();
  };
  std::vector<u8> data(1536);
  const auto first = r.unit.submit_read(0, bytes{data.data(), 512}, 1);
  REQUIRE(r.unit.submit_read(1, bytes{data.data() + 512, 512}, 2));
  r.unit.kick();
  (void)r.model.serve(2);
  REQUIRE(r.host->abort(*first));
  const auto aborted = r.unit.next_completion();
  REQUIRE(aborted);
  CHECK(aborted->cookie == 1);
  CHECK(aborted->status == errc::canceled);
  CHECK(r.host->abort(*first).error() == errc::stale_handle);
  REQUIRE(r.host->reset_unit({}));
  const auto reset = r.unit.next_completion();
  REQUIRE(reset);
  CHECK(reset->cookie == 2);
  CHECK(reset->how.response == scsi::response::reset);
  r.model.management_response = 12;
  CHECK(r.host->reset_unit({.lun = 9}).error() == errc::not_found);
  CHECK(r.unit.next_completion().error() == errc::not_ready);
}

TEST_CASE(
    "scsi: events say what came, went, was reset or changed; buffers are queued from the first look on "
    "[SCSI-01][SCSI-02][SCSI-08][SCSI-13][SCSI-14][SCSI-15][SCSI-16]",
    "[scsi]") {
  scsi_rig r;
  (void)r.model.step();
  CHECK(r.model.event_buffers() == 0);
  r.listen();
  (void)r.model.step();
  CHECK(r.model.event_buffers() == 16);
  r.model.send_event(1, 2, 5, 1);
  r.model.send_event(1, 0, 0, 2);
  r.model.send_event(1, 0, 0, 0);
  r.model.send_event(3, 1, 300, 0x092a);
  r.model.send_event(2, 1, 1, 16);
  const auto rescan = r.host->next_event();
  REQUIRE(rescan);
  CHECK(rescan->what == scsi::event::kind::rescan);
  CHECK(rescan->where == scsi::address{.lun = 5, .target = 2});
  CHECK(r.host->next_event()->what == scsi::event::kind::removed);
  CHECK(r.host->next_event()->what == scsi::event::kind::reset);
  const auto changed = r.host->next_event();
  REQUIRE(changed);
  CHECK(changed->what == scsi::event::kind::changed);
  CHECK(changed->where == scsi::address{.lun = 300, .target = 1});
  CHECK(changed->asc == 0x2a);
  CHECK(changed->ascq == 0x09);
  const auto notify = r.host->next_event();
  REQUIRE(notify);
  CHECK(notify->what == scsi::event::kind::notify);
  CHECK(notify->reason == 16);
  CHECK(r.host->next_event().error() == errc::not_ready);
  (void)r.model.step();
  CHECK(r.model.event_buffers() == 16);
}

TEST_CASE(
    "scsi: events that were lost are told, and a scan finds what they were about; one about unit 0 is its target's [SCSI-17][SCSI-19]",
    "[scsi]") {
  scsi_rig r;
  CHECK(r.scan().size() == 1);
  r.listen();
  for (int i = 0; i < 20; ++i) r.model.send_event(1, 1, 0, 1);
  CHECK(r.model.events_dropped == 4);
  for (int i = 0; i < 16; ++i) CHECK(r.host->next_event()->what == scsi::event::kind::rescan);
  (void)r.model.step();
  r.model.send_event(0, 0, 0, 0);  // nothing, with the flag
  const auto lost = r.host->next_event();
  REQUIRE(lost);
  CHECK(lost->what == scsi::event::kind::missed);
  r.model.units.push_back(scsi_unit{.target = 1, .lun = 4});
  CHECK(r.scan().size() == 2);
  std::vector<scsi::found> here;
  const auto count = r.host->scan_target(1, [&](const scsi::found& one) { here.push_back(one); });
  REQUIRE(count);
  CHECK(*count == 1);
  CHECK(here[0].where == scsi::address{.lun = 4, .target = 1});
}

TEST_CASE("scsi: of events ahead of the first look a program hears that there were some [SCSI-17]", "[scsi]") {
  scsi_rig r;
  r.model.send_event(1, 1, 0, 1);
  CHECK(r.model.events_dropped == 1);
  r.listen();
  (void)r.model.step();
  r.model.send_event(0, 0, 0, 0);  // as QEMU does when it sees the first buffer
  const auto lost = r.host->next_event();
  REQUIRE(lost);
  CHECK(lost->what == scsi::event::kind::missed);
}

TEST_CASE("scsi: a platform that sleeps is woken by events and by completions", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  CHECK_FALSE(r.host->arm());
  r.model.send_event(1, 0, 0, 1);
  CHECK(r.model.interrupts() != 0);
  CHECK(r.host->arm());
  CHECK(r.host->next_event());
  CHECK_FALSE(r.host->arm());
}

TEST_CASE("scsi: a device with other sizes of sense data or commands than after a reset is refused by name [SCSI-04]",
          "[scsi]") {
  rig::machine m;
  const bool sense = GENERATE(false, true);
  auto& model = m.add<scsi_model>(GENERATE(seat::modern, seat::legacy), 4,
                                  scsi_options{.sense_size = sense ? 252u : 96u, .cdb_size = sense ? 32u : 16u});
  const auto config = model.config();
  rig::scsi_host<> host;
  CHECK(host.start(m, m.where(4)).error() == errc::unsupported);
  CHECK(host->why().why == verdict::limits_unusable);
  CHECK(model.config() == config);
}

TEST_CASE("scsi: a disk that grew is larger after refresh, and one that is no longer right keeps its facts", "[scsi]") {
  scsi_rig r;
  REQUIRE(r.open());
  r.model.units[0].data.resize(2048 * 512);
  r.model.units[0].attentions = {{6, 0x2a, 0x09}};
  REQUIRE(r.unit.refresh());
  CHECK(r.unit.capacity() == 2048);
  r.model.units[0].block_said = 77;
  CHECK(r.unit.refresh().error() == errc::unsupported);
  CHECK(r.unit.capacity() == 2048);
}
