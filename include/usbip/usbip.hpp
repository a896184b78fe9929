// SPDX-License-Identifier: MIT
// The whole library: a USB device that hosts reach over any stream of bytes. See docs/usbip.md.
#pragma once

#include <usbip/device/device.hpp>
#include <usbip/engine/connection.hpp>
