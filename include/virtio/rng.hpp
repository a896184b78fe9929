// SPDX-License-Identifier: MIT
// The header for programs with entropy devices: the driver and its rings.
#pragma once

#include <virtio/platform/identity.hpp>
#include <virtio/queue/either.hpp>
#include <virtio/rng/device.hpp>
