// SPDX-License-Identifier: MIT
// The whole porting surface of a 32-bit machine: identity-mapped x86 that polls. It accesses BARs above 4 GiB through
// the devices' windows in configuration space.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "root_buses.hpp"
#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // the bus of programs that include this

/// The places of BARs: all addresses without memory, up to the end of this CPU's addresses.
struct device_memory {
  [[nodiscard]] virtio::result<virtio::uptr> cpu_address(virtio::u64 at, virtio::u64 size) const {
    if (boot::is_memory(at, size)) return virtio::errc::out_of_range;
    return virtio::pci::linear_map{}.cpu_address(at, size);
  }
};

struct board : virtio::pci::windowed<virtio::pci::cf8<device_memory>>,
               virtio::identity_mapped<>,
               boot::waits_by_clock,
               boot::reports_failures<board> {
  virtio::pci::bus_set root_buses() const { return boot::root_buses(virtio::pci::cf8<device_memory>{}); }
  template <class Visit>
  void each_function(Visit&& visit) const {
    virtio::pci::each_numbered_function(*this, 0, visit);
  }
};

static_assert(virtio::platform<board> && virtio::pci::windowed_host<board>);
