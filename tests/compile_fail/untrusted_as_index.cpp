// SPDX-License-Identifier: MIT
// case: a value that a device wrote cannot be an index
// gcc: no match for 'operator\[\]'
// clang: no viable overloaded operator\[\]
#include <virtio/base/untrusted.hpp>

int at(const int (&table)[8], virtio::untrusted<virtio::u16> which) {
#if defined(FAIL)
  return table[which];
#else
  const auto checked = which.below(8);
  return checked ? table[*checked] : 0;
#endif
}
