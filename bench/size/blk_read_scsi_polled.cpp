// SPDX-License-Identifier: MIT
// what: find + start + read(), and for SCSI, whose host is reset for what takes too long, find + start + the first unit
// + polled read
#include <virtio/scsi.hpp>

#include "programs.hpp"

namespace {

using disk_t = blk::device<board, pci::modern<board>, split_queue<256>>;
constinit dma_storage<disk_t::dma_bytes> disk_dma;
constinit disk_t disk;
using host_t =
    scsi::device<board, pci::modern<board>, split_queue<256>, scsi::options{.late = scsi::late_command::resets_host}>;
constinit dma_storage<host_t::dma_bytes> host_dma;
constinit host_t host;
constinit scsi::unit<host_t> unit;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) {
  if (const int read = find_and_read<board>(disk, disk_dma, sector, to); read != 0) return read;
  if (const errc up = find_and_start<board>(host, device_type::scsi, host_dma); up != errc::ok) return code(up);
  scsi::found first;
  if (const auto count = host.scan([&](const scsi::found& one) { first = one; }); !count) return code(count.error());
  if (const auto open = unit.open(host, first.where); !open) return code(open.error());
  if (const auto sent = unit.submit_read(sector, bytes{to, 512}); !sent) return code(sent.error());
  unit.kick();
  for (;;) {
    const auto done = unit.next_completion();
    if (done) return code(done->status);
    if (done.error() != errc::not_ready) return code(done.error());
  }
}
