// SPDX-License-Identifier: MIT
// A BAR that the guest cannot access, driven through the window in configuration space. On x86-64, where everything can
// be accessed, the guest simulates the limit.
#include <virtio/blk.hpp>
#include <virtio/rng.hpp>

#include "guest.hpp"

namespace cell {
namespace {

using virtio::pci::address;
using virtio::pci::bar_info;
namespace config = virtio::pci::config;

/// The cells' machine with a reach of 4 GiB, whatever the board's reach is.
struct narrow_view : bench {
  virtio::result<bar_space> bar(address id, u8 index) const { return virtio::pci::cf8<>{}.bar(id, index); }
};
using windowed = virtio::pci::windowed<narrow_view>;
static_assert(virtio::platform<windowed> && virtio::pci::windowed_host<windowed> &&
              !virtio::pci::windowed_host<narrow_view>);

using through = virtio::pci::transport<windowed>;
using disk_t = virtio::blk::device<windowed, through, usual_queue>;
using rng_t = virtio::rng::device<windowed, through, usual_queue>;
constinit disk_t the_disk;
constinit rng_t the_rng;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit virtio::dma_storage<rng_t::dma_bytes> rng_dma;
alignas(4096) u8 data[256 * 1024];

windowed far_machine() {
  windowed out{};
  static_cast<bench&>(out) = machine();
  return out;
}

/// Where the device's BAR 4 is now: `bar_at=` first moves it there, as another firmware could.
u64 far_bar(const windowed& host, address id) {
  if (const u64 place = number("bar_at", 0); place != 0) {
    host.config_write32(id, config::bar0 + 4 * 4, static_cast<u32>(place));
    host.config_write32(id, config::bar0 + 4 * 5, static_cast<u32>(place >> 32));
  }
  const auto found = virtio::pci::probe_bar(host, id, 4);
  CHECK_OK(found);
  CHECK(found->is_64bit);
  return found->base;
}

/// Without the window the device is out of reach; with it the device can be driven.
virtio::pci::found<windowed> find_far(device_type type) {
  const windowed host = far_machine();
  const auto where = virtio::pci::find(host, type);
  CHECK_OK(where);
  const u64 base = far_bar(host, where->id);
  boot::print("BAR 4 at ", boot::hex(base), "\n");
  CHECK(base >= u64{1} << 32);
  const auto blind = virtio::pci::look(static_cast<const narrow_view&>(host), where->id);
  if (blind.may_be_legacy) {  // through its ports
    CHECK(blind.seen.via == virtio::transport_kind::pci_legacy);
  } else {
    CHECK(blind.seen.why == virtio::verdict::bar_out_of_reach);
    CHECK_EQUAL(blind.seen.bar, 4u);
  }
  // The real host, with a longer reach, and a lower limit below and above the BAR.
  using reaching = virtio::pci::cf8<>;
  CHECK_OK((reaching{.bars = {.floor = u64{1} << 32, .reach = u64{1} << 63}}.bar(where->id, 4)));
  CHECK((reaching{.bars = {.floor = u64{1} << 62, .reach = u64{1} << 63}}.bar(where->id, 4).error() ==
         virtio::errc::out_of_range));
  CHECK(virtio::pci::look(host, where->id).seen.why == virtio::verdict::usable);
  return *where;
}

template <class Device>
void start_far(Device& device, device_type type, virtio::dma_region storage, const char* features_key) {
  const auto where = find_far(type);
  CHECK_OK(device.start(where.host, where, storage));
  CHECK(device.why().via == virtio::transport_kind::pci_modern);
  CHECK_EQUAL(u64{device.features().word(1)} << 32 | device.features().word(0), number(features_key));
}

/// Reads everything, writes what the host checks afterwards, and keeps many requests in flight.
void window_disk() {
  start_far(the_disk, device_type::block, disk_dma, "blk_features");
  const u64 capacity = the_disk.capacity(), seed = number("seed");
  CHECK_EQUAL(capacity, number("sectors"));
  for (u64 at = 0; at < capacity; at += sizeof data / 512) {
    const bytes piece{data, virtio::detail::smaller<usize>(sizeof data, static_cast<usize>(capacity - at) * 512)};
    CHECK_OK(the_disk.read(at, piece));
    check_pattern(piece, at, seed);
  }
  constexpr usize flight = 32;
  for (u64 round = 0; round < 20; ++round) {
    const u64 first = random() % (capacity - flight);
    for (usize i = 0; i < flight; ++i) CHECK_OK(the_disk.submit_read(first + i, {data + 512 * i, 512}, i));
    the_disk.kick();
    for (usize i = 0; i < flight; ++i) CHECK_OK(the_disk.wait_next());
    check_pattern({data, 512 * flight}, first, seed);
  }
  const u64 first = number("write_first"), count = number("write_count");
  for (u64 at = first; at < first + 2 * count; ++at) {
    fill_pattern({data, 512}, at, number("write_seed"));
    CHECK_OK(the_disk.write(at, {data, 512}));
  }
  CHECK_OK(the_disk.flush());
  CHECK_OK(the_disk.reset());
}

/// A board without the window drives a transitional disk through its ports.
void fallback_disk() {
  using legacy_disk = virtio::blk::device<narrow_view, virtio::pci::transport<narrow_view>, usual_queue>;
  static constinit legacy_disk disk;
  static constinit virtio::dma_storage<legacy_disk::dma_bytes> storage;
  const windowed host = far_machine();
  const auto where = virtio::pci::find(static_cast<const narrow_view&>(host), device_type::block);
  CHECK_OK(where);
  CHECK(far_bar(host, where->id) >= u64{1} << 32);
  CHECK_OK(disk.start(host, *where, storage));
  CHECK(disk.why().via == virtio::transport_kind::pci_legacy);
  CHECK_OK(disk.read(77, data));
  check_pattern(data, 77, number("seed"));
  CHECK_OK(disk.reset());
}

void window_rng() {
  start_far(the_rng, device_type::entropy, rng_dma, "rng_features");
  fill({data, 8192}, 0);
  CHECK_OK(the_rng.fill({data, 4096}));
  for (usize at = 0; at < 4096; at += 32) CHECK(!all_are({data + at, 32}, 0));
  CHECK(all_are({data + 4096, 4096}, 0));
  CHECK_OK(the_rng.reset());
}

}  // namespace

bool run_window(boot::text word) {
  if (word == "window_disk") window_disk();
  else if (word == "fallback_disk") fallback_disk();
  else if (word == "window_rng") window_rng();
  else return false;
  return true;
}

}  // namespace cell
