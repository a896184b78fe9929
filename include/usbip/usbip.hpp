// SPDX-License-Identifier: MIT
// All of the library: a USB device that hosts reach over any stream of bytes. docs/usbip.md says how.
#pragma once

#include <usbip/device/device.hpp>
#include <usbip/engine/connection.hpp>
