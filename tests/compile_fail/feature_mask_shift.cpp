// SPDX-License-Identifier: MIT
// case: a set of features cannot be shifted
// gcc: no match for 'operator<<'
// clang: invalid operands to binary expression
#include <virtio/base/features.hpp>

virtio::feature_set chosen() {
  const virtio::feature_set events{virtio::feature::event_idx};
#if defined(FAIL)
  return events << 1;
#else
  return events | virtio::feature_set{virtio::feature::version_1};
#endif
}
