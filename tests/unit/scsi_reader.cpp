// SPDX-License-Identifier: MIT
// scsi::reader: the commands that it sends, its errors, and the limit of its requests.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include <algorithm>

#include "scsi.hpp"

using namespace virtio;

namespace {

using reader_type = scsi::reader<rig::scsi_device>;

std::vector<u8> operations(const scsi_model& model) {
  std::vector<u8> all;
  for (const auto& one : model.requests_seen) all.push_back(one.cdb[0]);
  return all;
}

}  // namespace

TEST_CASE("scsi: a reader requests the capacity alone, and reads blocks of any size, waiting or not", "[scsi]") {
  const u32 block = GENERATE(512u, 2048u, 4096u);
  scsi_rig r({scsi_unit{.kind = static_cast<u8>(block == 2048 ? 5 : 0), .block = block}});
  reader_type disk{};
  REQUIRE(disk.open(*r.host, {}));
  CHECK(operations(r.model) == std::vector<u8>{0x25});
  CHECK(disk.capacity() == 1024);
  CHECK(disk.block_size() == block);
  CHECK(disk.where() == scsi::address{});
  CHECK(disk.most_pieces() == 14);
  std::vector<u8> data(4096);
  REQUIRE(disk.read(8, data));
  CHECK(data == r.expected(8, 4096));
  CHECK(disk.read(1020, bytes{data.data(), 2048}).error() == (block == 4096 ? errc::misaligned : errc::ok));
  CHECK(disk.read(1024, data).error() == errc::out_of_range);
  CHECK(disk.read(0, bytes{data.data(), 100}).error() == errc::misaligned);

  std::vector<u8> other(4096);
  REQUIRE(disk.submit_read(16, data, 1));
  const bytes parts[] = {bytes{other.data(), 2048}, bytes{other.data() + 2048, 2048}};
  REQUIRE(disk.submit_read(24, scatter<bytes>{parts, 2}, 2));
  u64 cookies = 0;
  REQUIRE(disk.drain([&](const scsi::done& one) {
    CHECK(one.status == errc::ok);
    cookies += one.cookie;
  }));
  CHECK(cookies == 3);
  CHECK(data == r.expected(16, 4096));
  CHECK(other == r.expected(24, 4096));
}

TEST_CASE("scsi: a reader's requests are no longer than 64 KiB, which every unit takes", "[scsi]") {
  scsi_rig r;
  reader_type disk{};
  REQUIRE(disk.open(*r.host, {}));
  CHECK(disk.largest_request() == 65536);
  std::vector<u8> data(150 * 512);
  REQUIRE(disk.read(3, data));
  CHECK(data == r.expected(3, data.size()));
  CHECK(r.model.count(0x28) == 2);
  CHECK(disk.submit_read(3, data).error() == errc::out_of_range);
}

TEST_CASE("scsi: a reader sends READ CAPACITY (16) to a unit with more than 2^32 blocks", "[scsi]") {
  scsi_rig r({scsi_unit{.last_block = 0x1'2345'6789}});
  reader_type disk{};
  REQUIRE(disk.open(*r.host, {}));
  CHECK(operations(r.model) == std::vector<u8>{0x25, 0x9e});
  CHECK(disk.capacity() == 0x1'2345'678a);
}

TEST_CASE("scsi: a reader of a missing unit, a tape drive or an empty drive returns the error, and is closed",
          "[scsi]") {
  scsi_rig r({scsi_unit{}, scsi_unit{.lun = 1, .kind = 5, .has_medium = false}, scsi_unit{.lun = 2}});
  r.model.tamper = [](const scsi_model::request& asked, scsi_model::reply& said) {
    if (asked.lun != 2) return;  // a tape drive does not know the question
    said.status = 2;
    said.data.clear();
    said.sense = sense_bytes{5, 0x20, 0}.fixed();
  };
  reader_type disk{};
  CHECK(disk.open(*r.host, {.lun = 1}).error() == errc::not_ready);
  CHECK(disk.last_failure().has(scsi::sense_key::not_ready, 0x3a));
  CHECK(disk.open(*r.host, {.lun = 2}).error() == errc::unsupported);
  CHECK(disk.open(*r.host, {.target = 2}).error() == errc::not_found);
  CHECK(disk.open(*r.host, {.lun = 16384}).error() == errc::invalid_argument);
  CHECK(disk.capacity() == 0);
  std::vector<u8> data(512);
  CHECK(disk.read(0, data).error() == errc::not_started);
  REQUIRE(disk.open(*r.host, {}));
  CHECK(disk.read(0, data));
}

TEST_CASE("scsi: a reader waits for a unit that becomes ready, and reads no other medium before refresh", "[scsi]") {
  scsi_rig r({scsi_unit{.attentions = {{6, 0x29, 0}, {6, 0x28, 0}}, .becomes_ready_in = 3}});
  reader_type disk{};
  REQUIRE(disk.open(*r.host, {}));
  std::vector<u8> data(512);
  REQUIRE(disk.read(5, data));
  r.model.units[0].attentions = {{6, 0x28, 0}};
  r.model.units[0].data.assign(2048 * 512, 0x11);
  CHECK(disk.read(5, data).error() == errc::not_ready);
  const usize before = r.model.requests_seen.size();
  CHECK(disk.read(5, data).error() == errc::not_ready);
  CHECK(disk.submit_read(5, data).error() == errc::not_ready);
  CHECK(r.model.requests_seen.size() == before);
  REQUIRE(disk.refresh());
  CHECK(disk.capacity() == 2048);
  REQUIRE(disk.read(5, data));
  CHECK(data == std::vector<u8>(512, 0x11));
}

TEST_CASE("scsi: a reader that was never opened has no requests and returns not_started", "[scsi]") {
  reader_type disk{};
  CHECK(disk.in_flight() == 0);
  CHECK(disk.capacity() == 0);
  disk.kick();
  CHECK(disk.next_completion().error() == errc::not_started);
  CHECK(disk.check().error() == errc::not_started);
  CHECK(disk.refresh().error() == errc::not_started);
  std::vector<u8> data(512);
  CHECK(disk.read(0, data).error() == errc::not_started);
}

TEST_CASE("scsi: a scan of a host that is down sends nothing and leaves the storage alone", "[scsi]") {
  scsi_rig r;
  reader_type disk{};
  REQUIRE(r.host->hand_off());
  const dma_region storage = r.host.storage();
  std::fill_n(storage.data, storage.size, u8{0x5a});
  CHECK(r.host->inquire({}).error() == errc::not_started);
  CHECK(disk.open(*r.host, {}).error() == errc::not_started);
  CHECK(r.host->scan([](const scsi::found&) {}).error() == errc::not_started);
  CHECK(std::count(storage.data, storage.data + storage.size, u8{0x5a}) == static_cast<std::ptrdiff_t>(storage.size));
  rig::scsi_host<> other;
  CHECK(other->scan([](const scsi::found&) {}).error() == errc::not_started);
}
