// SPDX-License-Identifier: MIT
// The packed rings of ring_types.hpp, compiled once for all tests that do not depend on a ring's type.
#include "ring_types.hpp"

namespace rig {

template std::unique_ptr<subject> untyped<packed_tiny>();
template std::unique_ptr<subject> untyped<packed_odd>();
template std::unique_ptr<subject> untyped<packed_small>();
template std::unique_ptr<subject> untyped<packed_indirect>();
template std::unique_ptr<subject> untyped<packed_usual>();
template std::unique_ptr<subject> untyped<packed_largest>();
template std::unique_ptr<subject> untyped<packed_hardware>();
template std::unique_ptr<subject> untyped<packed_in_order>();
template std::unique_ptr<subject> untyped<packed_one_in_order>();
template std::unique_ptr<subject> untyped<packed_8_in_order>();
template std::unique_ptr<subject> untyped<packed_tables_in_order>();
template std::unique_ptr<subject> untyped<packed_256_in_order>();
template std::unique_ptr<subject> untyped<either_as_packed>();
template std::unique_ptr<subject> untyped<either_packed_in_order>();

}  // namespace rig
