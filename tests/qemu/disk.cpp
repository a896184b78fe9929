// SPDX-License-Identifier: MIT
// Disks: what a cell of the matrix checks of the block driver from inside the guest.
#include <virtio/blk.hpp>
#include <virtio/blk/select.hpp>

#include "guest.hpp"

namespace cell {
namespace {

namespace blk = virtio::blk;
using either = bus::transport<bench>;

constexpr usize most_bytes = 10u << 20;
constexpr usize odd = 3;  // buffers of a program start anywhere
alignas(4096) u8 memory[most_bytes + 4096];
alignas(4096) u8 pages[256][512];  // one sector for each request that can be in flight

bytes buffer(u64 size) {
  CHECK(size <= most_bytes);
  return {memory + odd, static_cast<usize>(size)};
}

/// The device of a cell: one object and one storage for each type, all of them in .bss.
template <class Disk>
constinit Disk the_disk;
template <class Disk>
constinit virtio::dma_storage<Disk::dma_bytes> the_storage;

/// How many one-sector requests fit the queue at once.
template <class Disk>
usize room(const Disk& disk) {
  const usize entries = static_cast<usize>(virtio::detail::smaller<u64>(seen.queue_entries, number("queue", 256)));
  return disk.features().has(virtio::feature::indirect_desc) ? entries : entries / 3;
}

/// QEMU ends a short serial with NUL and leaves the rest of the buffer alone.
bool is_serial(const u8 (&id)[blk::id_bytes], boot::text serial) {
  for (usize i = 0; i < serial.size; ++i)
    if (id[i] != static_cast<u8>(serial.data[i])) return false;
  return serial.size == blk::id_bytes || id[serial.size] == 0;
}

template <class Disk>
void check_identity(Disk& disk) {
  u8 id[blk::id_bytes];
  fill(id, 0xa5);
  CHECK_OK(disk.get_id(id));
  const boot::text serial = boot::option("serial");
  CHECK(serial);
  CHECK(is_serial(id, serial));
  CHECK_EQUAL(disk.capacity(), number("sectors"));
  CHECK_EQUAL(disk.block_size(), number("block", 512));
  CHECK_EQUAL(disk.in_flight(), 0u);
}

/// Blocking reads: all of it, and stretches of every kind.
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
  CHECK_EQUAL(seen.doorbells, 0u);  // the device has heard of none of it
  CHECK_EQUAL(disk.in_flight(), 0u);
}

/// `total` random sectors, with as many in flight as the queue takes: each cookie comes back once, with its own data.
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
    if (free_count == 0 && sent < total) CHECK_ERROR(disk.submit_read(0, buffer(512)), errc::queue_full);
    disk.kick();
    CHECK_EQUAL(disk.in_flight(), flying);
    result<blk::done> one = disk.wait_next();
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

/// Requests scattered over several buffers, and over too many.
template <class Disk>
void check_scatter(Disk& disk, u64 seed) {
  const u64 first = 5;
  const bytes parts[] = {{memory + 1, 100}, {memory + 1000, 924}};  // a boundary inside a sector is nothing special
  fill(buffer(4096), 0xa5);
  const result<virtio::token> sent = disk.submit_read(first, virtio::scatter<bytes>{parts});
  CHECK_OK(sent);
  CHECK_OK(disk.wait(*sent));
  __builtin_memmove(memory + 101, memory + 1000, 924);
  check_pattern({memory + 1, 1024}, first, seed);
  CHECK(all_are({memory + 1 + 1924, 100}, 0xa5));

  bytes many[40];
  for (usize i = 0; i < 40; ++i) many[i] = {memory + 1024 * i, 512};
  CHECK_ERROR(disk.submit_read(first, virtio::scatter<bytes>{many}), errc::no_space);
  CHECK_EQUAL(disk.in_flight(), 0u);
}

/// Blocking calls between submits: nothing is lost, and what has ended is stale.
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
  CHECK_OK(disk.drain([&](const blk::done& one) {
    CHECK_OK(one.status);
    CHECK(one.cookie < others - 1 && (came >> one.cookie & 1) == 0);
    came |= u32{1} << one.cookie;
    check_pattern(pages[one.cookie], 100 + one.cookie, seed);
  }));
  CHECK_EQUAL(came, (u32{1} << (others - 1)) - 1);
  for (usize i = 0; i < others; ++i) CHECK_ERROR(disk.wait(tokens[i]), errc::stale_handle);
}

/// Writes what the host script looks for afterwards: `write_count` sectors from `write_first` on by one call, and as many
/// again behind them one by one, last first; all with the seed `write_seed`.
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
    CHECK_OK(disk.drain([&](const blk::done& one) {
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

/// A disk that only reads.
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

/// Reset, start again and hand over, each with requests in flight: buffers come back, and the device lets go of them.
void life() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  auto& storage = the_storage<disk_t>;
  const location where = find(device_type::block);
  const u64 seed = number("seed");
  constexpr usize flying = 16;

  CHECK_ERROR(disk.read(0, buffer(512)), errc::not_started);
  CHECK_ERROR(disk.flush(), errc::not_started);
  CHECK_ERROR(disk.submit_read(0, buffer(512)), errc::not_started);
  CHECK_ERROR(disk.reset(), errc::not_started);
  CHECK_ERROR(disk.hand_off(), errc::not_started);

  CHECK(start(disk, where, storage, "blk_features"));
  check_reads(disk, seed);

  // Started again while 16 requests are out: they are forgotten, their tokens are stale.
  virtio::token old[flying];
  for (usize i = 0; i < flying; ++i) {
    const auto sent = disk.submit_read(i, pages[i], i);
    CHECK_OK(sent);
    old[i] = *sent;
  }
  disk.kick();
  CHECK(start(disk, where, storage, "blk_features"));
  CHECK_EQUAL(disk.in_flight(), 0u);
  for (usize i = 0; i < flying; ++i) CHECK_ERROR(disk.wait(old[i]), errc::stale_handle);
  check_engine(disk, seed, 500);

  // Reset: whatever has not completed comes back as canceled, all of it once.
  for (usize i = 0; i < flying; ++i) CHECK_OK(disk.submit_read(i, pages[i], i));
  disk.kick();
  CHECK_OK(disk.submit_read(99, pages[flying], flying));  // staged only: the device never hears of it
  CHECK_OK(disk.reset());
  for (usize i = 0; i <= flying; ++i) __builtin_memset(pages[i], 0xa5, 512);
  u32 came = 0;
  for (usize i = 0; i <= flying; ++i) {
    const auto one = disk.next_completion();
    CHECK_OK(one);
    CHECK(one->status == errc::ok || one->status == errc::canceled);
    CHECK(one->cookie != flying || one->status == errc::canceled);
    CHECK((came >> one->cookie & 1) == 0);
    came |= u32{1} << one->cookie;
  }
  CHECK_EQUAL(came, (u32{1} << (flying + 1)) - 1);
  CHECK_ERROR(disk.next_completion(), errc::not_started);
  CHECK_ERROR(disk.read(0, buffer(512)), errc::not_started);
  idle(100'000);
  for (usize i = 0; i <= flying; ++i) CHECK(all_are(pages[i], 0xa5));

  // Handed over: off the bus, and quiet.
  CHECK(start(disk, where, storage, "blk_features"));
  check_mastering(where, true);
  check_engine(disk, seed, 100);
  CHECK_OK(disk.hand_off());
  check_mastering(where, false);
  CHECK_EQUAL(seen.statuses[seen.status_count - 1], 0u);
  CHECK_ERROR(disk.read(0, buffer(512)), errc::not_started);

  CHECK(start(disk, where, storage, "blk_features"));
  check_mastering(where, true);
  check_identity(disk);
  check_engine(disk, seed, 100);
  check_writes(disk);
}

/// A device that takes longer than the guest waits.
void patience() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  const location where = find(device_type::block);
  const u64 seed = number("seed");
  bench impatient = machine();
  impatient.patience = number("patience");
  for (u32 round = 0; round < 2; ++round) {
    CHECK_OK(disk.start(impatient, where, the_storage<disk_t>));
    for (usize i = 0; i < 4; ++i) CHECK_OK(disk.submit_read(100 * i, pages[i], i));  // apart: QEMU merges neighbours
    const bytes data = buffer(8 * 512);
    const u64 began = boot::timestamp();
    CHECK_ERROR(disk.read(444, data), errc::timed_out);  // behind the others
    boot::print("gave up after ", (boot::timestamp() - began) / 1'000'000, " million cycles\n");
    // The buffer is ours: the device does not touch it any more, nor those of the four others.
    fill(data, 0xa5);
    u32 back = 0;
    for (auto one = disk.next_completion(); one; one = disk.next_completion(), ++back)
      CHECK(one->status == errc::canceled || one->status == errc::ok);
    CHECK_EQUAL(back, 4u);
    for (usize i = 0; i < 4; ++i) __builtin_memset(pages[i], 0xa5, 512);
    idle(300'000);  // a tenth of a second or more: the disk has one of them each
    CHECK(all_are(data, 0xa5));
    for (usize i = 0; i < 4; ++i) CHECK(all_are(pages[i], 0xa5));
    CHECK_ERROR(disk.read(0, buffer(512)), errc::not_started);
    CHECK_ERROR(disk.next_completion(), errc::not_started);
  }

  CHECK(start(disk, where, the_storage<disk_t>, "blk_features"));  // with patience
  CHECK_OK(disk.read(40, buffer(8 * 512)));
  check_pattern(buffer(8 * 512), 40, seed);
}

/// A disk with a bad stretch, `bad_first` to `bad_first + bad_count - 1`, for reads, or for writes and flushes.
void bad_sectors() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  const u64 seed = number("seed"), first = number("bad_first"), count = number("bad_count");
  CHECK(start(disk, find(device_type::block), the_storage<disk_t>, "blk_features"));
  const bytes data = buffer(64 * 512);
  if (boot::option("bad") == "write") {
    fill_pattern(data, first, 77);
    CHECK_ERROR(disk.write(first, data.part(0, 512)), errc::io_error);
    fill_pattern(data, first - 64, seed);
    CHECK_OK(disk.write(first - 64, data));  // the same as is there
    CHECK_OK(disk.flush());
  } else {
    CHECK_ERROR(disk.read(first, data.part(0, 512)), errc::io_error);
    CHECK_ERROR(disk.read(first + count - 1, data), errc::io_error);
    // A large read goes in pieces (the cell scatters memory): those well before the bad one have arrived.
    fill(buffer((first + count + 5000) * 512), 0xa5);
    CHECK_ERROR(disk.read(0, buffer((first + count + 5000) * 512)), errc::io_error);
    check_pattern(buffer((first - 200) * 512), 0, seed);
    CHECK_EQUAL(disk.in_flight(), 0u);
    // One of several in flight.
    for (usize i = 0; i < 8; ++i) CHECK_OK(disk.submit_read(i == 5 ? first : i, pages[i], i));
    u32 failed = 0;
    CHECK_OK(disk.drain([&](const blk::done& one) {
      if (one.status == errc::ok) return check_pattern(pages[one.cookie], one.cookie, seed);
      CHECK_OK(one.cookie == 5 && one.status == errc::io_error ? errc::ok : one.status);
      ++failed;
    }));
    CHECK_EQUAL(failed, 1u);
  }
  CHECK_OK(disk.read(first - 64, data));
  check_pattern(data, first - 64, seed);
  CHECK_OK(disk.read(first + count, data));
  check_pattern(data, first + count, seed);
}

/// A disk whose own blocks are larger than sectors: the sector numbers still count 512 bytes.
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
  CHECK_ERROR(disk.read(1, buffer(512)), errc::io_error);  // QEMU refuses part of a block; the disk lives on
  CHECK_OK(disk.read(3 * sectors, block));
}

/// Two disks: no choice among them is made for the program, each is itself, and they work side by side.
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
  // One stops, the other goes on.
  CHECK_OK(disks[0]->hand_off());
  check_reads(*disks[1], seeds[1]);
}

/// The disk that is meant, wherever it is on the bus; the others are left off it.
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
    const errc wanted = size > blk::id_bytes ? errc::ok : errc::not_found;  // what no host can tell apart is cut
    CHECK_ERROR(blk::start_by_serial(disk, machine(), machine(), const_bytes{name, size}, storage), wanted);
    if (wanted == errc::ok) continue;
    for (usize n = 0; n < 2; ++n) check_mastering(find(device_type::block, n), false);
  }
}

/// A platform that cannot serve ACCESS_PLATFORM refuses such a device by name.
struct refusing : bench {
  static constexpr virtio::access_policy access_platform = virtio::access_policy::refuse;
};

void refuse_access() {
  using disk_t = blk::device<refusing, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  seen.clear();
  CHECK_ERROR(disk.start(refusing{}, find(device_type::block), the_storage<disk_t>), errc::unsupported);
  CHECK(disk.why().why == virtio::verdict::feature_unsupported);
  CHECK_EQUAL(disk.why().feature, static_cast<u8>(virtio::feature::access_platform));
  CHECK_EQUAL(seen.statuses[seen.status_count - 1], 0x83u);  // ACKNOWLEDGE, DRIVER, FAILED
  CHECK_ERROR(disk.read(0, buffer(512)), errc::not_started);

  // A driver that can takes the device over as it was left: with FAILED set.
  using able_t = blk::device<bench, either, usual_queue>;
  CHECK(start(the_disk<able_t>, find(device_type::block), the_storage<able_t>, "blk_features"));
  check_reads(the_disk<able_t>, number("seed"));
}

/// A device whose BAR nobody has given an address is refused, and the verdict names the BAR; with the address back it starts.
template <class Where>
void unassigned(const Where& where) {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  const bool is_legacy = virtio::pci::look(where.host, where.id).seen.via == virtio::transport_kind::pci_legacy;
  const u16 bar = static_cast<u16>(virtio::pci::config::bar0 + (is_legacy ? 0 : 4 * 4));
  const u32 address = where.host.config_read32(where.id, bar);
  where.host.config_write32(where.id, bar, 0);
  const auto blind = virtio::pci::look(where.host, where.id);
  CHECK(blind.seen.why == virtio::verdict::bar_unassigned);
  CHECK_EQUAL(blind.seen.bar, is_legacy ? 0u : 4u);
  CHECK_ERROR(disk.start(machine(), where, the_storage<disk_t>), errc::unsupported);
  CHECK(disk.why().why == virtio::verdict::bar_unassigned);
  CHECK_EQUAL(disk.why().bar, is_legacy ? 0u : 4u);
  where.host.config_write32(where.id, bar, address);
  CHECK(virtio::pci::look(where.host, where.id).seen.why == virtio::verdict::usable);
  CHECK(start(disk, where, the_storage<disk_t>, "blk_features"));
  check_reads(disk, number("seed"));
}

/// The driver for another type of device says so and writes nothing.
void wrong_type() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  seen.clear();
  CHECK_ERROR(disk.start(machine(), find(device_type::entropy), the_storage<disk_t>), errc::wrong_device);
  CHECK(disk.why().why == virtio::verdict::wrong_type);
  CHECK_EQUAL(seen.status_count, 0u);
}

/// Storage that will not do is refused by name, and the same device starts with storage that will.
void bad_storage() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  auto& storage = the_storage<disk_t>;
  const location where = find(device_type::block);
  CHECK_ERROR(disk.start(machine(), where, {storage.memory, disk_t::dma_bytes - 1}), errc::no_space);
  CHECK(disk.why().why == virtio::verdict::storage_unusable);
  CHECK_ERROR(disk.start(machine(), where, {storage.memory + 16, disk_t::dma_bytes}), errc::misaligned);
  CHECK(disk.why().why == virtio::verdict::storage_unusable);
  CHECK(start(disk, where, storage, "blk_features"));
  check_reads(disk, number("seed"));
}

/// With MSI-X on, a legacy device's config starts four bytes later.
template <class Where>
void msix(const Where& where) {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  bool there = false;
  const auto switch_on = [&](u32 bits) {
    virtio::pci::each_capability(where.host, where.id, [&](u16 at, u32 head) {
      if ((head & 0xff) != virtio::pci::capability_id::msix) return true;
      there = true;
      where.host.config_write32(where.id, at, (head & 0x3fff'ffffu) | bits);
      return false;
    });
  };
  switch_on(0xc000'0000);  // enabled, all vectors masked
  CHECK(there);
  CHECK(start(disk, where, the_storage<disk_t>, "blk_features"));
  check_identity(disk);
  check_reads(disk, number("seed"));
  check_engine(disk, number("seed"), 500);
  CHECK_OK(disk.hand_off());
  switch_on(0);
  CHECK(start(disk, where, the_storage<disk_t>, "blk_features"));
  check_identity(disk);
  check_reads(disk, number("seed"));
}

}  // namespace

bool run_disk(boot::text word) {
  if (word == "disk") {
    const boot::text transport = boot::option("transport");
    if (transport == "modern") disk<blk::device<bench, bus::modern<bench>, usual_queue>>();
    else if (transport == "legacy") disk<blk::device<bench, bus::legacy<bench>, usual_queue>>();
    else with_queue([]<class Q>(queue_choice<Q>) { disk<blk::device<bench, either, Q>>(); });
  } else if (word == "read_only") read_only();
  else if (word == "life") life();
  else if (word == "patience") patience();
  else if (word == "bad_sectors") bad_sectors();
  else if (word == "large_blocks") large_blocks();
  else if (word == "two_disks") two_disks();
  else if (word == "refuse_access") refuse_access();
  else if (word == "by_serial") by_serial();
  else if (word == "unassigned") on_pci_only([](const auto& where) { unassigned(where); });
  else if (word == "wrong_type") wrong_type();
  else if (word == "bad_storage") bad_storage();
  else if (word == "msix") on_pci_only([](const auto& where) { msix(where); });
  else return false;
  return true;
}

}  // namespace cell
