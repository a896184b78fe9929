// SPDX-License-Identifier: MIT
// A balloon from before 1.0 and a big-endian guest: the fields in the guest's byte order, and those that are always
// little-endian.
#include <cstring>
#include <map>

#include <virtio/balloon.hpp>

#include "big_endian.hpp"
#include "machine.hpp"

using namespace virtio;

namespace {

struct old_balloon : big_endian_device {
  static constexpr device_type type = device_type::balloon;
  std::vector<std::vector<u8>> said[5];  // what the driver sent, by queue
  std::vector<u32> given[5];             // lengths of the device-writable part
  u16 stands_still = 5;                  // this queue is not served

  old_balloon() : big_endian_device{16} {}

  void serve() {
    if (!is_up()) return;
    for (u16 n = 0; n < 5; ++n) {
      ring& q = rings[n];
      while (n != stands_still && q.has_more()) {
        const u16 head = q.head();
        const u8* const d = q.descriptor(head);
        const auto length = static_cast<u32>(get(d + 8, 4));
        const u8* const data = reinterpret_cast<const u8*>(get(d, 8));
        if ((get(d + 12, 2) & 2) != 0) given[n].push_back(length);
        else said[n].emplace_back(data, data + length);
        q.give_back(head, 0);
      }
    }
  }
};
using transport_type = big_endian_transport<old_balloon>;
using board = big_endian_board<old_balloon>;
static_assert(transport<transport_type> && platform<board>);

using driver = balloon::device<board, transport_type, split_queue<8, ring_options{.order = byte_order::big}>>;
struct parts {
  dma_storage<driver::dma_bytes> storage{};
  driver device{};
};

u32 big(const std::vector<u8>& from, usize at) { return static_cast<u32>(big_endian_device::get(from.data() + at, 4)); }

}  // namespace

TEST_CASE(
    "balloon: on the legacy interface a big-endian guest's page numbers and statistics are big-endian, the configuration is not "
    "[BALLOONL-01][BALLOONL-04]",
    "[balloon][legacy]") {
  old_balloon model;
  model.offered = 1u << 0 | 1u << 1;
  model.stands_still = 2;                         // statistics are not requested yet
  model.config.bytes = {0x04, 0x03, 0x00, 0x00};  // 0x304 pages
  model.config.bytes.resize(16);
  const std::unique_ptr<parts> at{new parts};
  driver& d = at->device;
  const balloon::sample memory[] = {{balloon::statistic::total_memory, 0x0102'0304'0506'0708}};
  REQUIRE(d.start(board{model}, &model, at->storage, {}, memory));
  CHECK(*d.target() == 0x304);
  u32 next = 0x0a0b0c00;
  REQUIRE(*d.inflate(0x102, [&](u32& page) { return page = next++, true; }) == 0x102);
  REQUIRE(model.said[0].size() == 2);
  CHECK(model.said[0][0].size() == 1024);
  CHECK(big(model.said[0][0], 0) == 0x0a0b0c00);
  CHECK(big(model.said[0][1], 4) == 0x0a0b0d01);
  const std::vector<u8> actual{0x02, 0x01, 0, 0};
  CHECK(std::memcmp(&model.config.bytes[4], actual.data(), 4) == 0);

  model.stands_still = 5;
  model.serve();
  REQUIRE(model.said[2].size() == 1);
  CHECK(model.said[2][0] == std::vector<u8>{0, 5, 1, 2, 3, 4, 5, 6, 7, 8});
  CHECK(*d.answer_statistics(memory));
}

TEST_CASE(
    "balloon: on the legacy interface a big-endian guest's command ids are big-endian, and the host's are little-endian "
    "[BALLOONL-01][BALLOONL-05]",
    "[balloon][legacy]") {
  old_balloon model;
  model.offered = 1u << 0 | 1u << 3 | 1u << 4;
  model.config.bytes[8] = 0x07, model.config.bytes[11] = 0x80;  // round 0x80000007
  const std::unique_ptr<parts> at{new parts};
  driver& d = at->device;
  static u8 memory[2 * balloon::page_bytes];
  const balloon::poison held{0x01020304, [](u32) { return memory; }};
  REQUIRE(d.start(board{model}, &model, at->storage, {}, {}, held));
  CHECK(*d.hints() == balloon::hinting::wanted);
  u32 left = 1;
  REQUIRE(*d.hint([&](bytes& out) { return out = memory, left-- != 0; }) == 1);
  CHECK(model.said[2] == std::vector<std::vector<u8>>{{0x80, 0, 0, 7}, {0, 0, 0, 0}});
  CHECK(model.given[2] == std::vector<u32>{sizeof memory});
  CHECK(std::vector<u8>(model.config.bytes.begin() + 12, model.config.bytes.end()) == std::vector<u8>{4, 3, 2, 1});
}
