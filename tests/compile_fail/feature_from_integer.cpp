// SPDX-License-Identifier: MIT
// case: a number is not a feature
// gcc: no matching function for call to 'virtio::feature_set::feature_set
// clang: no matching constructor for initialization of '(const )?virtio::feature_set'
#include <virtio/base/features.hpp>

#if defined(FAIL)
constexpr virtio::feature_set events{29};
#else
constexpr virtio::feature_set events{virtio::feature::event_idx};
#endif
static_assert(events.word(0) == 0x20000000);
