// SPDX-License-Identifier: MIT
// SCSI hosts from before 1.0, for a guest whose numbers are big-endian: config, commands, task management and events
// have its order, commands of SCSI have their own. Offsets from virtio 1.4, 5.6.
#include <catch2/catch_test_macros.hpp>

#include <cstring>

#include <virtio/scsi.hpp>

#include "big_endian.hpp"

using namespace virtio;

namespace {

struct old_host : big_endian_device {
  static constexpr device_type type = device_type::scsi;
  std::vector<u8> data = std::vector<u8>(100 * 512);
  std::vector<std::string> objections;
  bool holds = false;
  std::vector<u64> held;  // ids, and the heads of their chains
  std::vector<u16> held_heads;
  u64 aborted = 0;
  u32 managed = 0;

  old_host() : big_endian_device{36} {
    offered = 1u << 1 | 1u << 2;
    for (usize at : {0u, 4u, 8u, 12u, 16u, 20u, 24u, 32u}) {
      const u32 value = at == 0    ? 1
                        : at == 4  ? 8
                        : at == 8  ? 16
                        : at == 12 ? 4
                        : at == 16 ? 16
                        : at == 20 ? 96
                        : at == 24 ? 32
                                   : 5;
      put(config.bytes.data() + at, value, 4);
    }
    put(config.bytes.data() + 30, 1, 2);
  }
  void report(const char* what) { objections.emplace_back(what); }

  struct piece {
    u8* at;
    u32 length;
    bool writable;
  };
  std::vector<piece> chain(usize queue, u16 index) const {
    std::vector<piece> all;
    for (bool more = true; more && all.size() < entries;) {
      const u8* const d = rings[queue].descriptor(index);
      const u64 flags = get(d + 12, 2);
      all.push_back({reinterpret_cast<u8*>(get(d, 8)), static_cast<u32>(get(d + 8, 4)), (flags & 2) != 0});
      more = (flags & 1) != 0;
      index = static_cast<u16>(get(d + 14, 2));
    }
    return all;
  }

  void serve() {
    if (!is_up()) return;
    while (rings[2].has_more()) {
      const u16 head = rings[2].head();
      const auto all = chain(2, head);
      if (holds) {
        held.push_back(get(all[0].at + 8, 8));
        held_heads.push_back(head);
        ++rings[2].taken;
        continue;
      }
      rings[2].give_back(head, command(all));
    }
    while (rings[0].has_more()) {
      const u16 head = rings[0].head();
      const auto all = chain(0, head);
      if (all.size() != 2 || all[0].length != 24 || all[1].length != 1) report("not task management");
      const u64 function = get(all[0].at + 4, 4);
      if (get(all[0].at, 4) != 0 || (function != 0 && function != 5))
        report("SCSIL-04: neither ABORT TASK nor a reset of a unit");
      ++managed;
      for (usize i = 0; i < held.size(); ++i) {
        if (held[i] != get(all[0].at + 16, 8)) continue;
        auto whole = chain(2, held_heads[i]);
        for (const piece& p : whole)
          if (p.writable && p.length == 108) p.at[11] = 2;
        --rings[2].taken;  // this ring gives back in order
        rings[2].give_back(held_heads[i], 108);
        held.clear();
        held_heads.clear();
        aborted = 1;
      }
      *all[1].at = 0;
      rings[0].give_back(head, 1);
    }
  }
  void send_event(u32 event, u32 reason) {
    if (!rings[1].has_more()) return report("no event buffer");
    const u16 head = rings[1].head();
    const auto all = chain(1, head);
    put(all[0].at, event, 4);
    const u8 lun[8] = {1, 3, 0x41, 0x02};
    std::memcpy(all[0].at + 4, lun, 8);
    put(all[0].at + 12, reason, 4);
    rings[1].give_back(head, 0);  // SCSIL-02: old devices say what they like
  }

  u32 command(const std::vector<piece>& all) {
    if (all[0].length != 51 || all[0].writable) report("SCSIL-06: the command is not one descriptor of 51 bytes");
    const u8* const cdb = all[0].at + 19;
    usize response = 1;
    while (response < all.size() && !all[response].writable) ++response;
    if (response == all.size() || all[response].length != 108) {
      report("SCSIL-07: the response is not one descriptor of 108 bytes");
      return 0;
    }
    u8* const said = all[response].at;
    std::memset(said, 0, 108);
    if (get(all[0].at + 8, 8) >= entries) report("SCSIL-03: an id in the wrong order");
    if (all[0].at[0] != 1 || all[0].at[1] != 0 || (get(all[0].at + 2, 2) & 0x3fff) != 0) {
      said[11] = 3;
      return 108;
    }
    const auto fill = [&](const std::vector<u8>& with) {
      if (response + 1 < all.size())
        std::memcpy(all[response + 1].at, with.data(), std::min<usize>(with.size(), all[response + 1].length));
    };
    std::vector<u8> answer(36);
    switch (cdb[0]) {
      case 0x12: fill(answer); break;
      case 0x00:
      case 0x35: break;
      case 0x25:
        put(answer.data(), 99, 4);
        put(answer.data() + 4, 512, 4);
        fill(answer);
        break;
      case 0x28: std::memcpy(all[response + 1].at, &data[get(cdb + 2, 4) * 512], get(cdb + 7, 2) * 512); break;
      case 0x2a: {
        std::memcpy(&data[get(cdb + 2, 4) * 512], all[1].at, all[1].length);
        break;
      }
      default:
        // Sense data; its length is a number of the transport's, in its order.
        put(said, 18, 4);
        said[10] = 2;
        said[12] = 0x70;
        said[14] = 5;
        said[24] = 0x20;
        put(said + 4, 7, 4);
    }
    return 0;  // SCSIL-02
  }
};

using transport_type = big_endian_transport<old_host>;
using board = big_endian_board<old_host>;
using host_type = scsi::device<board, transport_type, split_queue<8, ring_options{.order = byte_order::big}>>;

}  // namespace

TEST_CASE(
    "scsi: a big-endian guest's config, commands, task management and events are big-endian on the legacy interface, and used "
    "lengths say nothing [SCSIL-01][SCSIL-02][SCSIL-03][SCSIL-04][SCSIL-05][SCSIL-06][SCSIL-07]",
    "[scsi][legacy]") {
  old_host model;
  static host_type host;
  static dma_storage<host_type::dma_bytes> storage;
  REQUIRE(host.start(board{model}, &model, storage));
  CHECK(model.accepted == (1u << 1 | 1u << 2));
  scsi::unit<host_type> unit{};
  REQUIRE(unit.open(host, {}));
  CHECK(unit.capacity() == 100);
  CHECK(unit.largest_request() == 16 * 512);
  CHECK(unit.most_pieces() == 6);
  std::vector<u8> out(40 * 512), in(40 * 512);
  for (usize i = 0; i < out.size(); ++i) out[i] = static_cast<u8>(i * 5 + i / 512);
  REQUIRE(unit.write(7, out));
  REQUIRE(unit.read(7, in));
  CHECK(out == in);
  CHECK(std::memcmp(&model.data[7 * 512], out.data(), out.size()) == 0);

  CHECK(host.next_event().error() == errc::not_ready);
  model.send_event(1, 1);
  const auto event = host.next_event();
  REQUIRE(event);
  CHECK(event->what == scsi::event::kind::rescan);
  CHECK(event->where == scsi::address{.lun = 0x102, .target = 3});
  model.send_event(3, 0x092a);
  CHECK(host.next_event()->asc == 0x2a);

  REQUIRE(unit.submit_read(0, bytes{in.data(), 512}, 1));
  REQUIRE(unit.submit_read(1, bytes{in.data() + 512, 512}, 2));  // with another id
  CHECK(unit.drain([](const scsi::done& one) { CHECK(one.status == errc::ok); }));
  REQUIRE(host.reset_unit({}));
  CHECK(model.managed == 1);

  model.holds = true;
  CHECK(unit.read(0, bytes{in.data(), 512}).error() == errc::timed_out);
  CHECK(model.managed == 2);
  CHECK(model.aborted == 1);
  model.holds = false;
  CHECK(unit.read(7, bytes{in.data(), 512}));
  for (const auto& what : model.objections) FAIL_CHECK(what);
  CHECK(host.hand_off());
}
