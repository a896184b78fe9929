// SPDX-License-Identifier: MIT
// The header for programs with a memory balloon: the driver and its rings.
#pragma once

#include <virtio/balloon/device.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/queue/either.hpp>
