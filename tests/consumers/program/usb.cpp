// SPDX-License-Identifier: MIT
// The library of USB devices, a separate target of the same package.
#include <usbip/usbip.hpp>

int main() { return usbip::parse_operation_request({}).missing == usbip::operation_header_bytes ? 0 : 1; }
