// SPDX-License-Identifier: MIT
// what: find + start + read(), and for SCSI find + start + the first disk opened by scsi::reader + read(); a late
// command resets either device
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
constinit scsi::reader<host_t> unit;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) {
  if (const int read = find_and_read<board>(disk, disk_dma, sector, to); read != 0) return read;
  if (const errc up = find_and_start<board>(host, device_type::scsi, host_dma); up != errc::ok) return code(up);
  result<void> opened = errc::not_found;
  for (u32 target = 0; !opened && target <= scsi::last_target; ++target)
    opened = unit.open(host, {.target = static_cast<u8>(target)});
  if (!opened) return code(opened.error());
  return code(unit.read(sector, bytes{to, 512}).error());
}
