// SPDX-License-Identifier: MIT
// The split rings of ring_types.hpp, compiled once for all tests that do not depend on a ring's type.
#include "ring_types.hpp"

namespace rig {

template std::unique_ptr<subject> untyped<tiny>();
template std::unique_ptr<subject> untyped<small>();
template std::unique_ptr<subject> untyped<indirect>();
template std::unique_ptr<subject> untyped<usual>();
template std::unique_ptr<subject> untyped<largest>();
template std::unique_ptr<subject> untyped<hardware>();
template std::unique_ptr<subject> untyped<in_order>();
template std::unique_ptr<subject> untyped<split_one_in_order>();
template std::unique_ptr<subject> untyped<split_tables_in_order>();
template std::unique_ptr<subject> untyped<split_256_in_order>();
template std::unique_ptr<subject> untyped<either_as_split>();
template std::unique_ptr<subject> untyped<either_split_in_order>();

}  // namespace rig
