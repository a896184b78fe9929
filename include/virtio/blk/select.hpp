// SPDX-License-Identifier: MIT
// Choosing a disk by its serial: positions on a bus change, serials do not.
// Layer: blk (also includes bus).
#pragma once

#include <virtio/blk/device.hpp>
#include <virtio/bus/mmio/slots.hpp>
#include <virtio/bus/pci/discover.hpp>

namespace virtio::blk {
namespace detail {

/// Whether a disk says that it has this serial.
template <class Disk>
[[nodiscard]] bool has_serial(Disk& disk, const_bytes serial) {
  u8 id[id_bytes]{};
  // Equal up to the NUL: QEMU leaves what is behind it as it was.
  bool same = bool{disk.get_id(id)};
  for (usize i = 0; same && i < id_bytes; ++i) {
    const u8 wanted = i < serial.size() ? serial.data()[i] : u8{0};
    same = id[i] == wanted;
    if (wanted == 0) break;
  }
  return same;
}

/// `nth(n)` gives the n-th disk, in the order of the bus.
template <class Disk, platform P, class Nth>
[[nodiscard]] result<void> start_by_serial(Disk& disk, const P& platform, const_bytes serial, dma_region storage,
                                           const interrupt_vectors& interrupts, const Nth& nth) {
  auto chosen = nth(0);
  bool is_chosen = false;
  usize n = 0;
  for (auto where = chosen; where; where = nth(++n)) {
    bool same = false;
    if (const auto up = disk.start(platform, *where, storage, interrupts); up) same = has_serial(disk, serial);
    // The program's own mistake ends the search; a disk that cannot be driven does not.
    else if (disk.why().why == verdict::storage_unusable) return up;
    // Handed off in any case: another disk may have the same serial. One that will not reset ends the search.
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

/// Starts `disk` on the PCI disk whose identification is `serial` (up to 20 characters; longer ones are cut, as hosts cut
/// them). All disks on the bus are started, asked and handed off, so none of them may be in use. With MSI-X vectors in
/// `interrupts`, disks whose MSI-X is off are passed over: switch it on for all that come into question. Waits. Cost: a start and
/// a request for each disk, and another start for the one that is chosen.
/// Errors: `not_found` when no disk that could be started has this serial; `ambiguous` when a second has it, and none is left
/// started; those of the storage; `device_broken` when one of them will not reset and keeps the storage (it is off the bus then, where
/// it reaches no memory); those of `start` on the one.
template <class Disk, platform P, pci::host H>
  requires(same_as<typename Disk::location, pci::found<H>>)
[[nodiscard]] result<void> start_by_serial(Disk& disk, const P& platform, const H& host, const_bytes serial, dma_region storage,
                                           pci::id_table extra = {}, const interrupt_vectors& interrupts = {}) {
  return detail::start_by_serial(disk, platform, serial, storage, interrupts,
                                 [&](usize n) { return pci::find_nth(host, device_type::block, n, extra); });
}

/// The same among the disks in MMIO slots. One that will not reset still reaches memory: it has no switch but its reset.
template <class Disk, platform P, mmio::bus B>
  requires(same_as<typename Disk::location, mmio::found<B>>)
[[nodiscard]] result<void> start_by_serial(Disk& disk, const P& platform, const B& bus, const_bytes serial, dma_region storage) {
  return detail::start_by_serial(disk, platform, serial, storage, {},
                                 [&](usize n) { return mmio::find_nth(bus, device_type::block, n); });
}

}  // namespace virtio::blk
