// SPDX-License-Identifier: MIT
// A disk as a USB drive. docs/usbip.md says how.
#pragma once

#include <usbip/storage/drive.hpp>
#include <usbip/usbip.hpp>
