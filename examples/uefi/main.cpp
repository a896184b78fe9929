// SPDX-License-Identifier: MIT
// A program for UEFI: it reads the beginning of every virtio disk, and entropy from every entropy source, by the
// library's drivers. It disconnects the firmware's driver of each device first, and connects it again afterwards. The
// firmware's driver must read the same data before and after. Exit status: the number of devices that failed.
#include <virtio/blk.hpp>
#include <virtio/rng.hpp>
#include <virtio/scsi.hpp>

#include "device.hpp"
#include "fail.hpp"
#include "runtime.hpp"

namespace {

using boot::print;
using transport = virtio::pci::transport<uefi::host>;
using found = virtio::pci::found<uefi::host>;

constexpr virtio::usize bytes = 65536;
alignas(4096) constinit virtio::u8 ours[bytes], before[bytes], after[bytes];

/// Reads the first sectors of a disk by the firmware's driver, whose block I/O is on the handle of the function.
bool read_by_firmware(efi::handle handle, virtio::u8* to) {
  auto* const disk = uefi::interface_of<efi::block_io>(handle);
  return disk != nullptr && !efi::failed(disk->read(disk, disk->media->media, 0, bytes, to));
}

constexpr int kept = -1;  // the device does not reset, and still has storage and buffers

int fail(const char* what, virtio::errc why) {
  print("  ", what, ": ", virtio::describe(why), "\n");
  return 1;
}
/// The same for a start. Returns `kept` if the device did not reset and keeps the storage.
int fail(const char* what, virtio::errc why, const virtio::report& seen) {
  fail(what, why);
  print("  ", virtio::describe(seen.why), "\n");
  return why == virtio::errc::device_broken ? kept : 1;
}

void report(virtio::u64 sectors, const virtio::report& up) {
  virtio::u32 sum = 0;
  for (const virtio::u8 one : ours) sum = sum * 31 + one;
  print("  ", sectors, " sectors, ", virtio::name(up.via), ", sum ", sum, "\n");
}

/// Ends a driver. Returns 0 or `kept`.
template <class Driver>
int end(Driver& driver) {
  const auto gone = driver.hand_off();
  if (!gone) fail("hand off", gone.error());
  return gone.error() == virtio::errc::device_broken ? kept : 0;
}

/// Runs `use(platform, storage)` with a device, then returns it to the firmware, unless the result is `kept`.
template <virtio::usize Bytes, class Use>
int with(const found& where, Use&& use) {
  static uefi::dma_storage<Bytes> storage;
  uefi::device device;
  if (const auto ready = device.claim(where.id); !ready) return fail("claim", ready.error());
  const int failed = use(device.platform(), storage);
  if (failed == kept) return 1;
  device.release();
  storage.free();
  return failed;
}

int read_disk(const found& where) {
  using disk_t = virtio::blk::device<uefi::platform, transport, virtio::queue<256>>;
  const bool was_driven = read_by_firmware(where.id.handle, before);
  const int failed = with<disk_t::dma_bytes>(where, [&](const uefi::platform& platform, virtio::dma_region storage) {
    static disk_t disk;
    const auto up = disk.start(platform, where, storage);
    if (!up) return fail("start", up.error(), disk.why());
    const bool is_shared = read_by_firmware(where.id.handle, after);
    const auto r = is_shared ? virtio::result<void>{virtio::errc::busy} : disk.read(0, ours);
    if (r) report(disk.capacity(), disk.why());
    if (end(disk) == kept) return kept;
    return r ? 0 : fail(is_shared ? "the firmware still drives it" : "read", r.error());
  });
  if (failed != 0) return failed;
  const bool is_driven = read_by_firmware(where.id.handle, after);
  print("  the firmware's driver ", was_driven ? "was there" : "was not there");
  print(is_driven ? " and is there\n" : " and is not there\n");
  const bool same = __builtin_memcmp(ours, before, bytes) == 0 && __builtin_memcmp(ours, after, bytes) == 0;
  return is_driven == was_driven && (same || !was_driven) ? 0 : fail("compare", virtio::errc::io_error);
}

int read_units(const found& where) {
  using host_t = virtio::scsi::device<uefi::platform, transport, virtio::queue<256>>;
  return with<host_t::dma_bytes>(where, [&](const uefi::platform& platform, virtio::dma_region storage) {
    static host_t host;
    static virtio::scsi::unit<host_t> unit;
    const auto up = host.start(platform, where, storage);
    if (!up) return fail("start", up.error(), host.why());
    virtio::scsi::found disk{};
    const auto scanned = host.scan([&](const virtio::scsi::found& one) { disk = one; });
    auto r = scanned.and_then([&](auto) { return unit.open(host, disk.where); });
    if (r) r = unit.read(0, ours);
    if (r) report(unit.capacity(), host.why());
    if (end(host) == kept) return kept;
    return r ? 0 : fail("read", r.error());
  });
}

int draw_entropy(const found& where) {
  using source_t = virtio::rng::device<uefi::platform, transport, virtio::queue<8>>;
  return with<source_t::dma_bytes>(where, [&](const uefi::platform& platform, virtio::dma_region storage) {
    static source_t source;
    virtio::u8 random[16]{};
    const auto up = source.start(platform, where, storage);
    if (!up) return fail("start", up.error(), source.why());
    const auto r = source.fill(random);
    if (end(source) == kept) return kept;
    if (!r) return fail("fill", r.error());
    print("  16 bytes:");
    for (const virtio::u8 one : random) print(" ", one);
    print("\n");
    return 0;
  });
}

}  // namespace

extern "C" int guest_main(const char*) {
  int failed = 0;
  constexpr virtio::usize most = 32;
  static found all[most];
  virtio::usize count = 0;
  virtio::pci::for_each(uefi::host{}, [&](const found& one) {
    if (one.seen.why == virtio::verdict::usable && count != most) all[count++] = one;
    else if (boot::is_virtio(one.seen.why)) boot::print_device(one);
  });
  for (virtio::usize i = 0; i < count; ++i) {
    const found& one = all[i];
    print(virtio::name(one.seen.type), " ", one.id.bus, ":", one.id.slot, ".", one.id.function, "\n");
    if (one.seen.type == virtio::device_type::block) failed += read_disk(one);
    else if (one.seen.type == virtio::device_type::scsi) failed += read_units(one);
    else if (one.seen.type == virtio::device_type::entropy) failed += draw_entropy(one);
  }
  return failed;
}
