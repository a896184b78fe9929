// SPDX-License-Identifier: MIT
// Block hello world: reads the first sector of the disk, changes one bit, writes it back and flushes it.
#include <virtio/blk.hpp>

#include "board.hpp"  // the machine: how memory is shared, and that its bus is virtio::pci (or virtio::mmio)

using disk_t = virtio::blk::device<board, bus::transport<board>, virtio::queue<256>>;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;  // all memory that the device may access
constinit disk_t disk;                                      // private to the driver

extern "C" int guest_main(const char*) {
  const auto where = bus::find(board{}, virtio::device_type::block);
  if (!where) return board::fail("no disk", where);
  if (auto up = disk.start(board{}, *where, disk_dma); !up) return board::fail("start", up.error(), disk.why());

  alignas(512) static virtio::u8 sector[512];
  if (auto r = disk.read(0, sector); !r) return board::fail("read", r.error());
  sector[0] ^= 1;
  auto w = disk.write(0, sector).and_then([] { return disk.flush(); });
  return w ? 0 : board::fail("write", w.error());
}
