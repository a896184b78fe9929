// SPDX-License-Identifier: MIT
// The socket driver and the rings to drive it with: what a program includes.
#pragma once

#include <virtio/platform/identity.hpp>
#include <virtio/queue/either.hpp>
#include <virtio/vsock/device.hpp>
