// SPDX-License-Identifier: MIT
// what: SCSI: find + start + the first unit found + read(), modern PCI
#include <virtio/scsi.hpp>

#include "programs.hpp"

namespace {

using host_t = scsi::device<board, pci::modern<board>, split_queue<256>>;
constinit dma_storage<host_t::dma_bytes> host_dma;
constinit host_t adapter;
constinit scsi::unit<host_t> unit;

}  // namespace

extern "C" int counted_program(u64 sector, u8* to) {
  if (const errc up = find_and_start<board>(adapter, device_type::scsi, host_dma); up != errc::ok) return code(up);
  scsi::found first;
  if (const auto count = adapter.scan([&](const scsi::found& one) { first = one; }); !count) return code(count.error());
  if (const auto open = unit.open(adapter, first.where); !open) return code(open.error());
  return code(unit.read(sector, bytes{to, 512}).error());
}
