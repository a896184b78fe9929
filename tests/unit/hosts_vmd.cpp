// SPDX-License-Identifier: MIT
// OpenBSD's vmd as a test double, in versions of four years: its registers, and its reactions to wrong guests. The
// guest here is not a driver of the library: registers by number and width, and a ring written by hand.
#include <catch2/catch_test_macros.hpp>

#include <virtio/testing/net_model.hpp>
#include <virtio/testing/rng_model.hpp>
#include <virtio/testing/scsi_model.hpp>

#include "disk.hpp"
#include "entropy.hpp"
#include "hosts.hpp"

using namespace virtio;
using rig::host_description;
using rig::host_machine;
using rig::pci_board;
using testing::net_model;
using testing::rng_model;
using testing::scsi_model;
using testing::vmd_era;
namespace wire = virtio::testing::wire;

namespace {

constexpr vmd_era eras[] = {vmd_era::of_2018, vmd_era::of_2023, vmd_era::of_2025, vmd_era::of_2026};
constexpr bool is_legacy(vmd_era era) { return era < vmd_era::of_2025; }
constexpr u8 net_slot = 2, entropy_slot = 1, scsi_slot = 4;
constexpr u8 slot_of(vmd_era era, device_type type) {
  const bool disk_first = era == vmd_era::of_2018;
  return type == device_type::entropy                 ? entropy_slot
         : type == device_type::scsi                  ? scsi_slot
         : (type == device_type::block) == disk_first ? net_slot
                                                      : u8{3};
}

struct vmd {
  host_description description;
  host_machine<pci_board> machine{description};

  explicit vmd(vmd_era era) : description{host_description::vmd(era)} { machine.expect_objections = true; }
};

/// One device, driven by register numbers.
struct hand : vmd {
  static constexpr u64 memory_at = 0x3000'0000;
  struct piece {
    u32 offset, length;  // in memory
    bool writable;
  };

  vmd_era era;
  fake_function& f;
  device_model& model;
  std::vector<u8> pages = std::vector<u8>(0x40000);
  u8* memory = pages.data() + (4096 - reinterpret_cast<uptr>(pages.data()) % 4096);
  u16 size = 0;
  u16 next[3] = {};

  hand(vmd_era of, device_type type)
      : vmd{of}, era{of}, f{machine.board.devices.function({0, 0, slot_of(of, type), 0})}, model{machine.model(type)} {
    (void)machine.memory.memory.add(memory_at, memory, 0x30000, device_memory::permission::read_write);
  }

  u32 in(u32 offset, u32 width) { return f.bar_access(0, offset, width, nullptr); }
  void out(u32 offset, u32 width, u32 value) { (void)f.bar_access(0, offset, width, &value); }
  u32 config(u32 offset, u32 width) { return in((is_legacy(era) ? 0x14 : 0x300) + offset, width); }

  /// Brings the device up, except for its queues.
  void negotiate(u32 features) {
    if (is_legacy(era)) {
      for (const u32 status : {0u, 1u, 3u}) out(0x12, 1, status), (void)in(0x12, 1);
      (void)in(0x00, 4);
      out(0x04, 4, features);
      return;
    }
    for (const u32 status : {0u, 1u, 3u}) out(0x14, 1, status), (void)in(0x14, 1);
    for (const u32 word : {0u, 1u}) {
      out(0x00, 4, word);
      (void)in(0x04, 4);
      out(0x08, 4, word);
      out(0x0c, 4, word == 0 ? features : 1);
    }
    out(0x14, 1, 0x0b);
    (void)in(0x14, 1);
  }
  void queue_address(u32 register_at, u64 address) {
    out(register_at, 4, static_cast<u32>(address));
    out(register_at + 4, 4, static_cast<u32>(address >> 32));
  }
  [[nodiscard]] u32 ring_of(u16 queue) const { return queue * 0x4000u; }
  [[nodiscard]] u32 used_of(u16 queue) const {
    return ring_of(queue) + (16u * size + 6u + 2u * size + 4095u) / 4096u * 4096u;
  }
  void set_up(u16 queue, u16 entries) {
    size = entries;
    if (is_legacy(era)) {
      out(0x0e, 2, queue);
      CHECK(in(0x0c, 2) == entries);
      out(0x08, 4, static_cast<u32>(memory_at + ring_of(queue)) >> 12);
      return;
    }
    out(0x16, 2, queue);
    out(0x18, 2, entries);
    queue_address(0x20, memory_at + ring_of(queue));
    queue_address(0x28, memory_at + ring_of(queue) + 16u * size);
    queue_address(0x30, memory_at + used_of(queue));
    out(0x1c, 2, 1);
  }
  void go() { out(is_legacy(era) ? 0x12 : 0x14, 1, is_legacy(era) ? 7 : 0x0f); }
  void start(u32 features, std::initializer_list<u16> queues) {
    negotiate(features);
    for (const u16 q : queues) set_up(q, model.at(q).maximum);
    go();
  }
  /// Writes descriptors from `head` on, and an entry in the ring.
  void offer(u16 queue, const std::vector<piece>& pieces, u16 head = 0) {
    u16 at = head;
    for (const piece& one : pieces) {
      u8* const d = memory + ring_of(queue) + 16u * at;
      const bool last = ++at == head + pieces.size();
      wire::put64(d, memory_at + one.offset);
      wire::put32(d + 8, one.length);
      wire::put16(d + 12, static_cast<u16>((last ? 0 : 1) | (one.writable ? 2 : 0)));
      wire::put16(d + 14, last ? 0 : at);
    }
    u8* const available = memory + ring_of(queue) + 16u * size;
    wire::put16(available + 4 + 2u * (next[queue] % size), head);
    wire::put16(available + 2, ++next[queue]);
  }
  void notify(u16 queue) {
    out(is_legacy(era) ? 0x10 : 0x100, 2, queue);
    (void)model.step();
  }
  [[nodiscard]] u16 used(u16 queue = 0) { return wire::get16(memory + used_of(queue) + 2); }
  [[nodiscard]] u32 used_length(u16 queue, u16 nth) { return wire::get32(memory + used_of(queue) + 4 + 8u * nth + 4); }
  [[nodiscard]] u16 used_flags(u16 queue) { return wire::get16(memory + used_of(queue)); }
  u32 isr() { return in(is_legacy(era) ? 0x13 : 0x200, 1); }
  u32 status() { return in(is_legacy(era) ? 0x12 : 0x14, 1); }
  /// Checks that exactly this violation was reported since the last call.
  void objects_to(const std::string& part) {
    const auto all = model.violations();
    INFO("expected: " << part);
    REQUIRE(all.size() == 1);
    INFO(all[0]);
    CHECK(contains(all[0], part));
    model.clear_violations();
  }
};

constexpr u32 buffers = 0x20000;  // after all rings

}  // namespace

TEST_CASE("vmd: every era has its ids, classes, subsystems and BARs, behind the host bridge 0b5d:0666",
          "[hosts][vmd][kit]") {
  struct row {
    device_type type;
    u16 legacy_id, id, class_and_subclass;
  };
  constexpr row rows[] = {{device_type::entropy, 0x1005, 0x1044, 0x0880},
                          {device_type::network, 0x1000, 0x1041, 0x0880},
                          {device_type::block, 0x1001, 0x1042, 0x0100},
                          {device_type::scsi, 0x1004, 0x1048, 0x0100}};
  for (const vmd_era era : eras) {
    vmd v{era};
    auto& bus = v.machine.board.devices;
    CAPTURE(v.description.name());
    CHECK(bus.function({0, 0, 0, 0}).peek(0) == 0x0666'0b5d);
    CHECK(bus.function({0, 0, 0, 0}).peek(0x0a, 2) == 0x0600);
    for (const row& one : rows) {
      const u8 slot = slot_of(era, one.type);
      fake_function& f = bus.function({0, 0, slot, 0});
      CHECK(f.peek(0x00) == (u32{is_legacy(era) ? one.legacy_id : one.id} << 16 | 0x1af4));
      CHECK(f.peek(0x08, 1) == (is_legacy(era) ? 0 : 1));
      CHECK(f.peek(0x0a, 2) == one.class_and_subclass);
      CHECK(f.peek(0x2c) == (static_cast<u32>(one.type) << 16 | 0x0b5d));
      CHECK(f.peek(0x10) == 0x1001u + slot * 0x1000u);
      f.config_write(0x10, 0xffffffff);
      CHECK(f.peek(0x10) == 0xfffff001);
      CHECK((f.peek(0x14) >= 0xf000'0000) == (era == vmd_era::of_2026));
      // Capabilities: each has a stated length of 16 bytes, and the next is 24 bytes later. The multiplier follows, and
      // is 0.
      CHECK((f.capability(9) != 0) == !is_legacy(era));
      if (is_legacy(era)) continue;
      const bool newest = era == vmd_era::of_2026;
      CHECK(f.peek(0x34, 1) == 0x40);
      CHECK(f.capability(9, 1) == (newest ? 0x70 : 0x40));
      CHECK(f.capability(5) == (newest ? 0x40 : 0));
      CHECK(f.capability(0x11) == (newest ? 0x58 : 0));
      CHECK((f.capability(9, 4) != 0) == (one.type != device_type::entropy));
      CHECK(f.capability(9, 5) == 0);
      const u8 notify = f.capability(9, 2);
      CHECK(f.peek(notify + 2u, 1) == 16);
      CHECK(f.peek(notify + 8u) == 0x100);
      CHECK(f.peek(notify + 12u) == 2);
      CHECK(f.peek(notify + 16u) == 0);
    }
    const fake_function& control = bus.function({0, 0, 5, 0});  // legacy in every version
    CHECK(control.peek(0x00) == 0x0777'0b5d);
    CHECK(control.peek(0x08) == 0x0780'0000);
    CHECK(control.peek(0x2c) == 0xffff'0b5d);
    CHECK(control.peek(0x10) == 0x6001);
  }
}

TEST_CASE("vmd: a 16-bit write of configuration space loses its lane up to 2025", "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    vmd v{era};
    fake_function& f = v.machine.board.devices.function({0, 0, 1, 0});
    f.config_write16(0x04, 0x0007);
    f.config_write16(0x06, 0x0000);
    CHECK(f.peek(0x04, 2) == (era == vmd_era::of_2026 ? 7 : 0));
  }
}

TEST_CASE("vmd: registers support their own width; other accesses read zeros, or ones on a network card of 2025",
          "[hosts][vmd][kit]") {
  for (const vmd_era era : {vmd_era::of_2025, vmd_era::of_2026})
    for (const device_type type : {device_type::entropy, device_type::block, device_type::network}) {
      hand h{era, type};
      const u32 elsewhere = era == vmd_era::of_2025 && type == device_type::network ? ~0u : 0;
      h.out(0x14, 1, 0);
      h.out(0x14, 4, 1);
      h.objects_to("PCI-05: access of 4 bytes to common+0x14");
      CHECK(h.in(0x14, 1) == 0);
      h.out(0x14, 1, 1);
      CHECK(h.in(0x15, 1) == 0);
      CHECK(h.model.violations().empty());
      CHECK(h.in(0x05, 1) == (elsewhere & 0xff));
      h.objects_to("PCI-05: access of 1 bytes to common+0x5");
      h.model.bump_generation();
      CHECK(h.in(0x15, 1) == 0);
      CHECK(contains(h.f.log(), "w4@common+0x14=0x1 r1@common+0x14"));
    }
}

TEST_CASE(
    "vmd: a configuration supports the reads of its version; others return ones, zeros or the register's old content",
    "[hosts][vmd][kit]") {
  struct row {
    device_type type;
    u32 offset, width;
    u32 by_era[4];
  };
  constexpr u32 ones = 0xffffffff, stale = 0x5a5a'5a5a;
  constexpr row rows[] = {
      {device_type::block, 0, 4, {2048, 2048, 2048, 2048}},
      {device_type::block, 4, 4, {0, 0, 0, 0}},
      {device_type::block, 12, 4, {ones, 126, 126, 126}},
      {device_type::block, 8, 4, {1 << 20, ones, ones, 0}},
      {device_type::block, 1, 1, {8, 8, ones, 0}},
      {device_type::block, 0, 2, {2048, 2048, ones, 0}},
      {device_type::block, 20, 4, {ones, ones, ones, 0}},
      {device_type::network, 0, 1, {0x52, 0x52, 0x52, 0x52}},
      {device_type::network, 1, 4, {0x54, 0x54, 0x54, 0x54}},
      {device_type::network, 4, 2, {0x34, 0x34, 0x34, 0x34}},
      {device_type::network, 6, 1, {ones, ones, ones, 0}},
      {device_type::scsi, 4, 4, {17, 17, 17, 17}},
      {device_type::scsi, 0x1e, 2, {1, 1, 1, 1}},
      {device_type::scsi, 0x1e, 4, {stale, stale, stale, 0}},
      {device_type::scsi, 4, 1, {17, stale, stale, 0}},
      {device_type::scsi, 4, 2, {stale, stale, stale, 0}},
      {device_type::scsi, 0x18, 4, {32, 32, 32, 32}},
  };
  for (const vmd_era era : eras)
    for (const row& one : rows) {
      hand h{era, one.type};
      CAPTURE(h.description.name(), one.type, one.offset, one.width);
      h.out(is_legacy(era) ? 0x04 : 0x08, 4, stale);  // the old content of the guest's register
      h.model.clear_violations();
      const u32 mask = one.width == 4 ? ~0u : (1u << 8 * one.width) - 1;
      const u32 expected = one.by_era[static_cast<usize>(era)];
      CHECK(h.config(one.offset, one.width) == (expected & mask));
      const bool right = expected != stale && expected != ones &&
                         (expected != 0 || (one.offset == 4 && one.type == device_type::block)) &&
                         (one.type != device_type::network || one.width == 1);
      CHECK(h.model.violations().empty() == right);
    }
}

TEST_CASE("vmd: accepted features accumulate until a reset, and are never rejected", "[hosts][vmd][kit]") {
  for (const vmd_era era : {vmd_era::of_2025, vmd_era::of_2026}) {
    hand h{era, device_type::block};
    h.negotiate(0);
    CHECK(h.status() == 0x0b);
    h.out(0x14, 1, 0);
    CHECK(h.status() == 0);
    for (const u32 status : {1u, 3u}) h.out(0x14, 1, status);
    (void)h.in(0x04, 4);
    h.out(0x0c, 4, 1 << 2);
    h.out(0x0c, 4, 0);
    CHECK(h.model.accepted(2));
    h.model.clear_violations();
    h.out(0x14, 1, 0x0b);  // without VERSION_1
    CHECK(h.status() == 0x0b);
    CHECK(contains(h.model.violations().back(), "FEAT-09: VERSION_1 offered and not accepted"));
    h.out(0x14, 1, 0);
    CHECK_FALSE(h.model.accepted(2));
  }
}

TEST_CASE("vmd: a ring that is not in one range of memory ends the machine in 2025, and leaves the queue off in 2026",
          "[hosts][vmd][kit]") {
  struct row {
    const char* what;
    u64 descriptors, driver, device;
    bool well_in_2025, well_in_2026;
  };
  constexpr u64 base = hand::memory_at;
  constexpr row rows[] = {
      {"one block", base, base + 0x800, base + 0x1000, true, true},
      {"at the end of memory", 0xefff'e000, 0xefff'e800, 0xefff'f000, true, true},
      {"beyond memory", 0xf000'0000, 0xf000'0800, 0xf000'1000, false, false},
      {"over the end of memory", 0xefff'f000, 0xefff'f800, 0xf000'0000, false, false},
      {"in the hole below 1 MiB", 0xa'0000, 0xa'0800, 0xa'1000, false, false},
      {"areas in front of the descriptors", base + 0x2000, base + 0x800, base + 0x1000, false, true},
      {"misaligned", base + 8, base + 0x810, base + 0x1000, true, false}};
  for (const vmd_era era : {vmd_era::of_2025, vmd_era::of_2026})
    for (const row& one : rows) {
      hand h{era, device_type::block};
      CAPTURE(h.description.name(), one.what);
      (void)h.machine.memory.memory.add(0xefff'e000, h.memory + 0x10000, 0x2000, device_memory::permission::read_write);
      h.negotiate(0);
      h.out(0x16, 2, 0);
      h.out(0x18, 2, 128);
      h.queue_address(0x20, one.descriptors);
      h.queue_address(0x28, one.driver);
      h.queue_address(0x30, one.device);
      h.out(0x1c, 2, 1);
      const bool well = era == vmd_era::of_2025 ? one.well_in_2025 : one.well_in_2026;
      CHECK(h.model.aborted() == (era == vmd_era::of_2025 && !well));
      CHECK(h.model.at(0).enabled == well);
      if (well && one.descriptors % 16 == 0) CHECK(h.model.violations().empty());
      if (!well) CHECK_FALSE(h.model.violations().empty());
      if (h.model.aborted()) CHECK(h.in(0x14, 1) == 0xff);
    }
}

TEST_CASE("vmd: in 2025 every write of an address is used at once, so a ring beyond 4 GiB is first mapped below",
          "[hosts][vmd][kit]") {
  hand h{vmd_era::of_2025, device_type::block};
  h.negotiate(0);
  h.out(0x16, 2, 0);
  h.out(0x18, 2, 128);
  h.queue_address(0x20, 0x1'0000'0000);
  CHECK_FALSE(h.model.aborted());
  h.out(0x20, 4, 0xf000'1000);
  CHECK_FALSE(h.model.aborted());  // 0x1'f000'1000
  h.out(0x24, 4, 0);
  CHECK(h.model.aborted());
  h.objects_to("abort: the ring of queue 0 with 128 entries at 0xf0001000 is not in memory");
}

TEST_CASE("vmd: accepted queue sizes, and a size is used at once, too", "[hosts][vmd][kit]") {
  for (const vmd_era era : {vmd_era::of_2025, vmd_era::of_2026}) {
    hand h{era, device_type::block};
    h.negotiate(0);
    h.out(0x16, 2, 0);
    h.out(0x18, 2, 0);
    h.objects_to("PCI-17: queue_size 0");
    h.out(0x18, 2, 7);
    h.objects_to("PCI-17: queue_size 7");
    h.out(0x18, 2, 6);
    if (era == vmd_era::of_2026) h.objects_to("PCI-17: queue_size 6");
    CHECK(h.model.violations().empty());
    h.out(0x18, 2, 16);
    h.queue_address(0x20, 0xefff'e000);
    CHECK_FALSE(h.model.aborted());
    h.queue_address(0x20, 0xefff'd000);
    h.out(0x18, 2, 128);
    CHECK_FALSE(h.model.aborted());
  }
  hand h{vmd_era::of_2025, device_type::network};
  h.negotiate(0);
  h.out(0x16, 2, 0);
  h.out(0x18, 2, 16);
  h.queue_address(0x20, 0xefff'e000);  // 8 KiB are enough for 16 entries
  CHECK_FALSE(h.model.aborted());
  h.out(0x18, 2, 256);
  CHECK(h.model.aborted());
}

TEST_CASE("vmd: a doorbell for a queue without a ring ends the process of a device, and is recorded for entropy",
          "[hosts][vmd][kit]") {
  for (const vmd_era era : eras)
    for (const device_type type : {device_type::entropy, device_type::block, device_type::network, device_type::scsi}) {
      hand h{era, type};
      CAPTURE(h.description.name(), type);
      h.negotiate(0);
      h.go();
      (void)h.status();
      h.model.clear_violations();
      h.notify(0);
      CHECK(h.model.aborted() == (era != vmd_era::of_2018 && type != device_type::entropy));
      h.objects_to("notification for queue 0, which is not set up");
      h.out(is_legacy(era) ? 0x12 : 0x14, 1, 0);
      CHECK(h.status() == (h.model.aborted() ? 0xff : 0));
    }
}

TEST_CASE("vmd: entropy uses the entry after the newest one, once per notification, and always interrupts",
          "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    hand h{era, device_type::entropy};
    h.start(0, {0});
    wire::put16(h.memory + 16u * h.size, 1);  // NO_INTERRUPT
    h.offer(0, {{buffers, 32, true}});
    h.notify(0);
    CHECK(h.used() == 1);
    CHECK(h.used_length(0, 0) == 32);
    CHECK(h.memory[buffers] == rng_model::pattern(0));
    CHECK(h.isr() == 1);
    CHECK(h.isr() == 0);
    CHECK(h.machine.objections().empty());
    // Two at once: only the one whose number is after the newest entry is served.
    h.offer(0, {{buffers + 64, 16, true}}, 1);
    h.offer(0, {{buffers + 128, 16, true}}, 2);
    wire::put16(h.memory + 16u * h.size + 4 + 2 * 3, 2);
    h.notify(0);
    CHECK(h.used() == 2);
    CHECK(h.memory[buffers + 64] == 0);
    CHECK(h.memory[buffers + 128] != 0);
  }
}

TEST_CASE("vmd: entropy returns at most 64 KiB at once, and in 2018 a larger request ends the machine",
          "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    hand h{era, device_type::entropy};
    h.start(0, {0});
    h.offer(0, {{buffers, 0x1'0000, true}});
    h.notify(0);
    CHECK(h.used_length(0, 0) == 0x1'0000);
    h.offer(0, {{buffers - 0x8000, 0x1'0001, true}});
    h.notify(0);
    CHECK(h.model.aborted() == (era == vmd_era::of_2018));
    CHECK(contains(h.model.violations().at(0), "rng: a request of 65537 bytes"));
  }
}

namespace {

/// The header of a request to the disk, at the start of the buffers.
void header(hand& h, u32 type, u64 sector = 0) {
  wire::put32(h.memory + buffers, type);
  wire::put32(h.memory + buffers + 4, 0);
  wire::put64(h.memory + buffers + 8, sector);
  h.memory[buffers + 0x100] = 0xee;  // the status
}
constexpr hand::piece first{buffers, 16, false}, last{buffers + 0x100, 1, true}, data{buffers + 0x200, 512, true};

}  // namespace

TEST_CASE("vmd: a disk always reports a length of 16, and supports GET_ID and FLUSH only in 2018",
          "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    hand h{era, device_type::block};
    CAPTURE(h.description.name());
    h.start(0, {0});
    header(h, 0, 3);
    h.offer(0, {first, data, last});
    h.notify(0);
    CHECK(h.memory[buffers + 0x100] == 0);
    CHECK(h.used_length(0, 0) == 16);
    CHECK(h.machine.objections().empty());
    header(h, 8);
    h.offer(0, {first, {buffers + 0x200, 20, true}, last});
    h.notify(0);
    CHECK(h.memory[buffers + 0x100] == 2);
    header(h, 4);
    h.offer(0, {first, last});
    h.notify(0);
    CHECK(h.memory[buffers + 0x100] == (era == vmd_era::of_2018 ? 0 : 2));
    h.objects_to("BLK-01: a flush without the feature");
  }
}

TEST_CASE(
    "vmd: a chain that is not a header, data and a status stops a disk, which requests a reset by its configuration interrupt",
    "[hosts][vmd][kit]") {
  const std::vector<hand::piece> all[] = {
      {{buffers, 16 + 512, false}, last},                          // the data with the header
      {{buffers, 8, false}, {buffers + 8, 8, false}, data, last},  // a header in two descriptors
      {first, {buffers + 0x200, 513, true}},                       // the status with the data
      {first, last}};                                              // a read without data
  for (const vmd_era era : {vmd_era::of_2023, vmd_era::of_2025, vmd_era::of_2026})
    for (const auto& one : all) {
      hand h{era, device_type::block};
      h.start(0, {0});
      header(h, one.begin()->length > 16 ? 1 : 0);
      h.offer(0, one);
      h.notify(0);
      CHECK(h.used() == 0);
      CHECK((h.status() & 0x40) != 0);
      CHECK(h.isr() == 2);
      CHECK(contains(h.model.violations().back(), "blk: a chain that is not a header, data and a status"));
      h.start(0, {0});
      h.next[0] = 0;
      wire::put16(h.memory + 16u * h.size + 2, 0);
      CHECK((h.status() & 0x40) == 0);
    }
}

TEST_CASE("vmd: requests beyond the negotiated features are recorded", "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    CAPTURE(static_cast<int>(era));
    {
      hand h{era, device_type::block};  // an indirect table
      h.start(0, {0});
      h.offer(0, {{buffers, 48, false}});
      wire::put16(h.memory + 12, 4);
      h.notify(0);
      h.objects_to("SPLIT-06: buffer 0: INDIRECT without the feature");
      CHECK(h.used() == 0);
    }
    {
      hand h{era, device_type::block};  // several segments of data without SEG_MAX
      h.start(0, {0});
      header(h, 0);
      h.offer(0, {first, data, {buffers + 0x400, 512, true}, last});
      h.notify(0);
      h.objects_to("blk: 2 segments of data to a device that has stated no SEG_MAX");
    }
    {
      hand h{era, device_type::block};  // discard
      h.start(0, {0});
      header(h, 11);
      h.offer(0, {first, {buffers + 0x200, 16, false}, last});
      h.notify(0);
      CHECK(h.memory[buffers + 0x100] == 2);
      h.objects_to("blk: a request of type 11 without its feature");
    }
    {
      hand h{era, device_type::network};  // a frame with a checksum to compute
      h.start(1 << 5, {0, 1});
      h.memory[buffers] = 1;
      const u32 bytes = is_legacy(era) ? 10 : 12;
      h.offer(1, {{buffers, bytes, false}, {buffers + 0x100, 60, false}});
      h.notify(1);
      h.objects_to("NET-17: flags 0x1 without CSUM");
    }
  }
}

TEST_CASE(
    "vmd: a network card sends after its first notification, then needs none, and counts descriptors; in 2018 it keeps a buffer",
    "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    hand h{era, device_type::network};
    CAPTURE(h.description.name());
    auto& net = static_cast<net_model&>(h.model);
    h.start(1 << 5, {0, 1});
    const u32 bytes = is_legacy(era) ? 10 : 12;
    const bool late = era >= vmd_era::of_2025;
    h.offer(0, {{buffers, bytes, true}, {buffers + 0x100, 1526, true}}, 0);
    net.arrive(std::vector<u8>(60, 0x11));
    CHECK(h.used(0) == (late || era == vmd_era::of_2018 ? 0 : 1));
    CHECK((h.used_flags(0) & 1) == 0);
    h.notify(0);
    CHECK((h.used_flags(0) & 1) == (late ? 1 : 0));
    CHECK(h.used(0) == (era == vmd_era::of_2018 ? 0 : 1));
    h.offer(0, {{buffers + 0x1000, bytes, true}, {buffers + 0x1100, 1526, true}}, 2);
    (void)h.model.serve(0);  // without a notification
    CHECK(h.used(0) == 1);
    if (late) CHECK(wire::get16(h.memory + buffers + 10) == 2);
    net.arrive(std::vector<u8>(60, 0x22));
    CHECK(h.used(0) == (era == vmd_era::of_2018 ? 1 : 2));
    CHECK(h.machine.objections().empty());
    h.start(1 << 5, {0, 1});
    CHECK((h.used_flags(0) & 1) == (late ? 1 : 0));  // old content of the guest's memory
  }
}

TEST_CASE("vmd: a receive buffer without room for a header in its first descriptor stops a network card since 2023",
          "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    hand h{era, device_type::network};
    h.start(1 << 5, {0, 1});
    for (const u16 at : {u16{0}, u16{2}})
      h.offer(0, {{buffers + at * 0x1000u, 8, true}, {buffers + 0x100u + at * 0x1000u, 1600, true}}, at);
    h.notify(0);
    static_cast<net_model&>(h.model).arrive(std::vector<u8>(60));
    CHECK(((h.status() & 0x40) != 0) == (era != vmd_era::of_2018));
    CHECK(h.used(0) == (era == vmd_era::of_2018 ? 1 : 0));
  }
}

TEST_CASE("vmd: with a locked address, frames from another address are accepted but not sent", "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    hand h{era, device_type::network};
    auto& net = static_cast<net_model&>(h.model);
    net.locks_address = true;
    h.start(1 << 5, {0, 1});
    const u32 bytes = is_legacy(era) ? 10 : 12;
    for (const bool own : {false, true}) {
      u8* const frame = h.memory + buffers + 0x100;
      std::fill_n(frame, 60, u8{0x77});
      if (own) std::copy_n(net.config().begin(), 6, frame + 6);
      h.offer(1, {{buffers, bytes, false}, {buffers + 0x100, 60, false}});
      h.notify(1);
      CHECK(h.used(1) == (own ? 2 : 1));
      CHECK(net.sent.size() == (own ? 1 : 0));
    }
    CHECK(h.machine.objections().empty());
  }
}

TEST_CASE("vmd: SCSI has one unit at 0:0, and an unknown command ends without a response", "[hosts][vmd][kit]") {
  for (const vmd_era era : eras) {
    hand h{era, device_type::scsi};
    CAPTURE(h.description.name());
    CHECK(h.model.queue_count() == 3);
    CHECK(h.model.at(2).maximum == 128);
    h.start(0, {0, 1, 2});
    struct row {
      u8 target, lun, operation, response, status;
    };
    constexpr row rows[] = {{0, 0, 0x00, 0, 0},       {1, 0, 0x00, 3, 0}, {0, 1, 0x00, 3, 0},
                            {0, 0, 0x88, 0xee, 0xee}, {0, 0, 0x1a, 0, 2}, {0, 0, 0x12, 0, 0}};
    u16 done = 0;
    for (const row& one : rows) {
      CAPTURE(int{one.operation});
      std::fill_n(h.memory + buffers, 0x1000, u8{0});
      u8* const command = h.memory + buffers;
      command[0] = 1;
      command[1] = one.target;
      command[2] = 0x40;
      command[3] = one.lun;
      command[8] = static_cast<u8>(done);
      command[19] = one.operation;
      command[19 + 1] = one.operation == 0x12 ? 1 : 0;  // of a page
      command[19 + 2] = one.operation == 0x12 ? 0xb0 : one.operation == 0x1a ? 8 : 0;
      command[19 + 4] = 64;
      h.memory[buffers + 0x100 + 10] = h.memory[buffers + 0x100 + 11] = 0xee;
      h.offer(2, {{buffers, 51, false}, {buffers + 0x100, 108, true}, {buffers + 0x200, 64, true}});
      h.notify(2);
      CHECK(h.used(2) == ++done);
      CHECK(h.used_length(2, static_cast<u16>(done - 1)) == 51);
      CHECK(h.memory[buffers + 0x100 + 11] == one.response);
      CHECK(h.memory[buffers + 0x100 + 10] == one.status);
      if (one.operation == 0x12) {  // always a CD drive
        CHECK(h.memory[buffers + 0x200] == 5);
        CHECK(h.memory[buffers + 0x201] == 0x80);
      }
    }
    CHECK(h.machine.objections().empty());
  }
}

TEST_CASE("vmd: in 2026 1.x devices have MSI and MSI-X, whose table is in memory, and vectors read back",
          "[hosts][vmd][kit]") {
  for (const vmd_era era : {vmd_era::of_2025, vmd_era::of_2026}) {
    hand h{era, device_type::network};
    const bool newest = era == vmd_era::of_2026;
    CHECK(h.model.msix_vectors == (newest ? 3 : 0));
    h.negotiate(0);
    h.out(0x16, 2, 0);
    CHECK(h.in(0x1a, 2) == 0xffff);
    h.out(0x1a, 2, 2);
    CHECK(h.in(0x1a, 2) == (newest ? 2 : 0xffff));
    h.out(0x1a, 2, 3);
    CHECK(h.in(0x1a, 2) == 0xffff);
    if (!newest) continue;
    const u32 message = 0xfee0'0000;
    (void)h.f.bar_access(1, 0, 4, &message);
    CHECK(h.f.bar_access(1, 0, 4, nullptr) == message);
    CHECK(h.f.peek(0x5c, 1) == 1);
  }
}

TEST_CASE("hosts: vmd's disk has no serial, and supports requests of many segments, or in 2018 of one segment of 1 MiB",
          "[hosts][vmd][host-size-max]") {
  for (const vmd_era era : eras) {
    auto host = host_description::vmd(era);
    CAPTURE(host.name());
    host.disk->sectors = 8192;
    host_machine<pci_board> m{host};
    auto& model = m.as<blk_model>(device_type::block);
    fill_pattern(model);
    rig::driver<blk::device<rig::platform_type, pci_board::transport, rig::host_queue>> d;
    REQUIRE(d->start(m.platform(), m.where(device_type::block), d.storage()));
    u8 id[blk::id_bytes];
    CHECK(d->get_id(id).error() == errc::unsupported);
    std::vector<u8> all(3 << 20);
    REQUIRE(d->read(5, all));
    CHECK(all == expected(model, 5, all.size()));
    CHECK(model.reads() == (era == vmd_era::of_2018 ? 3 : 1));
    REQUIRE(d->hand_off());
  }
}

namespace {

using profiled_bus = pci::profiled<pci_board::host>;
using profiled_entropy = rig::driver<rng::device<rig::platform_type, pci::transport<profiled_bus>, rig::host_queue>>;

}  // namespace

TEST_CASE("hosts: every version of vmd is detected by its bridge, with its control device; no other host is",
          "[hosts][vmd][host-bridge]") {
  for (const host_description& one : host_description::all()) {
    if (one.is_mmio()) continue;
    CAPTURE(one.name());
    host_machine<pci_board> m{one};
    const auto bus = pci::detected(m.board.bus());
    CHECK(bus.profile == (one.is_vmd() ? &hosts::openbsd_vmd : nullptr));
    const auto control = pci::find(bus, device_type::vmmci);
    CHECK(bool{control} == one.is_vmd());
    if (control) CHECK(control->who.device == 0x0777);
    const auto found = pci::find(bus, device_type::entropy);
    REQUIRE(found);
    profiled_entropy e;
    REQUIRE(e->start(m.platform(), *found, e.storage()));
    u8 seeds[2][64];
    REQUIRE(e->submit(seeds[0]));
    CHECK(e->submit(seeds[1]).error() == (one.is_vmd() ? errc::queue_full : errc::ok));
    REQUIRE(e->drain([](rng::done) {}));
    REQUIRE(e->hand_off());
  }
}

TEST_CASE(
    "hosts: every version of vmd fills one entropy request after another, past the end of its ring, and scattered ones piece by piece",
    "[hosts][rng][vmd][host-entropy-one]") {
  for (const vmd_era era : eras) {
    const auto host = host_description::vmd(era);
    CAPTURE(host.name());
    host_machine<pci_board> m{host};
    const auto found = pci::find(pci::detected(m.board.bus()), device_type::entropy);
    REQUIRE(found);
    profiled_entropy e;
    usize at = 0;
    for (int life = 0; life < 2; ++life) {
      REQUIRE(e->start(m.platform(), *found, e.storage()));
      for (int i = 0; i < 100; ++i) {
        m.memory.largest_piece = i % 2 == 0 ? 4096 : 24;
        std::vector<u8> seed(64);
        REQUIRE(e->fill(seed));
        for (const u8 byte : seed) REQUIRE(byte == rng_model::pattern(at++));
      }
      REQUIRE(e->hand_off());
    }
  }
}
