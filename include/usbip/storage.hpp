// SPDX-License-Identifier: MIT
// A disk as a USB drive. See docs/usbip.md.
#pragma once

#include <usbip/storage/drive.hpp>
#include <usbip/usbip.hpp>
