// SPDX-License-Identifier: MIT
// Disks that fail, that are slow, that may not be driven, and disks started again: a cell's checks of them.
#include "disk.hpp"

namespace cell {
namespace {

/// Reset, start again and hand over, each with requests in flight: buffers are returned, and the device does not use
/// them any more.
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

  // Started again while 16 requests are in flight: they are forgotten, their tokens are stale.
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

  // Reset: every incomplete request returns once, as canceled.
  for (usize i = 0; i < flying; ++i) CHECK_OK(disk.submit_read(i, pages[i], i));
  disk.kick();
  CHECK_OK(disk.submit_read(99, pages[flying], flying));  // staged only: the device never sees it
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

  // Handed over: off the bus, and quiet. A reset ends all remaining work of a device, so an unnoticed write would show
  // now.
  CHECK(start(disk, where, storage, "blk_features"));
  for (usize i = 0; i <= flying; ++i) CHECK(all_are(pages[i], 0xa5));
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

/// A device that takes longer than the guest waits: it does not answer before the host releases it, which the host does
/// when the guest reports that it has given up.
void patience() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  const location where = find(device_type::block);
  const u64 seed = number("seed");
  bench impatient = machine();
  impatient.patience = number("patience");
  const bytes data = buffer(8 * 512), other = buffer(16 * 512).part(8 * 512, 8 * 512);
  const auto check_untouched = [&] {
    CHECK(all_are(data, 0xa5));
    for (usize i = 0; i < 4; ++i) CHECK(all_are(pages[i], 0xa5));
  };
  for (u32 round = 0; round < 2; ++round) {
    CHECK_OK(disk.start(impatient, where, the_storage<disk_t>));
    if (round != 0) check_untouched();                                               // as in life()
    for (usize i = 0; i < 4; ++i) CHECK_OK(disk.submit_read(100 * i, pages[i], i));  // apart: QEMU merges neighbours
    CHECK_ERROR(disk.read(444, data), errc::timed_out);                              // after the others
    // The buffer is ours: the device does not access it any more, nor those of the four others.
    fill(data, 0xa5);
    u32 back = 0;
    for (auto one = disk.next_completion(); one; one = disk.next_completion(), ++back)
      CHECK(one->status == errc::canceled || one->status == errc::ok);
    CHECK_EQUAL(back, 4u);
    for (usize i = 0; i < 4; ++i) __builtin_memset(pages[i], 0xa5, 512);
    CHECK_ERROR(disk.read(0, buffer(512)), errc::not_started);
    CHECK_ERROR(disk.next_completion(), errc::not_started);
  }

  boot::print("gave up twice\n");
  await_host();
  CHECK(start(disk, where, the_storage<disk_t>, "blk_features"));  // with long waits
  CHECK_OK(disk.read(40, other));
  check_pattern(other, 40, seed);
  check_untouched();
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
    CHECK_OK(disk.write(first - 64, data));  // the same data as on the disk
    CHECK_OK(disk.flush());
  } else {
    CHECK_ERROR(disk.read(first, data.part(0, 512)), errc::io_error);
    CHECK_ERROR(disk.read(first + count - 1, data), errc::io_error);
    // A large read is split (the cell scatters memory): the parts well before the bad one have arrived.
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

/// A platform that cannot serve ACCESS_PLATFORM rejects such a device with its verdict.
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
  CHECK(seen.status_count >= 2);
  CHECK_EQUAL(seen.statuses[seen.status_count - 2], 0x83u);  // ACKNOWLEDGE, DRIVER, FAILED
  CHECK_EQUAL(seen.statuses[seen.status_count - 1], 0u);
  CHECK_ERROR(disk.read(0, buffer(512)), errc::not_started);

  // A driver that supports it takes the device over in this state.
  using able_t = blk::device<bench, either, usual_queue>;
  CHECK(start(the_disk<able_t>, find(device_type::block), the_storage<able_t>, "blk_features"));
  check_reads(the_disk<able_t>, number("seed"));
}

/// A device whose BAR has no address is rejected, and the verdict names the BAR; with the address restored it starts.
template <class Where>
void unassigned(const Where& where) {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  const bool is_legacy = virtio::pci::look(where.host, where.id).seen.via == virtio::transport_kind::pci_legacy;
  const u16 bar = static_cast<u16>(virtio::pci::config::bar0 + (is_legacy ? 0 : 4 * 4));
  const u32 address = where.host.config_read32(where.id, bar);
  where.host.config_write32(where.id, bar, 0);
  // The ports of a transitional device would be usable too.
  const bool has_both = !is_legacy && where.may_be_legacy;
  const u32 ports = where.host.config_read32(where.id, virtio::pci::config::bar0);
  if (has_both) {
    CHECK(virtio::pci::look(where.host, where.id).seen.via == virtio::transport_kind::pci_legacy);
    where.host.config_write32(where.id, virtio::pci::config::bar0, 0);
  }
  const auto blind = virtio::pci::look(where.host, where.id);
  CHECK(blind.seen.why == virtio::verdict::bar_unassigned);
  CHECK_EQUAL(blind.seen.bar, is_legacy ? 0u : 4u);
  CHECK_ERROR(disk.start(machine(), where, the_storage<disk_t>), errc::unsupported);
  CHECK(disk.why().why == virtio::verdict::bar_unassigned);
  CHECK_EQUAL(disk.why().bar, is_legacy ? 0u : 4u);
  where.host.config_write32(where.id, bar, address);
  if (has_both) where.host.config_write32(where.id, virtio::pci::config::bar0, ports);
  CHECK(virtio::pci::look(where.host, where.id).seen.why == virtio::verdict::usable);
  CHECK(start(disk, where, the_storage<disk_t>, "blk_features"));
  check_reads(disk, number("seed"));
}

/// The driver for another device type reports that, and writes nothing.
void wrong_type() {
  using disk_t = blk::device<bench, either, usual_queue>;
  disk_t& disk = the_disk<disk_t>;
  seen.clear();
  CHECK_ERROR(disk.start(machine(), find(device_type::entropy), the_storage<disk_t>), errc::wrong_device);
  CHECK(disk.why().why == virtio::verdict::wrong_type);
  CHECK_EQUAL(seen.status_count, 0u);
}

/// Unusable storage is rejected with its error, and the same device starts with usable storage.
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

/// With MSI-X enabled, a legacy device's configuration starts four bytes later.
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

bool run_disk_faults(boot::text word) {
  if (word == "life") life();
  else if (word == "patience") patience();
  else if (word == "bad_sectors") bad_sectors();
  else if (word == "refuse_access") refuse_access();
  else if (word == "unassigned") on_pci_only([](const auto& where) { unassigned(where); });
  else if (word == "wrong_type") wrong_type();
  else if (word == "bad_storage") bad_storage();
  else if (word == "msix") on_pci_only([](const auto& where) { msix(where); });
  else return false;
  return true;
}

}  // namespace cell
