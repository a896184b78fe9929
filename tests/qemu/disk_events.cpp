// SPDX-License-Identifier: MIT
// Disks with external events while they work: resized, stopped with the whole machine, interrupted by its reset,
// failing once. The cell's script plays the host's part.
#include "disk.hpp"

namespace cell {
namespace {

using disk_t = blk::device<bench, either, usual_queue>;

// Sectors below this are only read.
constexpr u64 read_only_below = 1000;

/// Reads random sectors, as many as the queue holds, until the host has made the disk `wanted` sectors long.
void read_until_resized(disk_t& disk, u64 wanted) {
  static u64 sector_of[64];
  for (u32 round = 0; round < 1'000'000; ++round) {
    for (usize i = 0; i < 64; ++i) {
      sector_of[i] = random() % read_only_below;
      CHECK_OK(disk.submit_read(sector_of[i], pages[i], i));
    }
    CHECK_OK(disk.drain([&](const blk::done& one) {
      CHECK_OK(one.status);
      check_pattern(pages[one.cookie], sector_of[one.cookie], number("seed"));
    }));
    if (!disk.acknowledge_interrupt().config) continue;
    CHECK_OK(disk.refresh());
    if (disk.capacity() != wanted) continue;
    boot::print("resized to ", wanted, " in round ", round, "\n");
    return;
  }
  fail_at(__FILE_NAME__, __LINE__, "the disk was never resized");
}

/// The disk grows: the new sectors are empty and can be written. It shrinks: the removed sectors return an error.
void resize() {
  disk_t& disk = the_disk<disk_t>;
  const u64 before = number("sectors"), grown = number("grown"), shrunk = number("shrunk"), seed = number("seed");
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  CHECK_ERROR(disk.read(before, buffer(512)), errc::out_of_range);
  boot::print("reading\n");
  read_until_resized(disk, grown);
  const bytes fresh = buffer((grown - before) * 512);
  fill(fresh, 0xa5);
  CHECK_OK(disk.read(before, fresh));
  CHECK(all_are(fresh, 0));
  fill_pattern(fresh, before, seed);
  CHECK_OK(disk.write(before, fresh));
  CHECK_OK(disk.flush());
  boot::print("reading more\n");
  read_until_resized(disk, shrunk);
  seen.clear();
  CHECK_ERROR(disk.read(shrunk, buffer(512)), errc::out_of_range);
  CHECK_ERROR(disk.write(shrunk - 1, buffer(1024)), errc::out_of_range);
  CHECK_EQUAL(seen.doorbells, 0u);
  CHECK_OK(disk.read(shrunk - 1, buffer(512)));
  check_pattern(buffer(512), shrunk - 1, seed);
  check_reads(disk, seed);
}

/// One batch of reads and writes. With a held disk it is announced on the console while most of it is in flight, until
/// the host releases it.
enum class pace : u8 { free, held };
void transfer(disk_t& disk, u32 round, u64 first, pace how) {
  static constexpr usize count = 128;
  const u64 seed = number("seed"), write_seed = number("write_seed");
  for (usize i = 0; i < count; ++i) {
    const u64 sector = first + i / 2;
    if (i % 2 == 0) {
      fill(pages[i], 0xa5);
      CHECK_OK(disk.submit_read(i, pages[i], i));
    } else {
      fill_pattern(pages[i], sector, write_seed);
      CHECK_OK(disk.submit_write(sector, pages[i], i));
    }
  }
  usize ended = 0;
  const auto take = [&](const blk::done& one) {
    CHECK_OK(one.status);
    if (one.cookie % 2 == 0) check_pattern(pages[one.cookie], one.cookie, seed);
    ++ended;
  };
  disk.kick();
  if (how == pace::held) {
    (void)disk.poll(take);
    CHECK(ended < count / 2);
    boot::print("transferring ", round, "\n");
  }
  CHECK_OK(disk.drain(take));
  CHECK_EQUAL(ended, count);
}

/// The machine is stopped in the first rounds, which ends a held disk's requests, and continues: no request is lost.
void stopped() {
  disk_t& disk = the_disk<disk_t>;
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  for (u32 round = 0; round < number("rounds"); ++round)
    transfer(disk, round, number("write_first"), round < number("stops") ? pace::held : pace::free);
  check_writes(disk);
}

/// The machine is reset in mid-transfer, and the guest starts again with a disk that was at work. Only the disk can
/// record what the guest did before: its last sector is the record.
void reset_midway() {
  disk_t& disk = the_disk<disk_t>;
  const u64 seed = number("seed"), notebook = number("sectors") - 1;
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  const bytes note = buffer(512);
  CHECK_OK(disk.read(notebook, note));
  if (!all_are(note, 0x5a)) {
    check_pattern(note, notebook, seed);
    fill(note, 0x5a);
    CHECK_OK(disk.write(notebook, note));
    CHECK_OK(disk.flush());
    for (u32 round = 0; round < 2; ++round) transfer(disk, round, number("write_first"), pace::free);
    boot::print("hold it\n");
    await_host();
    for (u32 round = 2; round < 5; ++round) transfer(disk, round, number("write_first"), pace::held);
    fail_at(__FILE_NAME__, __LINE__, "the machine was never reset");
  }
  boot::print("second life\n");
  fill_pattern(note, notebook, seed);
  CHECK_OK(disk.write(notebook, note));
  for (u32 round = 0; round < 2; ++round) transfer(disk, round, number("write_first"), pace::free);
  check_writes(disk);
}

/// One request fails, once; its repetition succeeds, and the disk works as before.
void recovers() {
  disk_t& disk = the_disk<disk_t>;
  const boot::text bad = boot::option("bad");
  const u64 seed = number("seed");
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  const bytes data = buffer(8 * 512);
  fill_pattern(data, 40, seed);  // the same data as on the disk
  static constexpr errc outcomes[] = {errc::io_error, errc::ok, errc::ok};
  for (const errc wanted : outcomes) {
    if (bad == "read") CHECK_ERROR(disk.read(40, data), wanted);
    else if (bad == "write") CHECK_ERROR(disk.write(40, data), wanted);
    else CHECK_ERROR(disk.write(40, data).and_then([&] { return disk.flush(); }), wanted);
  }
  check_pattern(data, 40, seed);
  check_reads(disk, seed);
  check_engine(disk, seed, 500);
  check_writes(disk);
}

}  // namespace

bool run_disk_events(boot::text word) {
  if (word == "resize") resize();
  else if (word == "stopped") stopped();
  else if (word == "reset_midway") reset_midway();
  else if (word == "recovers") recovers();
  else return false;
  return true;
}

}  // namespace cell
