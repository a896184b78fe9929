// SPDX-License-Identifier: MIT
// case: an enumeration that is not declared as one of features is not accepted
// gcc: no matching function for call to 'virtio::feature_set::has\(virtio::errc
// clang: no matching member function for call to 'has'
#include <virtio/base/features.hpp>
#include <virtio/base/result.hpp>

bool has_that(const virtio::feature_set& offered) {
#if defined(FAIL)
  return offered.has(virtio::errc::io_error);
#else
  return offered.has(virtio::feature::in_order);
#endif
}
