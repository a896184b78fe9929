// SPDX-License-Identifier: MIT
// Selecting a disk by its serial: positions on a bus change, serials do not.
// Layer: blk (also includes bus).
#pragma once

#include <virtio/blk/device.hpp>
#include <virtio/bus/mmio/slots.hpp>
#include <virtio/bus/pci/discover.hpp>

namespace virtio::blk {
namespace detail {

/// Returns whether a disk reports this serial.
template <class Disk>
[[nodiscard]] bool has_serial(Disk& disk, const_bytes serial) {
  u8 id[id_bytes]{};
  // Compared up to the NUL: QEMU does not write the bytes after it.
  bool same = bool{disk.get_id(id)};
  for (usize i = 0; same && i < id_bytes; ++i) {
    const u8 wanted = i < serial.size() ? serial.data()[i] : u8{0};
    same = id[i] == wanted;
    if (wanted == 0) break;
  }
  return same;
}

/// `nth(n)` returns the n-th disk, in the order of the bus.
template <class Disk, platform P, class Nth>
[[nodiscard]] result<void> start_by_serial(Disk& disk, const P& platform, const_bytes serial, dma_region storage,
                                           const interrupt_vectors& interrupts, const Nth& nth) {
  auto chosen = nth(0);
  bool is_chosen = false;
  usize n = 0;
  for (auto where = chosen; where; where = nth(++n)) {
    bool same = false;
    if (const auto up = disk.start(platform, *where, storage, interrupts); up) same = has_serial(disk, serial);
    // Unusable storage is the program's mistake and ends the search. A disk that cannot be driven does not.
    else if (disk.why().why == verdict::storage_unusable) return up;
    // Handed off in any case: another disk may have the same serial. A disk that does not reset ends the search.
    if (const auto gone = disk.hand_off(); gone.error() == errc::device_broken) return gone;
    if (!same) continue;
    if (is_chosen) return errc::ambiguous;
    is_chosen = true;
    chosen = where;
  }
  if (!is_chosen) return errc::not_found;
  return disk.start(platform, *chosen, storage, interrupts);
}

}  // namespace detail

/// Starts `disk` on the PCI disk whose identification is `serial` (up to 20 characters; longer serials are cut, as
/// hosts cut them). It starts every disk on the bus, reads its serial and hands it off, so none of them may be in use.
/// With MSI-X vectors in `interrupts`, disks whose MSI-X is disabled are skipped: enable it for all candidates. Waits.
/// Cost: a start and a request for each disk, and another start for the selected one.
/// Errors: `not_found`: no disk that starts has this serial; `ambiguous`: two disks have it, and neither is started;
/// those of the storage; `device_broken`: a disk did not reset and keeps the storage (it is off the bus, so it cannot
/// access memory); those of `start` on the selected disk.
template <class Disk, platform P, pci::host H>
  requires(same_as<typename Disk::location, pci::found<H>>)
[[nodiscard]] result<void> start_by_serial(Disk& disk, const P& platform, const H& host, const_bytes serial,
                                           dma_region storage, pci::id_table extra = {},
                                           const interrupt_vectors& interrupts = {}) {
  return detail::start_by_serial(disk, platform, serial, storage, interrupts,
                                 [&](usize n) { return pci::find_nth(host, device_type::block, n, extra); });
}

/// The same for disks in MMIO slots. A disk that does not reset can still access memory: only a reset disables it.
template <class Disk, platform P, mmio::bus B>
  requires(same_as<typename Disk::location, mmio::found<B>>)
[[nodiscard]] result<void> start_by_serial(Disk& disk, const P& platform, const B& bus, const_bytes serial,
                                           dma_region storage) {
  return detail::start_by_serial(disk, platform, serial, storage, {},
                                 [&](usize n) { return mmio::find_nth(bus, device_type::block, n); });
}

}  // namespace virtio::blk
