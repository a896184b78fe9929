// SPDX-License-Identifier: MIT
// The driver of OpenBSD vmd's control device: what a program includes, with the transports of `virtio/pci.hpp`.
#pragma once

#include <virtio/platform/identity.hpp>
#include <virtio/vmmci/device.hpp>
