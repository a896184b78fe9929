// SPDX-License-Identifier: MIT
// Everything but the test kit.
#pragma once

#include <virtio/balloon.hpp>
#include <virtio/blk.hpp>
#include <virtio/console.hpp>
#include <virtio/mmio.hpp>
#include <virtio/net.hpp>
#include <virtio/pci.hpp>
#include <virtio/platform/bounce.hpp>
#include <virtio/platform/identity.hpp>
#include <virtio/rng.hpp>
#include <virtio/scsi.hpp>
#include <virtio/version.hpp>
#include <virtio/vmmci.hpp>
#include <virtio/vsock.hpp>
