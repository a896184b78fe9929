// SPDX-License-Identifier: MIT
// The one C++ file of a firmware in C: it chooses the drivers' types and gives each call a name that C can use.
#include "drivers.h"

#include <virtio/blk.hpp>
#include <virtio/pci.hpp>
#include <virtio/rng.hpp>

#include "board.hpp"

namespace {

using transport = virtio::pci::transport<board>;
using disk_t = virtio::blk::device<board, transport, virtio::split_queue<256>>;
using entropy_t = virtio::rng::device<board, transport, virtio::split_queue<8>>;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit virtio::dma_storage<entropy_t::dma_bytes> entropy_dma;
constinit disk_t disk;
constinit entropy_t entropy;
constinit virtio::report refused;  // what stood in the way of the last start

int status_of(virtio::result<void> what) { return static_cast<int>(what.error()); }

template <class Device>
int start(Device& device, virtio::device_type type, virtio::dma_region storage) {
  refused = {};
  const auto where = virtio::pci::find(board{}, type);
  if (!where) return static_cast<int>(where.error());
  const auto up = device.start(board{}, *where, storage);
  if (!up) refused = device.why();
  return status_of(up);
}

// A device that was never started is quiet.
template <class Device>
int quiet(Device& device) {
  const auto done = device.hand_off();
  return done.error() == virtio::errc::not_started ? 0 : status_of(done);
}

}  // namespace

int disk_start() { return start(disk, virtio::device_type::block, disk_dma); }
uint64_t disk_sectors() { return disk.capacity(); }
int disk_read(uint64_t sector, void* to, size_t size) { return status_of(disk.read(sector, virtio::bytes{to, size})); }
int disk_write(uint64_t sector, const void* from, size_t size) {
  return status_of(disk.write(sector, virtio::const_bytes{from, size}));
}
int disk_flush() { return status_of(disk.flush()); }

int entropy_start() { return start(entropy, virtio::device_type::entropy, entropy_dma); }
int entropy_fill(void* to, size_t size) { return status_of(entropy.fill(virtio::bytes{to, size})); }

int drivers_hand_off() {
  const int of_disk = quiet(disk);
  const int of_entropy = quiet(entropy);
  return of_disk != 0 ? of_disk : of_entropy;
}

const char* drivers_verdict() { return refused.why == virtio::verdict::undecided ? "" : virtio::describe(refused.why); }
const char* drivers_advice() { return refused.why == virtio::verdict::undecided ? "" : virtio::advice(refused.why); }
uint64_t drivers_bar_address() { return refused.bar_address; }
uint64_t drivers_bar_size() { return refused.bar_size; }
const char* drivers_describe(int why) { return virtio::describe(static_cast<virtio::errc>(why)); }
