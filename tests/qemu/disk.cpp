// SPDX-License-Identifier: MIT
// Disks: the checks of the block driver that a cell of the matrix runs in the guest.
#include <virtio/blk/select.hpp>

#include "disk.hpp"

namespace cell {
namespace {

template <class Disk>
void disk() {
  Disk& disk = the_disk<Disk>;
  const location where = find(device_type::block);
  if (!start(disk, where, the_storage<Disk>, "blk_features")) {
    CHECK_ERROR(disk.read(0, buffer(512)), errc::not_started);
    CHECK_ERROR(disk.flush(), errc::not_started);
    return;
  }
  if (boot::option("entries")) CHECK_EQUAL(seen.queue_entries, number("entries"));
  CHECK_EQUAL(disk.is_read_only(), 0u);
  const u64 seed = number("seed");
  check_identity(disk);
  check_wrong_calls(disk);
  check_reads(disk, seed);
  check_engine(disk, seed, number("requests", 1000));
  check_scatter(disk, seed);
  check_mixed(disk, seed);
  check_writes(disk);
}

/// A read-only disk.
void read_only() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  CHECK(disk.is_read_only());
  check_identity(disk);
  check_reads(disk, number("seed"));
  CHECK_ERROR(disk.write(0, buffer(512)), errc::read_only);
  CHECK_ERROR(disk.submit_write(0, buffer(512)), errc::read_only);
  CHECK_OK(disk.flush());
  check_wrong_calls(disk);
}

/// Two disks: discovery does not choose between them, each has its own data, and they work side by side.
void two_disks() {
  using disk_t = blk::device<bench, either, usual_queue>;
  static constinit disk_t second;
  static constinit virtio::dma_storage<disk_t::dma_bytes> second_storage;
  disk_t* const disks[] = {&the_disk<disk_t>, &second};
  auto* const storages = &the_storage<disk_t>;

  CHECK_ERROR(bus::find(machine(), device_type::block), errc::ambiguous);
  CHECK_ERROR(bus::find_nth(machine(), device_type::block, 2), errc::not_found);
  CHECK(start(*disks[0], find(device_type::block, 0), *storages, "blk_features"));
  CHECK(start(*disks[1], find(device_type::block, 1), second_storage, "blk_features"));

  for (u64 n = 0; n < 2; ++n) {
    u8 id[blk::id_bytes];
    CHECK_OK(disks[n]->get_id(id));
    CHECK(is_serial(id, boot::option(n == 0 ? "serial" : "serial2")));
    CHECK_EQUAL(disks[n]->capacity(), number(n == 0 ? "sectors" : "sectors2"));
  }
  const u64 seeds[] = {number("seed"), number("seed2")};
  for (usize round = 0; round < 20; ++round) {
    for (usize n = 0; n < 2; ++n)
      for (usize i = 0; i < 32; ++i) CHECK_OK(disks[n]->submit_read(32 * round + i, pages[32 * n + i], i));
    disks[0]->kick();
    disks[1]->kick();
    for (usize n = 2; n-- != 0;) {
      CHECK_OK(disks[n]->drain([&](const blk::done& one) {
        CHECK_OK(one.status);
        check_pattern(pages[32 * n + one.cookie], 32 * round + one.cookie, seeds[n]);
      }));
    }
  }
  // One stops, the other continues.
  CHECK_OK(disks[0]->hand_off());
  check_reads(*disks[1], seeds[1]);
}

/// The disk with the serial, wherever it is on the bus; the others stay off the bus.
void by_serial() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  auto& storage = the_storage<disk_t>;
  const boot::text serials[] = {boot::option("serial"), boot::option("serial2")};
  const u64 seeds[] = {number("seed"), number("seed2")};
  static constexpr usize order[] = {0, 1, 0};
  for (const usize n : order) {
    CHECK_OK(blk::start_by_serial(disk, machine(), machine(), const_bytes{serials[n].data, serials[n].size}, storage));
    CHECK_EQUAL(disk.capacity(), number(n == 0 ? "sectors" : "sectors2"));
    check_reads(disk, seeds[n]);
    check_mastering(find(device_type::block, n), true);
    if (n != 0) check_mastering(find(device_type::block, 0), false);
    CHECK_OK(disk.hand_off());
  }
  static constexpr const char* strangers[] = {"nobody", "virtio-disk-20-char", "virtio-disk-20-charsX", ""};
  for (const char* const name : strangers) {
    usize size = 0;
    while (name[size] != 0) ++size;
    const errc wanted = size > blk::id_bytes ? errc::ok : errc::not_found;  // a cut serial cannot be distinguished
    CHECK_ERROR(blk::start_by_serial(disk, machine(), machine(), const_bytes{name, size}, storage), wanted);
    if (wanted == errc::ok) continue;
    for (usize n = 0; n < 2; ++n) check_mastering(find(device_type::block, n), false);
  }
}

}  // namespace

bool run_disk(boot::text word) {
  if (word == "disk") {
    const boot::text transport = boot::option("transport");
    if (transport == "modern") disk<blk::device<bench, bus::modern<bench>, usual_queue>>();
    else if (transport == "legacy") disk<blk::device<bench, bus::legacy<bench>, usual_queue>>();
    else with_queue([]<class Q>(queue_choice<Q>) { disk<blk::device<bench, either, Q>>(); });
  } else if (word == "read_only") read_only();
  else if (word == "two_disks") two_disks();
  else if (word == "by_serial") by_serial();
  else return run_disk_requests(word) || run_disk_faults(word) || run_disk_events(word);
  return true;
}

}  // namespace cell
