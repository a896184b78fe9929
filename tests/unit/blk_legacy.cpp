// SPDX-License-Identifier: MIT
// Disks from before 1.0: their framing, what they offer and nobody takes, and a guest whose numbers are big-endian.
#include <catch2/generators/catch_generators.hpp>

#include <cstring>

#include <virtio/testing/scripted_io.hpp>
#include <virtio/transport/config_access.hpp>

#include "disk.hpp"

using namespace virtio;

namespace {

using disk = rig::disk<rig::big_queue>;

// A disk of before 1.0 for a big-endian guest, behind no bus: its registers are members, device addresses are pointers, and
// every number of ring, header and config has its high byte first. Written from the specification.
struct big_endian_disk {
  u8 status = 0;
  u32 accepted = 0;
  u16 entries = 8;
  const u8* descriptors = nullptr;
  const u8* available = nullptr;
  u8* used = nullptr;
  u16 taken = 0;
  virtio::testing::recording config{96};  // answers little-endian numbers, as a bus does
  std::vector<u8> data = std::vector<u8>(100 * 512);
  std::vector<std::string> objections;

  static u64 get(const u8* at, usize bytes) {
    u64 value = 0;
    for (usize i = 0; i < bytes; ++i) value = value << 8 | at[i];
    return value;
  }
  static void put(u8* at, u64 value, usize bytes) {
    for (usize i = bytes; i-- != 0; value >>= 8) at[i] = static_cast<u8>(value);
  }
  void object(const char* what) { objections.emplace_back(what); }

  void serve() {
    if ((status & 4) == 0 || descriptors == nullptr) return;
    while (taken != static_cast<u16>(get(available + 2, 2))) {
      const u16 head = static_cast<u16>(get(available + 4 + 2 * (taken % entries), 2));
      put(used + 4 + 8 * (taken % entries), head, 4);
      put(used + 4 + 8 * (taken % entries) + 4, request(head), 4);
      put(used + 2, ++taken, 2);
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
      const u8* const d = descriptors + 16 * (index % entries);
      const u64 flags = get(d + 12, 2);
      chain.push_back({reinterpret_cast<u8*>(get(d, 8)), static_cast<u32>(get(d + 8, 4)), (flags & 2) != 0});
      more = (flags & 1) != 0;
      index = static_cast<u16>(get(d + 14, 2));
    }
    if (chain.size() < 2 || chain.front().length != 16 || chain.front().writable) object("BLKL-10: not a header on its own");
    if (chain.back().length != 1 || !chain.back().writable) object("BLKL-10: not a status on its own");
    const u64 type = get(chain.front().at, 4), sector = get(chain.front().at + 8, 8);
    u64 at = sector * 512;
    u8& how = *chain.back().at;
    how = 0;
    for (usize i = 1; i + 1 < chain.size(); ++i) {
      const piece& p = chain[i];
      if (type == 11) {  // discard: extents
        for (u32 done = 0; done + 16 <= p.length; done += 16)
          std::memset(&data[get(p.at + done, 8) * 512], 0xdd, get(p.at + done + 8, 4) * 512);
      } else if (type == 10) {
        for (u16 n = 0; n < 3; ++n) put(p.at + 2 * n, 0x0102u + n, 2);
      } else if (type > 1 || at + p.length > data.size() || p.writable != (type == 0)) {
        object("a request of an unknown type, or outside of the disk");
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

struct big_endian_transport {
  using location = big_endian_disk*;
  struct doorbell {
    void ring(u16) const {}
  };
  static constexpr byte_order ring_order = byte_order::big;
  static constexpr feature_set wanted{};

  [[nodiscard]] static device_type type_of(const location&) { return device_type::block; }
  result<void> open(const location& where, report& why) {
    at = where;
    why = {.type = device_type::block};
    return {};
  }
  [[nodiscard]] device_type type() const { return at ? device_type::block : device_type::none; }
  [[nodiscard]] transport_kind kind() const { return transport_kind::pci_legacy; }
  [[nodiscard]] bool is_legacy() const { return true; }
  [[nodiscard]] u8 status() const { return at->status; }
  void set_status(u8 value) const { at->status = value; }
  [[nodiscard]] feature_set device_features(u32) const {
    feature_set offered;
    offered.set_word(0, 1u << 6 | 1u << 13 | 1u << 15);  // BLK_SIZE, DISCARD, LIFETIME
    return offered;
  }
  void accept_features(feature_set chosen, u32) const { at->accepted = chosen.word(0); }
  [[nodiscard]] queue_limits queue(u16) const { return {at->entries, true}; }
  [[nodiscard]] result<void> enable_queue(u16, const queue_areas& areas, const feature_set&, u16, doorbell&) const {
    at->descriptors = reinterpret_cast<const u8*>(raw(areas.descriptors));
    at->available = reinterpret_cast<const u8*>(raw(areas.driver));
    at->used = reinterpret_cast<u8*>(raw(areas.device));
    return {};
  }
  [[nodiscard]] result<void> begin_queue_reset(u16) const { return errc::unsupported; }
  [[nodiscard]] bool queue_reset_done(u16) const { return false; }
  [[nodiscard]] result<void> set_config_vector(u16) const { return errc::unsupported; }
  // The bus moves bytes; what makes numbers of them is what pci::legacy and mmio::legacy use.
  template <class T>
  [[nodiscard]] result<T> config(usize offset) const {
    return virtio::detail::in_guest_order<byte_order::big>(by_field::read<T>(virtio::testing::recording_space{at->config}, offset));
  }
  template <class T>
  result<void> config_write(usize offset, T value) const {
    by_field::write<T>(virtio::testing::recording_space{at->config}, offset, virtio::detail::in_guest_order<byte_order::big>(value));
    return {};
  }
  [[nodiscard]] u32 config_generation() const { return 0; }
  [[nodiscard]] interrupt_cause acknowledge_interrupt() const { return {}; }
  void close() const {}

  big_endian_disk* at = nullptr;
};

struct big_endian_board {
  using barriers = smp_barriers;
  big_endian_disk* at = nullptr;

  result<void> map(const volatile void* va, usize n, direction way, segments& out) const {
    return out.push(dma_addr{reinterpret_cast<uptr>(va)}, n, way);
  }
  bool keep_waiting(waiting, u64 attempt) const {
    at->serve();
    return attempt < 1000;
  }
};
static_assert(transport<big_endian_transport> && platform<big_endian_board>);

}  // namespace

TEST_CASE("blk: a big-endian guest's ring, header, extents and config are big-endian on the legacy interface "
          "[BLKL-01][BLKL-03][BLKL-10]",
          "[blk][legacy]") {
  big_endian_disk model;
  for (usize i = 0; i < model.data.size(); ++i) model.data[i] = static_cast<u8>(i / 512 + i % 7);
  big_endian_disk::put(&model.config.bytes[0], 100, 8);          // capacity
  big_endian_disk::put(&model.config.bytes[0x14], 1024, 4);  // blk_size
  big_endian_disk::put(model.config.bytes.data() + 0x24, 6, 4);       // max_discard_sectors
  big_endian_disk::put(model.config.bytes.data() + 0x28, 1, 4);       // max_discard_seg
  using big_disk = blk::device<big_endian_board, big_endian_transport, split_queue<8, ring_options{.order = byte_order::big}>>;
  struct parts {
    dma_storage<big_disk::dma_bytes> storage{};
    big_disk device{};
  };
  const std::unique_ptr<parts> at{new parts};
  big_disk& d = at->device;
  REQUIRE(d.start(big_endian_board{&model}, &model, at->storage));
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

TEST_CASE("blk: without ANY_LAYOUT header and status are descriptors of their own, whatever is between them [BLKL-10]", "[blk][legacy]") {
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

TEST_CASE("blk: the used length says nothing [BLKL-04]", "[blk][legacy]") {
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
