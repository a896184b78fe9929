// SPDX-License-Identifier: MIT
// A machine with UEFI as a board, for programs that run on any board: a device is claimed from the firmware when a
// driver is started on it, and returned when the program ends.
#pragma once

#include "device.hpp"
#include "fail.hpp"
#include "machine.hpp"
#include "runtime.hpp"

namespace bus = virtio::pci;

namespace uefi {

/// The devices on which drivers were started. `give_back` is called at the program's end.
struct claimed_devices {
  static constexpr usize most = 16;
  device all[most]{};

  /// Claims a device, if it is not claimed yet. Returns null if the firmware's driver does not release it, or if there
  /// are too many.
  [[nodiscard]] device* claim(const pci_function& which) {
    for (device& one : all)
      if (one.is(which)) return &one;
    for (device& one : all)
      if (!one.is_claimed()) return one.claim(which) ? &one : nullptr;
    return nullptr;
  }
  void give_back() {
    for (device& one : all)
      if (one.is_claimed()) one.release();
  }
  /// For a program that starts an operating system.
  void leave() {
    for (device& one : all)
      if (one.is_claimed()) one.leave();
  }
};
inline constinit claimed_devices claimed;

}  // namespace uefi

/// The platform belongs to one device after a driver is started on it; before, it maps no memory.
struct board : uefi::host, uefi::platform, boot::reports_failures<board> {
  template <virtio::usize Bytes>
  using dma_storage = uefi::dma_storage<Bytes>;

  template <class Where>
  [[nodiscard]] board for_device(const Where& where) const {
    board out;
    if (uefi::device* const device = uefi::claimed.claim(where.id); device != nullptr) out.own = device->platform().own;
    return out;
  }

  /// Returns whether the firmware loaded this program from the device at `where`.
  template <class Where>
  [[nodiscard]] bool started_from(const Where& where) const {
    return where.id.handle == uefi::boot_function;
  }

  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way,
                           virtio::segments& out) const {
    if (own == nullptr) return virtio::errc::dma_unreachable;
    return uefi::platform::map(va, n, way, out);
  }
};

static_assert(virtio::platform<board> && virtio::pci::host<board>);
