// SPDX-License-Identifier: MIT
// The SCSI driver, its units, and the rings to drive them with: what a program includes.
#pragma once

#include <virtio/platform/identity.hpp>
#include <virtio/queue/either.hpp>
#include <virtio/scsi/device.hpp>
#include <virtio/scsi/reader.hpp>
#include <virtio/scsi/unit.hpp>
