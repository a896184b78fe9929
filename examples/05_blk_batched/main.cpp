// SPDX-License-Identifier: MIT
// Batched block I/O: copies the first megabyte of the disk to the second one, sixteen pieces of 4 KiB at a time. Each
// piece is read and then written; pieces advance in the order in which their requests complete.
#include <virtio/blk.hpp>

#include "board.hpp"

using virtio::u64;
using virtio::u8;

using disk_t = virtio::blk::device<board, bus::transport<board>, virtio::queue<256>>;
constinit virtio::dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;

struct piece {
  alignas(4096) u8 data[4096];
  u64 sector;  // that it is copied from
  bool is_read;
};
static piece pieces[16];  // a cookie is an index in here

static virtio::result<void> copy(u64 end) {
  u64 next = 0, written = 0;
  const auto read_into = [&](u64 n) -> virtio::result<void> {
    if (next == end) return {};  // no piece is left to copy
    pieces[n].sector = next;
    pieces[n].is_read = false;
    next += 8;
    VIRTIO_TRY(disk.submit_read(pieces[n].sector, pieces[n].data, n));
    return {};
  };
  for (u64 n = 0; n < 16; ++n) VIRTIO_TRY(read_into(n));

  while (written < end) {
    auto one = disk.wait_next();  // publishes all requests, with one register write, and waits
    for (; one; one = disk.next_completion()) {
      if (one->status != virtio::errc::ok) return one->status;
      piece& p = pieces[one->cookie];
      if (!p.is_read) {
        p.is_read = true;
        VIRTIO_TRY(disk.submit_write(p.sector + end, p.data, one->cookie));
      } else {
        written += 8;
        VIRTIO_TRY(read_into(one->cookie));
      }
    }
    if (one.error() != virtio::errc::not_ready) return one.error();
  }
  return disk.flush();
}

extern "C" int guest_main(const char*) {
  const auto where = bus::find(board{}, virtio::device_type::block);
  if (!where) return board::fail("no disk", where);
  if (auto up = disk.start(board{}, *where, disk_dma); !up) return board::fail("start", up.error(), disk.why());

  const auto copied = copy(2048);
  if (!copied) return board::fail("copy", copied.error());
  return disk.in_flight() == 0 ? 0 : 1;
}
