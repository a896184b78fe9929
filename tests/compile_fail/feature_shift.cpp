// SPDX-License-Identifier: MIT
// case: a feature cannot be a shift count
// gcc: no match for 'operator<<'
// clang: invalid operands to binary expression
#include <virtio/base/features.hpp>

virtio::u64 mask() {
#if defined(FAIL)
  return virtio::u64{1} << virtio::feature::event_idx;
#else
  return virtio::feature_set{virtio::feature::event_idx}.word(0);
#endif
}
