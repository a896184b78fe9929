// SPDX-License-Identifier: MIT
// The board of a machine that does not fit: 32 bits, no windows, so that BARs above 4 GiB cannot be accessed.
#pragma once

#include <virtio/pci.hpp>
#include <virtio/platform/identity.hpp>

#include "fail.hpp"

namespace bus = virtio::pci;

struct board : virtio::pci::cf8<>, virtio::identity_platform<>, boot::reports_failures<board> {};
