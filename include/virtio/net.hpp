// SPDX-License-Identifier: MIT
// The network device driver and the rings to drive it with: what a program includes.
#pragma once

#include <virtio/net/device.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/queue/either.hpp>
