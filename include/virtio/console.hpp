// SPDX-License-Identifier: MIT
// The console driver and the rings to drive it with: what a program includes.
#pragma once

#include <virtio/console/device.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/queue/either.hpp>
