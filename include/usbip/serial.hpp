// SPDX-License-Identifier: MIT
// A stream of bytes as a USB serial port. See docs/usbip.md.
#pragma once

#include <usbip/serial/port.hpp>
#include <usbip/usbip.hpp>
