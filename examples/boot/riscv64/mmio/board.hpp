// SPDX-License-Identifier: MIT
// The whole porting surface for virtual machines on 64-bit RISC-V with devices in the MMIO slots of the device tree.
#pragma once

#include <virtio/mmio.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"
#include "runtime.hpp"
#include "tree_slots.hpp"
#include "waits.hpp"

namespace bus = virtio::mmio;  // the bus of programs that include this

struct board : boot::tree_slots<boot::machine>,
               virtio::identity_mapped<>,
               boot::waits_by_clock,
               boot::reports_failures<board> {};

static_assert(virtio::platform<board> && virtio::mmio::bus<board>);
