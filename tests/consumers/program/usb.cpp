// SPDX-License-Identifier: MIT
// The library of USB devices comes with the other, as a target of its own.
#include <usbip/usbip.hpp>

int main() { return usbip::parse_operation_request({}).missing == usbip::operation_header_bytes ? 0 : 1; }
