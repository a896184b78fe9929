// SPDX-License-Identifier: MIT
// case: a misaligned register does not compile
// says: is not a constant expression|call to consteval function
#include <virtio/platform/registers.hpp>

#if defined(FAIL)
constexpr virtio::reg<virtio::u16> queue_select{0x15};
#else
constexpr virtio::reg<virtio::u16> queue_select{0x16};
#endif
static_assert(queue_select.offset != 0);
