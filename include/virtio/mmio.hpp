// SPDX-License-Identifier: MIT
// MMIO: slots, discovery and the three transports, what a program includes.
#pragma once

#include <virtio/bus/mmio/profiled.hpp>
#include <virtio/transport/mmio.hpp>
