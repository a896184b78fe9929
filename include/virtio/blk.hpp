// SPDX-License-Identifier: MIT
// The header for programs with block devices: the driver and its rings.
#pragma once

#include <virtio/blk/device.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/queue/either.hpp>
