// SPDX-License-Identifier: MIT
// Requests besides reading and writing sectors, and disks with larger blocks: a cell's checks of them.
#include "disk.hpp"

namespace cell {
namespace {

/// A disk whose blocks are larger than sectors: sector numbers still count 512 bytes.
void large_blocks() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  CHECK_EQUAL(disk.block_size(), number("block"));
  CHECK_EQUAL(disk.capacity(), number("sectors"));
  const u64 sectors = disk.block_size() / 512;
  const bytes all = buffer(disk.capacity() / sectors * sectors * 512);
  CHECK_OK(disk.read(0, all));
  check_pattern(all, 0, number("seed"));
  const bytes block = buffer(disk.block_size());
  CHECK_OK(disk.read(3 * sectors, block));
  check_pattern(block, 3 * sectors, number("seed"));
  // QEMU would answer with an I/O error: the driver reports the reason, and sends no request.
  seen.clear();
  CHECK_ERROR(disk.read(1, buffer(512)), errc::misaligned);
  CHECK_ERROR(disk.read(1, block), errc::misaligned);
  CHECK_ERROR(disk.write(0, buffer(512)), errc::misaligned);
  CHECK_ERROR(disk.submit_read(4, block), errc::misaligned);
  CHECK_EQUAL(seen.doorbells, 0u);
  CHECK_OK(disk.read(3 * sectors, block));
}

struct stretch {
  u64 first, count;
};

/// `what` on the command line: what=FIRST what_count=COUNT.
stretch told(const char* first, const char* count) { return {number(first), number(count)}; }

/// The range reads as zeroes, and the adjacent sectors are unchanged.
template <class Disk>
void check_zeroes(Disk& disk, const stretch& where, u64 block) {
  const bytes data = buffer((where.count + 2 * block) * 512);
  fill(data, 0xa5);
  CHECK_OK(disk.read(where.first - block, data));
  const usize edge = static_cast<usize>(block) * 512, inside = data.size() - 2 * edge;
  check_pattern(data.part(0, edge), where.first - block, number("seed"));
  CHECK(all_are(data.part(edge, inside), 0));
  check_pattern(data.part(edge + inside, edge), where.first + where.count, number("seed"));
}

/// Discards and zeroes what the host checks in the image: by blocking calls, which the device's limits split, and by
/// many small requests at once.
void extents() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  const u64 block = disk.block_size() / 512, end = disk.capacity();
  const stretch zeroed = told("zero", "zero_count"), unmapped = told("unmap", "unmap_count"),
                dropped = told("drop", "drop_count"), single = told("single", "single_count");
  static constexpr blk::operation offered[] = {blk::operation::discard, blk::operation::write_zeroes};
  for (const blk::operation what : offered) {
    const auto most = disk.limits_of(what);
    CHECK_OK(most);
    boot::print("limits: ", most->sectors, " sectors, ", most->extents, " extents, alignment ", most->alignment, "\n");
    if (boot::option("max_sectors")) CHECK_EQUAL(most->sectors, number("max_sectors"));
  }

  const u32 before = seen.doorbells;
  CHECK_OK(disk.write_zeroes(zeroed.first, zeroed.count));
  const u64 each = number("max_sectors", zeroed.count);  // QEMU rejects more; and not split into more than necessary
  CHECK(seen.doorbells - before <= (zeroed.count + each - 1) / each);
  CHECK_OK(disk.write_zeroes(unmapped.first, unmapped.count, blk::unmap::allowed));
  CHECK_OK(disk.discard(dropped.first, dropped.count));
  // Every other block of the range, as many requests at once as the queue holds.
  u64 left = single.count;
  while (left != 0) {
    const auto sent =
        disk.submit_write_zeroes(blk::extent{single.first + 2 * block * (left - 1), block}, blk::unmap::no, left);
    if (sent) --left;
    else CHECK_ERROR(sent, errc::queue_full);
    if (left == 0 || !sent) CHECK_OK(disk.drain([](const blk::done& one) { CHECK_OK(one.status); }));
  }
  CHECK_OK(disk.flush());
  check_zeroes(disk, zeroed, block);
  check_zeroes(disk, unmapped, block);
  for (u64 i = 0; i < single.count; ++i) check_zeroes(disk, {single.first + 2 * block * i, block}, block);

  seen.clear();
  CHECK_ERROR(disk.discard(end, block), errc::out_of_range);
  CHECK_ERROR(disk.write_zeroes(0, end + block), errc::out_of_range);
  CHECK_ERROR(disk.submit_discard(blk::extent{0, 0}), errc::invalid_argument);
  if (block != 1) CHECK_ERROR(disk.discard(1, block), errc::misaligned);
  CHECK_ERROR(disk.secure_erase(0, block), errc::unsupported);  // no QEMU offers it
  CHECK_EQUAL(seen.doorbells, 0u);
}

/// A disk that can neither discard nor write zeroes.
void no_extents() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  seen.clear();
  CHECK_ERROR(disk.discard(0, 8), errc::unsupported);
  CHECK_ERROR(disk.write_zeroes(0, 8), errc::unsupported);
  CHECK_ERROR(disk.submit_discard(blk::extent{0, 8}), errc::unsupported);
  CHECK_EQUAL(seen.doorbells, 0u);
  check_reads(disk, number("seed"));
}

/// One call for the maximum of a request: `size` bytes from the disk's start, to and from the memory at `at`, which is
/// outside this program. With `seed`, the sectors on either side of each GiB, and the last one, have its pattern; all
/// others are zero.
void vast() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  const u64 size = number("size"), gib = u64{1} << 30;
  CHECK(size <= ~usize{0});
  const bytes all{reinterpret_cast<u8*>(static_cast<uptr>(number("at"))), static_cast<usize>(size)};
  if (!boot::option("marked")) {
    seen.clear();
    CHECK_OK(disk.read(0, all));
    CHECK_OK(disk.write(8, const_bytes{all.data(), all.size()}));
    CHECK(seen.doorbells <= 2 * (size / gib + 1));
    return;
  }
  for (u64 at = 0; at < size; at += gib) {
    fill(all.part(static_cast<usize>(at), 1024), 0xa5);
    fill(all.part(static_cast<usize>(at + gib - 1024), 1024), 0xa5);
  }
  CHECK_OK(disk.read(0, all));
  for (u64 at = 0; at < size; at += gib) {
    check_pattern(all.part(static_cast<usize>(at), 512), at / 512, number("seed"));
    check_pattern(all.part(static_cast<usize>(at + gib - 512), 512), (at + gib) / 512 - 1, number("seed"));
    CHECK(all_are(all.part(static_cast<usize>(at + 512), 512), 0));
    CHECK(all_are(all.part(static_cast<usize>(at + gib - 1024), 512), 0));
  }
}

/// The placement of its blocks, in sectors.
void topology() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  CHECK_ERROR(disk.get_topology(), errc::not_started);
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  const auto said = disk.get_topology();
  CHECK_OK(said);
  CHECK_EQUAL(disk.block_size(), number("block"));
  CHECK_EQUAL(said->physical_block, number("physical"));
  CHECK_EQUAL(said->first_aligned, 0u);
  CHECK_EQUAL(said->smallest_io, number("smallest"));
  CHECK_EQUAL(said->best_io, number("best"));
  CHECK_ERROR(disk.get_lifetime(), errc::unsupported);  // no QEMU reports wear
}

/// The switch of the write cache. With the cache off a flush sends no request.
void cache() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  CHECK(disk.has_write_cache());  // not read: assumed to be on if it can be switched
  const auto mode = [] {
    either registers{};
    virtio::report why;
    CHECK_OK(registers.open(find(device_type::block), why));
    const auto said = virtio::read_field(registers, blk::config::writeback);
    CHECK_OK(said);
    return *said;
  };
  CHECK_EQUAL(mode(), number("cached"));
  CHECK_OK(disk.set_write_cache(blk::cache_mode::writethrough));
  CHECK_EQUAL(mode(), 0u);
  CHECK(!disk.has_write_cache());
  seen.clear();
  CHECK_OK(disk.flush());
  CHECK_EQUAL(seen.doorbells, 0u);
  check_writes(disk);
  CHECK_OK(disk.set_write_cache(blk::cache_mode::writeback));
  CHECK_EQUAL(mode(), 1u);
  CHECK(disk.has_write_cache());
  check_writes(disk);
}

/// Requests of every kind at the full depth of the queue, `total` of them: each cookie returns once, in any order.
void mixed() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  enum kind : u8 { none, read, write, flush, get_id, zero, drop };
  static kind flying[256];
  static u8 ids[256][blk::id_bytes];
  static u64 sector_of[256];
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  const u64 seed = number("seed"), total = number("requests"), write_seed = number("write_seed");
  const stretch written = {number("write_first"), 2 * number("write_count")}, dropped = told("drop", "drop_count");
  const usize depth = seen.queue_entries, sure_of = room(disk);  // one slot each; and this many fit in any case
  u64 sent = 0, ended = 0, early = 0, of_kind[7] = {}, filled = 0, most = 0;
  while (ended < total) {
    usize free = 0;
    while (sent < total) {
      while (free < depth && flying[free] != none) ++free;
      const kind what = static_cast<kind>(read + random() % 6);
      const usize slot = free < depth ? free : 0;
      u64& sector = sector_of[slot];
      u8* const id = ids[slot];
      result<virtio::token> sure = errc::queue_full;
      if (free == depth) {
        sure = disk.submit_flush();
      } else if (what == read) {
        sector = random() % written.first;
        fill(pages[slot], 0xa5);
        sure = disk.submit_read(sector, pages[slot], slot);
      } else if (what == write) {
        sector = written.first + random() % written.count;
        fill_pattern(pages[slot], sector, write_seed);
        sure = disk.submit_write(sector, pages[slot], slot);
      } else if (what == flush) {
        sure = disk.submit_flush(slot);
      } else if (what == get_id) {
        sure = disk.submit_get_id(*reinterpret_cast<u8(*)[blk::id_bytes]>(id), slot);
      } else {
        const blk::extent one{dropped.first + random() % (dropped.count - 8), 8};
        sure = what == zero ? disk.submit_write_zeroes(one, blk::unmap::no, slot) : disk.submit_discard(one, slot);
      }
      if (!sure) {
        CHECK_ERROR(sure, errc::queue_full);
        CHECK(sent - ended >= sure_of);  // and not earlier
        ++filled;
        break;
      }
      flying[slot] = what;
      ++of_kind[what];
      ++sent;
    }
    disk.kick();
    CHECK_EQUAL(disk.in_flight(), sent - ended);
    most = sent - ended > most ? sent - ended : most;
    u64 last = 0;
    result<blk::done> one = disk.wait_next();
    for (; one; one = disk.next_completion(), ++ended) {
      CHECK_OK(one->status);
      const usize slot = static_cast<usize>(one->cookie);
      CHECK(slot < depth && flying[slot] != none);
      if (flying[slot] == read) check_pattern(pages[slot], sector_of[slot], seed);
      if (flying[slot] == get_id)
        CHECK(is_serial(*reinterpret_cast<u8(*)[blk::id_bytes]>(ids[slot]), boot::option("serial")));
      flying[slot] = none;
      early += slot < last;
      last = slot;
    }
    CHECK_ERROR(one, errc::not_ready);
  }
  CHECK(filled != 0);
  for (u32 what = read; what <= drop; ++what) CHECK(of_kind[what] != 0);
  boot::print("mixed: ", total, " requests, up to ", most, " in flight, full ", filled, " times, ", early,
              " out of order\n");
  CHECK_OK(disk.write_zeroes(dropped.first, dropped.count));  // discarded sectors may contain anything
  check_writes(disk);
}

}  // namespace

bool run_disk_requests(boot::text word) {
  if (word == "large_blocks") large_blocks();
  else if (word == "extents") extents();
  else if (word == "no_extents") no_extents();
  else if (word == "topology") topology();
  else if (word == "vast") vast();
  else if (word == "cache") cache();
  else if (word == "mixed") mixed();
  else return false;
  return true;
}

}  // namespace cell
