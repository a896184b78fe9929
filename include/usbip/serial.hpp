// SPDX-License-Identifier: MIT
// A stream of bytes as a USB serial port. docs/usbip.md says how.
#pragma once

#include <usbip/serial/port.hpp>
#include <usbip/usbip.hpp>
