// SPDX-License-Identifier: MIT
// case: a value that a device wrote cannot be compared except by equals()
// gcc: no match for 'operator<'
// clang: invalid operands to binary expression
#include <virtio/base/untrusted.hpp>

bool fits(virtio::untrusted<virtio::u16> length) {
#if defined(FAIL)
  return length < 8;
#else
  return length.equals(8);
#endif
}
