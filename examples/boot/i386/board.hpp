// SPDX-License-Identifier: MIT
// The porting surface of a 32-bit machine, whole: identity-mapped x86 that polls, and reaches what its firmware put above 4 GiB
// through the devices' windows in configuration space.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/concepts.hpp>

#include "fail.hpp"
#include "root_buses.hpp"
#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // how programs that include this reach their devices

/// Where BARs can be: wherever the machine has no memory, up to where this CPU ends.
struct device_memory {
  [[nodiscard]] virtio::result<virtio::uptr> cpu_address(virtio::u64 at, virtio::u64 size) const {
    if (boot::is_memory(at, size)) return virtio::errc::out_of_range;
    return virtio::pci::linear_map{}.cpu_address(at, size);
  }
};

struct board : virtio::pci::windowed<virtio::pci::cf8<device_memory>> {
  using barriers = virtio::smp_barriers;

  virtio::pci::bus_set root_buses() const { return boot::root_buses(virtio::pci::cf8<device_memory>{}); }
  template <class Visit>
  void each_function(Visit&& visit) const { virtio::pci::each_numbered_function(*this, 0, visit); }

  /// Device addresses are CPU addresses here.
  virtio::result<void> map(const volatile void* va, virtio::usize n, virtio::direction way, virtio::segments& out) const {
    return out.push(virtio::dma_addr{reinterpret_cast<virtio::uptr>(va)}, n, way);
  }

  bool keep_waiting(virtio::waiting why, virtio::u64 attempt) const { return boot::keep_waiting(why, attempt); }

  /// Says what failed and why; the guest's exit status. `why`: an error, with a driver's `why()` behind it if a start failed; or the
  /// result of a search, and all virtio devices are listed.
  template <class... Why>
  static int fail(const char* what, const Why&... why) {
    return boot::fail(what, [](auto visit) { bus::for_each(board{}, visit); }, why...);
  }
};

static_assert(virtio::platform<board> && virtio::pci::windowed_host<board>);
