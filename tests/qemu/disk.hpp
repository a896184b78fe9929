// SPDX-License-Identifier: MIT
// Shared by the cells about disks: buffers, a driver and its storage for each type, and requests that are compared with
// the pattern.
#pragma once

#include <virtio/blk.hpp>

#include "guest.hpp"

namespace cell {

namespace blk = virtio::blk;
using either = bus::transport<bench>;

inline constexpr usize most_bytes = 10u << 20;
inline constexpr usize odd = 3;  // a program's buffers may start anywhere
alignas(4096) inline constinit u8 memory[most_bytes + 4096]{};
alignas(4096) inline constinit u8 pages[256][512]{};  // one sector for each request in flight

inline bytes buffer(u64 size) {
  CHECK(size <= most_bytes);
  return {memory + odd, static_cast<usize>(size)};
}

/// The device of a cell: one object and one storage for each type, all in .bss.
template <class Disk>
inline constinit Disk the_disk;
template <class Disk>
inline constinit virtio::dma_storage<Disk::dma_bytes> the_storage;

/// The number of one-sector requests that fit the queue at once, or that depth=N limits.
template <class Disk>
usize room(const Disk& disk) {
  if constexpr (!requires { disk.features(); }) {  // a unit: as many as its host allows
    return static_cast<usize>(number("depth", number("most_commands", 128)));
  } else {
    usize entries = static_cast<usize>(virtio::detail::smaller<u64>(seen.queue_entries, number("queue", 256)));
    if (disk.features().has(virtio::feature::in_order)) --entries;  // one descriptor stays free
    const usize all = disk.features().has(virtio::feature::indirect_desc) ? entries : entries / 3;
    return virtio::detail::smaller<usize>(all, static_cast<usize>(number("depth", 256)));
  }
}

constexpr u8 untouched = 0xa5;

/// QEMU ends a short serial with NUL and leaves the rest of the buffer unchanged; Alioth leaves all of it unchanged.
inline bool is_serial(const u8 (&id)[blk::id_bytes], boot::text serial) {
  for (usize i = 0; i < serial.size; ++i)
    if (id[i] != static_cast<u8>(serial.data[i])) return false;
  return serial.size == blk::id_bytes || id[serial.size] == 0 || id[serial.size] == untouched;
}

template <class Disk>
void check_identity(Disk& disk) {
  u8 id[blk::id_bytes];
  fill(id, untouched);
  CHECK_OK(disk.get_id(id));
  const boot::text serial = boot::option("serial");
  CHECK(serial);
  CHECK(is_serial(id, serial));
  CHECK_EQUAL(disk.capacity(), number("sectors"));
  CHECK_EQUAL(disk.block_size(), number("block", 512));
  CHECK_EQUAL(disk.in_flight(), 0u);
}

/// Blocking reads: the whole disk, and ranges of every kind.
template <class Disk>
void check_reads(Disk& disk, u64 seed) {
  const u64 capacity = disk.capacity();
  const bytes all = buffer(capacity * 512);
  fill(all, 0xa5);
  CHECK_OK(disk.read(0, all));
  check_pattern(all, 0, seed);

  struct stretch {
    u64 first, count;
  };
  const stretch stretches[] = {{0, 1}, {3, 1}, {17, 1337}, {capacity - 1, 1}, {capacity - 255, 255}, {1, 129}};
  for (const stretch& s : stretches) {
    u8* const before = memory + odd - 1;
    u8* const after = memory + odd + s.count * 512;
    *before = *after = 0x5a;
    const bytes part = buffer(s.count * 512);
    fill(part, 0xa5);
    CHECK_OK(disk.read(s.first, part));
    check_pattern(part, s.first, seed);
    CHECK(*before == 0x5a && *after == 0x5a);
  }
}

/// Reads `total` random sectors, with as many in flight as the queue holds: each cookie returns once, with its own
/// data.
template <class Disk>
void check_engine(Disk& disk, u64 seed, u64 total) {
  static u64 sector_of[256];
  static bool out[256];
  const usize depth = virtio::detail::smaller<usize>(room(disk), 256);
  CHECK(depth != 0);
  fill(virtio::as_bytes(out), 0);
  usize flying = 0;
  u64 sent = 0, ended = 0;
  u16 free_cookies[256];
  for (usize i = 0; i < depth; ++i) free_cookies[i] = static_cast<u16>(i);
  usize free_count = depth;
  seen.clear();
  const u64 start = boot::timestamp();
  while (ended < total) {
    while (free_count != 0 && sent < total) {
      const u16 cookie = free_cookies[--free_count];
      sector_of[cookie] = random() % disk.capacity();
      __builtin_memset(pages[cookie], 0xa5, 512);
      CHECK_OK(disk.submit_read(sector_of[cookie], pages[cookie], cookie));
      out[cookie] = true;
      ++flying;
      ++sent;
    }
    if (free_count == 0 && sent < total && number("depth") == 0)
      CHECK_ERROR(disk.submit_read(0, buffer(512)), errc::queue_full);
    disk.kick();
    CHECK_EQUAL(disk.in_flight(), flying);
    auto one = disk.wait_next();
    while (one) {
      CHECK_OK(one->status);
      CHECK(one->cookie < depth && out[one->cookie]);
      out[one->cookie] = false;
      check_pattern(pages[one->cookie], sector_of[one->cookie], seed);
      free_cookies[free_count++] = static_cast<u16>(one->cookie);
      --flying;
      ++ended;
      one = disk.next_completion();
    }
    CHECK_ERROR(one, errc::not_ready);
  }
  CHECK_EQUAL(flying, 0u);
  CHECK_EQUAL(disk.in_flight(), 0u);
  boot::print("engine: ", total, " reads, ", depth, " in flight, ", seen.doorbells, " doorbells, ",
              (boot::timestamp() - start) / total, " cycles each\n");
}

/// Writes what the host script checks afterwards: `write_count` sectors from `write_first` on by one call, and as many
/// after them one by one, last first; all with the seed `write_seed`.
template <class Disk>
void check_writes(Disk& disk) {
  const u64 first = number("write_first"), count = number("write_count"), seed = number("write_seed");
  if (count == 0) return;
  const bytes data = buffer(count * 512);
  fill_pattern(data, first, seed);
  CHECK_OK(disk.write(first, data));
  CHECK_OK(disk.flush());

  const usize depth = virtio::detail::smaller<usize>(room(disk), 256);
  u64 left = count;
  while (left != 0) {
    usize staged = 0;
    for (; staged < depth && left != 0; ++staged) {
      const u64 sector = first + count + --left;
      fill_pattern(pages[staged], sector, seed);
      CHECK_OK(disk.submit_write(sector, pages[staged], sector));
    }
    disk.kick();
    CHECK_OK(disk.drain([&](const auto& one) {
      CHECK_OK(one.status);
      --staged;
    }));
    CHECK_EQUAL(staged, 0u);
  }
  CHECK_OK(disk.flush());

  fill(buffer(2 * count * 512), 0xa5);
  CHECK_OK(disk.read(first, buffer(2 * count * 512)));
  check_pattern(buffer(2 * count * 512), first, seed);
}

template <class Disk>
void check_wrong_calls(Disk& disk) {
  const u64 capacity = disk.capacity();
  seen.clear();
  CHECK_ERROR(disk.read(0, buffer(511)), errc::misaligned);
  CHECK_ERROR(disk.read(capacity, buffer(512)), errc::out_of_range);
  CHECK_ERROR(disk.read(capacity - 1, buffer(1024)), errc::out_of_range);
  CHECK_ERROR(disk.read(~u64{0}, buffer(512)), errc::out_of_range);
  CHECK_ERROR(disk.submit_read(capacity, buffer(512)), errc::out_of_range);
  CHECK_ERROR(disk.submit_read(0, buffer(513)), errc::misaligned);
  CHECK_ERROR(disk.submit_read(0, bytes{}), errc::invalid_argument);
  const errc refusal = disk.is_read_only() ? errc::read_only : errc::out_of_range;
  CHECK_ERROR(disk.write(capacity, buffer(512)), refusal);
  CHECK_ERROR(disk.submit_write(capacity, buffer(512)), refusal);
  CHECK_OK(disk.read(0, bytes{}));
  CHECK_ERROR(disk.next_completion(), errc::not_ready);
  CHECK_ERROR(disk.wait_next(), errc::not_ready);
  CHECK_EQUAL(seen.doorbells, 0u);  // the device has received no doorbell
  CHECK_EQUAL(disk.in_flight(), 0u);
}

/// Requests scattered over several buffers, and over too many.
template <class Disk>
void check_scatter(Disk& disk, u64 seed) {
  const u64 first = 5;
  const bytes parts[] = {{memory + 1, 100}, {memory + 1000, 924}};  // a boundary inside a sector is allowed
  fill(buffer(4096), 0xa5);
  const result<virtio::token> sent = disk.submit_read(first, virtio::scatter<bytes>{parts});
  if (disk.most_pieces() == 1) {  // a disk that does not report its number of segments
    CHECK_ERROR(sent, errc::too_many_pieces);
    CHECK_OK(disk.read(first, {memory + 1, 1024}));
    return check_pattern({memory + 1, 1024}, first, seed);
  }
  CHECK_OK(sent);
  CHECK_OK(disk.wait(*sent));
  __builtin_memmove(memory + 101, memory + 1000, 924);
  check_pattern({memory + 1, 1024}, first, seed);
  CHECK(all_are({memory + 1 + 1924, 100}, 0xa5));

  bytes many[40];
  for (usize i = 0; i < 40; ++i) many[i] = {memory + 1024 * i, 512};
  CHECK_ERROR(disk.submit_read(first, virtio::scatter<bytes>{many}), errc::too_many_pieces);
  CHECK_EQUAL(disk.in_flight(), 0u);
}

/// Blocking calls between submits: no request is lost, and tokens of ended requests are stale.
template <class Disk>
void check_mixed(Disk& disk, u64 seed) {
  const usize others = virtio::detail::smaller<usize>(room(disk) - 1, 8);
  if (others == 0) return;
  virtio::token tokens[8];
  for (usize i = 0; i < others; ++i) {
    const auto sent = disk.submit_read(100 + i, pages[i], i);
    CHECK_OK(sent);
    tokens[i] = *sent;
  }
  const bytes own = buffer(512);
  CHECK_OK(disk.read(7, own));
  check_pattern(own, 7, seed);
  CHECK_OK(disk.wait(tokens[others - 1]));
  check_pattern(pages[others - 1], 100 + others - 1, seed);
  CHECK_ERROR(disk.wait(tokens[others - 1]), errc::stale_handle);
  u32 came = 0;
  CHECK_OK(disk.drain([&](const auto& one) {
    CHECK_OK(one.status);
    CHECK(one.cookie < others - 1 && (came >> one.cookie & 1) == 0);
    came |= u32{1} << one.cookie;
    check_pattern(pages[one.cookie], 100 + one.cookie, seed);
  }));
  CHECK_EQUAL(came, (u32{1} << (others - 1)) - 1);
  for (usize i = 0; i < others; ++i) CHECK_ERROR(disk.wait(tokens[i]), errc::stale_handle);
}

// Parts of disk.cpp in other files; each runs one word of `run=`, and returns false for an unknown word.
bool run_disk_requests(boot::text word);
bool run_disk_faults(boot::text word);
bool run_disk_events(boot::text word);

}  // namespace cell
