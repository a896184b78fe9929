// SPDX-License-Identifier: MIT
// Disks from before 1.0: their framing, the features that are never accepted, and a big-endian guest.
#include <catch2/generators/catch_generators.hpp>

#include <cstring>

#include "big_endian.hpp"
#include "disk.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<rig::big_queue>;

// Every number in ring, header and config has its high byte first.
struct old_disk : big_endian_device {
  static constexpr device_type type = device_type::block;
  std::vector<u8> data = std::vector<u8>(100 * 512);
  std::vector<std::string> objections;

  old_disk() : big_endian_device{96} { offered = 1u << 6 | 1u << 13 | 1u << 15; }  // BLK_SIZE, DISCARD, LIFETIME
  void report(const char* what) { objections.emplace_back(what); }

  void serve() {
    if (!is_up()) return;
    while (rings[0].has_more()) {
      const u16 head = rings[0].head();
      rings[0].give_back(head, request(head));
    }
  }

  u32 request(u16 index) {
    struct piece {
      u8* at;
      u32 length;
      bool writable;
    };
    std::vector<piece> chain;
    for (bool more = true; more && chain.size() < entries;) {
      const u8* const d = rings[0].descriptor(index);
      const u64 flags = get(d + 12, 2);
      chain.push_back({reinterpret_cast<u8*>(get(d, 8)), static_cast<u32>(get(d + 8, 4)), (flags & 2) != 0});
      more = (flags & 1) != 0;
      index = static_cast<u16>(get(d + 14, 2));
    }
    if (chain.size() < 2 || chain.front().length != 16 || chain.front().writable)
      report("BLKL-10: not a header on its own");
    if (chain.back().length != 1 || !chain.back().writable) report("BLKL-10: not a status on its own");
    const u64 what = get(chain.front().at, 4), sector = get(chain.front().at + 8, 8);
    u64 at = sector * 512;
    u8& how = *chain.back().at;
    how = 0;
    for (usize i = 1; i + 1 < chain.size(); ++i) {
      const piece& p = chain[i];
      if (what == 11) {  // discard: extents
        for (u32 done = 0; done + 16 <= p.length; done += 16)
          std::memset(&data[get(p.at + done, 8) * 512], 0xdd, get(p.at + done + 8, 4) * 512);
      } else if (what == 10) {
        for (u16 n = 0; n < 3; ++n) put(p.at + 2 * n, 0x0102u + n, 2);
      } else if (what > 1 || at + p.length > data.size() || p.writable != (what == 0)) {
        report("a request of an unknown what, or outside of the disk");
        how = 1;
      } else if (p.writable) {
        std::memcpy(p.at, &data[at], p.length);
      } else {
        std::memcpy(&data[at], p.at, p.length);
      }
      at += p.length;
    }
    return 1;
  }
};

using transport_type = big_endian_transport<old_disk>;
using board = big_endian_board<old_disk>;
static_assert(transport<transport_type> && platform<board>);

}  // namespace

TEST_CASE(
    "blk: a big-endian guest's ring, header, extents and config are big-endian on the legacy interface "
    "[BLKL-01][BLKL-03][BLKL-10]",
    "[blk][legacy]") {
  old_disk model;
  for (usize i = 0; i < model.data.size(); ++i) model.data[i] = static_cast<u8>(i / 512 + i % 7);
  old_disk::put(&model.config.bytes[0], 100, 8);          // capacity
  old_disk::put(&model.config.bytes[0x14], 1024, 4);      // blk_size
  old_disk::put(model.config.bytes.data() + 0x24, 6, 4);  // max_discard_sectors
  old_disk::put(model.config.bytes.data() + 0x28, 1, 4);  // max_discard_seg
  using big_disk = blk::device<board, transport_type, split_queue<8, ring_options{.order = byte_order::big}>>;
  struct parts {
    dma_storage<big_disk::dma_bytes> storage{};
    big_disk device{};
  };
  const std::unique_ptr<parts> at{new parts};
  big_disk& d = at->device;
  REQUIRE(d.start(board{model}, &model, at->storage));
  CHECK(d.capacity() == 100);
  CHECK(d.block_size() == 1024);
  std::vector<u8> data(20 * 512);
  REQUIRE(d.read(42, data));
  CHECK(std::memcmp(data.data(), &model.data[42 * 512], data.size()) == 0);
  for (u8& byte : data) byte = static_cast<u8>(byte ^ 0x3c);
  REQUIRE(d.write(60, data));
  CHECK(std::memcmp(data.data(), &model.data[60 * 512], data.size()) == 0);
  REQUIRE(d.discard(2, 20));
  CHECK(model.data[2 * 512 - 1] != 0xdd);
  for (usize i = 2 * 512; i < 22 * 512; ++i) REQUIRE(model.data[i] == 0xdd);
  CHECK(model.data[22 * 512] != 0xdd);
  const auto wear = d.get_lifetime();
  REQUIRE(wear);
  CHECK(wear->pre_eol == 0x0102);
  CHECK(wear->estimate_b == 0x0104);
  for (const auto& what : model.objections) FAIL_CHECK(what);
}

TEST_CASE("blk: without ANY_LAYOUT header and status have their own descriptors, with any data between them [BLKL-10]",
          "[blk][legacy]") {
  rig::machine m;
  const bool any_layout = GENERATE(false, true);
  auto& model = m.add<blk_model>(seat::legacy, 4, blk_options{.size_max = 1024, .seg_max = 6});
  if (any_layout) model.offer({27});
  rig::fill_pattern(model);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(model.accepted(27) == any_layout);
  std::vector<u8> data(5 * 1024);
  const bytes parts[] = {{data.data(), 100}, {data.data() + 100, 924}, {data.data() + 1024, 2048}};
  const auto sent = d->submit_read(7, parts);
  REQUIRE(sent);
  REQUIRE(d->wait(*sent));
  CHECK(std::memcmp(data.data(), rig::expected(model, 7, 3072).data(), 3072) == 0);
  REQUIRE(d->write(0, data));
  REQUIRE(d->flush());
  u8 id[blk::id_bytes];
  CHECK(d->get_id(id));
}

TEST_CASE("blk: the used length has no effect [BLKL-04]", "[blk][legacy]") {
  rig::machine m;
  auto& model = m.add<blk_model>(GENERATE(seat::legacy, seat::modern), 4);
  model.used_length = GENERATE(0u, 1u, 16u, 100'000u);
  rig::fill_pattern(model);
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  std::vector<u8> data(4096);
  REQUIRE(d->read(7, data));
  CHECK(data == rig::expected(model, 7, data.size()));
  REQUIRE(d->write(0, data));
  CHECK(d->flush());
}

TEST_CASE("blk: barriers and SCSI commands of old disks are not accepted", "[blk][legacy]") {
  rig::machine m;
  auto& model = m.add<blk_model>(seat::legacy, 4);
  model.offer({0, 7});
  disk d;
  REQUIRE(d.start(m, m.where(4)));
  CHECK(!model.accepted(0));
  CHECK(!model.accepted(7));
  u8 sector[512];
  CHECK(d->read(0, sector));
}
