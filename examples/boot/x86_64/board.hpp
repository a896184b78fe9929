// SPDX-License-Identifier: MIT
// The whole porting surface: an identity-mapped x86 machine that polls.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "pages.hpp"
#include "root_buses.hpp"
#include "runtime.hpp"
#include "waits.hpp"

namespace bus = virtio::pci;  // the bus of programs that include this

/// The places of BARs: all addresses without memory. BARs are mapped at their first use.
struct device_memory {
  [[nodiscard]] virtio::result<virtio::uptr> cpu_address(virtio::u64 at, virtio::u64 size) const {
    if (boot::is_memory(at, size) || !boot::map_device_memory(at, size)) return virtio::errc::out_of_range;
    return static_cast<virtio::uptr>(at);
  }
};

struct board : virtio::pci::cf8<device_memory>,
               virtio::identity_mapped<>,
               boot::waits_by_clock,
               boot::reports_failures<board> {
  virtio::pci::bus_set root_buses() const { return boot::root_buses(virtio::pci::cf8<device_memory>{}); }
  template <class Visit>
  void each_function(Visit&& visit) const {
    virtio::pci::each_numbered_function(*this, 0, visit);
  }
};

static_assert(virtio::platform<board> && virtio::pci::host<board>);
