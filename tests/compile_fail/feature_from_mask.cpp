// SPDX-License-Identifier: MIT
// case: a mask is not accepted as a feature
// gcc: no matching function for call to 'virtio::feature_set::has\(
// clang: no matching member function for call to 'has'
#include <virtio/base/features.hpp>

bool has_events(const virtio::feature_set& offered) {
#if defined(FAIL)
  return offered.has(virtio::u32{1} << 29);
#else
  return offered.has(virtio::feature::event_idx);
#endif
}
